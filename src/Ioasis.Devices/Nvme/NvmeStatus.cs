namespace Ioasis.Devices.Nvme;

/// <summary>
/// How a command ended: status code in 7:0, its type in 10:8, "do not retry" in 14 (base specification 2.0, section 3.3.3.2), so that
/// shifted left by one it is the status field beside the phase tag.
/// </summary>
public enum NvmeStatus : ushort
{
    /// <summary>Done.</summary>
    Success = 0x000,

    /// <summary>The opcode is not known.</summary>
    InvalidOpcode = 0x001,

    /// <summary>A field has a value that is not possible.</summary>
    InvalidField = 0x002,

    /// <summary>The identifier is in use.</summary>
    CommandIdConflict = 0x003,

    /// <summary>Data could not be transferred.</summary>
    DataTransferError = 0x004,

    /// <summary>An error inside.</summary>
    InternalError = 0x006,

    /// <summary>Ended by an Abort command.</summary>
    AbortRequested = 0x007,

    /// <summary>Ended because its queue was deleted.</summary>
    AbortedQueueDeleted = 0x008,

    /// <summary>There is no such namespace, or not in this format.</summary>
    InvalidNamespace = 0x00b,

    /// <summary>Not in this order.</summary>
    CommandSequenceError = 0x00c,

    /// <summary>A segment of the list is not possible.</summary>
    InvalidSglSegment = 0x00d,

    /// <summary>A list with too many or too few descriptors.</summary>
    InvalidSglCount = 0x00e,

    /// <summary>The list is too short for the data.</summary>
    DataSglLengthInvalid = 0x00f,

    /// <summary>The list is too short for the metadata.</summary>
    MetadataSglLengthInvalid = 0x010,

    /// <summary>A descriptor of a type that is not possible.</summary>
    SglTypeInvalid = 0x011,

    /// <summary>The offset of an address in its page is not possible.</summary>
    PrpOffsetInvalid = 0x013,

    /// <summary>Beyond the last block.</summary>
    LbaOutOfRange = 0x080,

    /// <summary>More than the namespace has.</summary>
    CapacityExceeded = 0x081,

    /// <summary>The namespace is not ready.</summary>
    NamespaceNotReady = 0x082,

    /// <summary>The namespace is write protected.</summary>
    NamespaceWriteProtected = 0x020,

    /// <summary>The completion queue does not exist.</summary>
    CompletionQueueInvalid = 0x100,

    /// <summary>The queue does not exist, or exists already.</summary>
    InvalidQueueId = 0x101,

    /// <summary>The size of the queue is not possible.</summary>
    InvalidQueueSize = 0x102,

    /// <summary>Too many Abort commands.</summary>
    AbortLimitExceeded = 0x103,

    /// <summary>Too many Asynchronous Event Requests.</summary>
    AsyncEventLimitExceeded = 0x105,

    /// <summary>There is no such firmware slot.</summary>
    InvalidFirmwareSlot = 0x106,

    /// <summary>There is no such vector.</summary>
    InvalidInterruptVector = 0x108,

    /// <summary>There is no such log page.</summary>
    InvalidLogPage = 0x109,

    /// <summary>There is no such format.</summary>
    InvalidFormat = 0x10a,

    /// <summary>The queue is still in use.</summary>
    InvalidQueueDeletion = 0x10c,

    /// <summary>The feature cannot be saved.</summary>
    FeatureNotSaveable = 0x10d,

    /// <summary>The feature cannot be changed.</summary>
    FeatureNotChangeable = 0x10e,

    /// <summary>The feature is not one of a namespace.</summary>
    FeatureNotNamespaceSpecific = 0x10f,

    /// <summary>A write to what can only be read.</summary>
    WriteToReadOnlyRange = 0x182,

    /// <summary>More ranges or blocks than a command may have.</summary>
    CommandSizeLimitExceeded = 0x183,

    /// <summary>The medium could not be written.</summary>
    WriteFault = 0x280,

    /// <summary>The medium could not be read.</summary>
    UnrecoveredReadError = 0x281,

    /// <summary>The data differ.</summary>
    CompareFailure = 0x285,

    /// <summary>The block was deallocated or never written.</summary>
    DeallocatedBlock = 0x287,

    /// <summary>The same command will fail again.</summary>
    DoNotRetry = 0x4000,
}
