using System.Buffers.Binary;
using Ioasis.Platform;

namespace Ioasis.Devices.Dsa;

/// <summary>What a descriptor asks for (DSA specification 1.x, section 8.1). Other numbers are refused.</summary>
public enum DsaOperation : byte
{
    /// <summary>Nothing; completes.</summary>
    None = 0,

    /// <summary>The descriptors of an array, one after the other.</summary>
    Batch = 1,

    /// <summary>Completes when everything has that the queue took before with the same PASID.</summary>
    Drain = 2,

    /// <summary>Copies; the buffers may overlap.</summary>
    Move = 3,

    /// <summary>Fills with 8 bytes that are repeated.</summary>
    Fill = 4,

    /// <summary>Compares two buffers.</summary>
    Compare = 5,

    /// <summary>Compares a buffer with 8 bytes that are repeated.</summary>
    ComparePattern = 6,

    /// <summary>Writes where two buffers differ, and what the second has there.</summary>
    CreateDelta = 7,

    /// <summary>Applies what <see cref="CreateDelta"/> wrote.</summary>
    ApplyDelta = 8,

    /// <summary>Copies to two places.</summary>
    Dualcast = 9,

    /// <summary>CRC32C of a buffer.</summary>
    Crc = 0x10,

    /// <summary>Copies, with the CRC32C of what is copied.</summary>
    CopyCrc = 0x11,

    /// <summary>Would write back caches, which this engine does not have.</summary>
    CacheFlush = 0x20,
}

/// <summary>Flags of a descriptor (section 8.1.3).</summary>
[Flags]
public enum DsaFlags
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>In a batch: not before those in front of it have ended, and not at all if one of them failed.</summary>
    Fence = 1,

    /// <summary>A page that is missing is asked for and waited for; without the flag the operation ends with its address.</summary>
    BlockOnFault = 1 << 1,

    /// <summary>The completion address is valid: an error is written there.</summary>
    CompletionAddressValid = 1 << 2,

    /// <summary>Success is written to the completion record too.</summary>
    RequestCompletion = 1 << 3,

    /// <summary>The end is told by an interrupt.</summary>
    RequestInterrupt = 1 << 4,

    /// <summary>Steering tag of the completion record; without effect.</summary>
    CompletionSteering = 1 << 5,

    /// <summary>The result is compared with the expected one.</summary>
    CheckResult = 1 << 7,

    /// <summary>Written data goes to the cache; without effect.</summary>
    CacheControl = 1 << 8,

    /// <summary>Traffic classes; without effect.</summary>
    TrafficClasses = 0xe00,

    /// <summary>Traffic class of the completion record; without effect.</summary>
    CompletionTrafficClass = 1 << 12,

    /// <summary>Writes stay in order, as they do here anyhow.</summary>
    StrictOrder = 1 << 13,

    /// <summary>The destination is read before the completion: writes are seen here anyhow.</summary>
    Readback = 1 << 14,

    /// <summary>Steering tag of the destination; without effect.</summary>
    DestinationSteering = 1 << 15,

    /// <summary>CRC: the seed is in memory.</summary>
    ReadSeed = 1 << 16,

    /// <summary>CRC: seed and result are neither inverted nor reflected.</summary>
    PlainCrc = 1 << 17,

    /// <summary>CRC: the bits of the data are not reflected.</summary>
    PlainData = 1 << 18,
}

/// <summary>How a descriptor ended (section 5.7).</summary>
public enum DsaStatus : byte
{
    /// <summary>It has not: what software puts there to poll.</summary>
    None = 0,

    /// <summary>Done.</summary>
    Success = 1,

    /// <summary>Done; the result is not the expected one.</summary>
    SuccessUnexpected = 2,

    /// <summary>A page is missing and was not asked for.</summary>
    PageFault = 3,

    /// <summary>A page was asked for and refused.</summary>
    PageRefused = 4,

    /// <summary>A descriptor of the batch failed; its own record says why.</summary>
    BatchFailed = 5,

    /// <summary>The array of the batch could not be read.</summary>
    BatchPageFault = 6,

    /// <summary>Offsets of the delta record do not rise.</summary>
    DeltaOrder = 7,

    /// <summary>An offset of the delta record is outside of the destination.</summary>
    DeltaOffset = 8,

    /// <summary>There is no such operation, not here, or not in this queue.</summary>
    BadOperation = 0x10,

    /// <summary>Flags that the operation does not have, or that do not fit together.</summary>
    BadFlags = 0x11,

    /// <summary>A reserved field is not zero.</summary>
    ReservedField = 0x12,

    /// <summary>The transfer size is 0, too large, or no multiple of what it must be.</summary>
    TransferSize = 0x13,

    /// <summary>A batch has fewer than 2 descriptors, or too many.</summary>
    DescriptorCount = 0x14,

    /// <summary>The size of the delta record is not possible.</summary>
    DeltaSize = 0x15,

    /// <summary>Buffers overlap that must not.</summary>
    Overlap = 0x16,

    /// <summary>The two destinations differ in bits 11:0.</summary>
    DualcastAddress = 0x17,

    /// <summary>The array of a batch is not aligned to 64 bytes.</summary>
    ListAlignment = 0x18,

    /// <summary>There is no such interrupt handle, or not for this PASID.</summary>
    BadHandle = 0x19,

    /// <summary>The completion record cannot be written.</summary>
    CompletionFault = 0x1a,

    /// <summary>The completion record is not aligned to 32 bytes.</summary>
    CompletionAlignment = 0x1b,

    /// <summary>An address is not aligned as the operation needs it.</summary>
    AddressAlignment = 0x1c,

    /// <summary>Privileged, where that is not possible.</summary>
    Privilege = 0x1d,

    /// <summary>A request failed on the bus.</summary>
    BusError = 0x20,

    /// <summary>A translation request failed on the bus.</summary>
    TranslationError = 0x22,
}

/// <summary>A descriptor of 64 bytes. The PASID of a shared queue is put in on its way (<see cref="ISharedWorkQueue"/>).</summary>
/// <param name="Operation">What to do.</param>
/// <param name="Flags">How.</param>
/// <param name="Completion">Where the completion record goes, 32-byte aligned.</param>
/// <param name="Source">Source; the pattern of a fill; the array of a batch; a delta record to apply.</param>
/// <param name="Destination">Destination; the second source or the pattern of a comparison.</param>
/// <param name="Length">Bytes; the count of a batch.</param>
/// <param name="Handle">Interrupt handle.</param>
/// <param name="Extra">Bytes 40 to 47: the second destination, the delta record's address, its size, the seed, the expected result.</param>
/// <param name="Extra2">Bytes 48 to 55: the address of a seed, the most bytes of a delta record.</param>
/// <param name="ResultMask">Byte 56: results that are expected of <see cref="DsaOperation.CreateDelta"/>, one bit each.</param>
public readonly record struct DsaDescriptor(
    DsaOperation Operation,
    DsaFlags Flags = DsaFlags.None,
    ulong Completion = 0,
    ulong Source = 0,
    ulong Destination = 0,
    uint Length = 0,
    ushort Handle = 0,
    ulong Extra = 0,
    ulong Extra2 = 0,
    byte ResultMask = 0)
{
    /// <summary>Bytes of a descriptor.</summary>
    public const int Size = ISharedWorkQueue.CommandSize;

    private const uint PrivilegedBit = 1u << 31;

    /// <summary>Whether it asks for privileged accesses.</summary>
    public bool IsPrivileged { get; init; }

    internal bool Has(DsaFlags flag) => (Flags & flag) != 0;

    /// <summary>The bytes, without PASID.</summary>
    public void WriteTo(Span<byte> destination)
    {
        destination[..Size].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(destination, IsPrivileged ? PrivilegedBit : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], ((uint)Flags & 0xff_ffff) | ((uint)Operation << 24));
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Completion);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], Source);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[24..], Destination);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[32..], Length);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[36..], Handle);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[40..], Extra);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[48..], Extra2);
        destination[56] = ResultMask;
    }

    /// <summary>The descriptor in 64 bytes.</summary>
    public static DsaDescriptor Read(ReadOnlySpan<byte> source)
    {
        uint second = BinaryPrimitives.ReadUInt32LittleEndian(source[4..]);
        return new(
            (DsaOperation)(second >> 24),
            (DsaFlags)(second & 0xff_ffff),
            BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[16..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[24..]),
            BinaryPrimitives.ReadUInt32LittleEndian(source[32..]),
            BinaryPrimitives.ReadUInt16LittleEndian(source[36..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[40..]),
            BinaryPrimitives.ReadUInt64LittleEndian(source[48..]),
            source[56])
        {
            IsPrivileged = (BinaryPrimitives.ReadUInt32LittleEndian(source) & PrivilegedBit) != 0,
        };
    }
}

/// <summary>A completion record of 32 bytes (section 8.2).</summary>
/// <param name="Status">How it ended.</param>
/// <param name="Result">Comparisons: 0 equal, 1 different, 2 the delta record was too small. A move: 1 if it went from the end.</param>
/// <param name="Completed">Bytes done before the end, the difference or the fault; descriptors of a batch.</param>
/// <param name="FaultAddress">With a page fault: where.</param>
/// <param name="Value">The CRC; the bytes of the delta record; the flags that were wrong.</param>
public readonly record struct DsaCompletion(DsaStatus Status, byte Result = 0, uint Completed = 0, ulong FaultAddress = 0, uint Value = 0)
{
    /// <summary>Bytes of a record.</summary>
    public const int Size = 32;

    private const byte WriteFaultBit = 0x80;

    /// <summary>Whether the access that faulted was a write.</summary>
    public bool IsWriteFault { get; init; }

    /// <summary>The record in 32 bytes.</summary>
    public static DsaCompletion Read(ReadOnlySpan<byte> source) => new(
        (DsaStatus)(source[0] & ~WriteFaultBit),
        source[1],
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[16..]))
    {
        IsWriteFault = (source[0] & WriteFaultBit) != 0,
    };

    internal void WriteTo(Span<byte> destination)
    {
        destination[..Size].Clear();
        destination[0] = (byte)((byte)Status | (IsWriteFault ? WriteFaultBit : 0));
        destination[1] = Result;
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Completed);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], FaultAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[16..], Value);
    }
}
