using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>How a walk of one stage ended.</summary>
internal enum StageStatus : byte
{
    Success,
    PageFault,
    GuestPageFault,
    AccessFault,
    DataCorruption,
}

/// <summary>One request on its way through the process to translate an IOVA (section 2.3).</summary>
internal struct Request
{
    public ulong Iova;
    public uint DeviceId;
    public uint ProcessId;
    public DmaKind Kind;
    public TransactionType Type;

    /// <summary>Whether there is a process_id now: that of the request, or the default of DPE.</summary>
    public bool HasProcess;

    /// <summary>Whether the request came with a process_id.</summary>
    public bool HadProcess;

    /// <summary>"Privileged Mode Requested" as it came; counts only with a process_id.</summary>
    public bool PrivilegedRequested;

    /// <summary>"Execute Requested" as it came.</summary>
    public bool ExecuteRequested;

    public bool Cxl;
    public bool IsRead;
    public bool IsWrite;
    public bool IsExecute;

    /// <summary>The access is made as supervisor.</summary>
    public bool Supervisor;

    /// <summary>False for ATS: missing permissions are reported, not faulted (section 2.6).</summary>
    public bool CheckPermissions;

    /// <summary>The request came through the translation-request registers (chapter 4).</summary>
    public bool ForDebug;

    // The identifiers of the address space, for counters: valid from step 17 on.
    public bool HasPscid;
    public bool HasGscid;
    public uint Pscid;
    public uint Gscid;

    // The fault, if there is one.
    public FaultCause Cause;
    public ulong Iotval2;
    public bool DisableFaults;

    /// <summary>Memory reads made for the request.</summary>
    public int MemoryReads;

    /// <summary>Caches may be filled only if no invalidation happened since this number was read.</summary>
    public long FillSequence;
}

/// <summary>A device context as it is in memory (section 2.1.2), in this machine's byte order.</summary>
internal struct DeviceContextData
{
    public ulong TranslationControl;
    public ulong Iohgatp;
    public ulong TranslationAttributes;
    public ulong FirstStageContext;
    public ulong Msiptp;
    public ulong MsiAddressMask;
    public ulong MsiAddressPattern;
    public ulong Reserved;

    /// <summary>Takes the eight doublewords; those that the base format does not have are 0.</summary>
    public DeviceContextData(ReadOnlySpan<ulong> words)
    {
        TranslationControl = words[0];
        Iohgatp = words[1];
        TranslationAttributes = words[2];
        FirstStageContext = words[3];
        Msiptp = words[4];
        MsiAddressMask = words[5];
        MsiAddressPattern = words[6];
        Reserved = words[7];
    }

    public readonly bool Has(ulong bit) => (TranslationControl & bit) != 0;

    public readonly bool HasSecondStage => TablePointer.Mode(Iohgatp) != Architecture.Iohgatp.ModeBare;

    public readonly uint Gscid => (uint)((Iohgatp >> Architecture.Iohgatp.GscidShift) & Architecture.Iohgatp.GscidMask);
}

/// <summary>A process context as it is in memory (section 2.2.2), in this machine's byte order.</summary>
internal struct ProcessContextData
{
    public ulong TranslationAttributes;
    public ulong FirstStageContext;

    public readonly bool Has(ulong bit) => (TranslationAttributes & bit) != 0;
}

/// <summary>What step 17 needs of the first stage (section 2.3).</summary>
internal struct FirstStage
{
    /// <summary>A <see cref="TablePointer"/>; its mode is Bare if there is no first stage.</summary>
    public ulong Iosatp;
    public bool SupervisorUserMemory;

    public readonly bool IsBare => TablePointer.Mode(Iosatp) == Architecture.Iosatp.ModeBare;
}

/// <summary>The leaf that a walk of one stage found.</summary>
internal struct Leaf
{
    /// <summary>The translated byte address.</summary>
    public ulong Address;

    /// <summary>The PTE's bits; G includes the non-leaf entries above.</summary>
    public ulong Pte;

    /// <summary>Whether D was set before the walk.</summary>
    public bool WasDirty;

    /// <summary>log2 of the bytes that are reported; a NAPOT entry counts as 4 KiB.</summary>
    public int SizeLog2;

    /// <summary>log2 of the bytes that the entry maps; a NAPOT entry counts as 64 KiB.</summary>
    public int SpanLog2;

    public readonly bool Has(ulong bit) => (Pte & bit) != 0;

    public readonly int Pbmt => (int)((Pte & PageTableEntry.PbmtMask) >> PageTableEntry.PbmtShift);
}

/// <summary>What the whole process found (step 20).</summary>
internal struct Outcome
{
    public ulong Address;
    public ulong GuestAddress;
    public Leaf First;
    public Leaf Second;
    public int SizeLog2;
    public int SpanLog2;
    public int Pbmt;
    public bool IsMsi;
    public bool IsMrif;
    public ulong MrifAddress;
    public ulong NoticeAddress;
    public uint NoticeId;
    public bool ReturnsGuestAddress;
}
