namespace Ioasis.RiscV.Architecture;

/// <summary><c>iohpmcycles</c> (section 5.21).</summary>
internal static class CyclesCounter
{
    /// <summary>The counter.</summary>
    public const ulong CounterMask = (1ul << 63) - 1;

    /// <summary><c>OF</c>: it overflowed.</summary>
    public const ulong OverflowBit = 1ul << 63;
}

/// <summary><c>iohpmevt1-31</c> (section 5.23).</summary>
internal static class EventSelector
{
    /// <summary><c>eventID</c>: see <see cref="HpmEvent"/>.</summary>
    public const ulong EventIdMask = 0x7fff;

    /// <summary><c>DMASK</c>: <c>DID_GSCID</c> matches up to its first 0 bit from below.</summary>
    public const ulong DmaskBit = 1ul << 15;

    /// <summary>Position of <c>PID_PSCID</c>, 20 bits.</summary>
    public const int PidPscidShift = 16;

    /// <summary>Position of <c>DID_GSCID</c>, 24 bits.</summary>
    public const int DidGscidShift = 36;

    /// <summary><c>PV_PSCV</c>: filter by <c>PID_PSCID</c>.</summary>
    public const ulong PvPscvBit = 1ul << 60;

    /// <summary><c>DV_GSCV</c>: filter by <c>DID_GSCID</c>.</summary>
    public const ulong DvGscvBit = 1ul << 61;

    /// <summary><c>IDT</c>: the filters are PSCID and GSCID, not process and device.</summary>
    public const ulong IdtBit = 1ul << 62;

    /// <summary><c>OF</c>: the counter overflowed.</summary>
    public const ulong OverflowBit = 1ul << 63;
}

/// <summary>Events that counters can count: <c>eventID</c> (section 5.23, "Standard Events list").</summary>
internal enum HpmEvent
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Untranslated requests.</summary>
    UntranslatedRequest = 1,

    /// <summary>Translated requests.</summary>
    TranslatedRequest = 2,

    /// <summary>ATS translation requests.</summary>
    AtsTranslationRequest = 3,

    /// <summary>Misses of the IOTLB.</summary>
    TlbMiss = 4,

    /// <summary>Walks of the device directory.</summary>
    DeviceDirectoryWalk = 5,

    /// <summary>Walks of a process directory.</summary>
    ProcessDirectoryWalk = 6,

    /// <summary>Walks of a first-stage page table.</summary>
    FirstStageWalk = 7,

    /// <summary>Walks of a second-stage page table.</summary>
    SecondStageWalk = 8,
}

/// <summary><c>tr_req_ctl</c> (section 5.25).</summary>
internal static class TranslationRequestControl
{
    /// <summary><c>Go/Busy</c>, RW1S.</summary>
    public const ulong GoBusyBit = 1ul << 0;

    /// <summary><c>Priv</c>: as supervisor.</summary>
    public const ulong PrivilegedBit = 1ul << 1;

    /// <summary><c>Exe</c>: to execute.</summary>
    public const ulong ExecuteBit = 1ul << 2;

    /// <summary><c>NW</c>: read only.</summary>
    public const ulong NoWriteBit = 1ul << 3;

    /// <summary>Position of <c>PID</c>, 20 bits.</summary>
    public const int PidShift = 12;

    /// <summary><c>PV</c>: <c>PID</c> is valid.</summary>
    public const ulong PidValidBit = 1ul << 32;

    /// <summary>Position of <c>DID</c>, 24 bits.</summary>
    public const int DidShift = 40;
}

/// <summary><c>tr_response</c> (section 5.26); its PPN is a <see cref="PpnField"/>.</summary>
internal static class TranslationResponse
{
    /// <summary><c>fault</c>.</summary>
    public const ulong FaultBit = 1ul << 0;

    /// <summary>Position of <c>PBMT</c>, 2 bits.</summary>
    public const int PbmtShift = 7;

    /// <summary><c>S</c>: the PPN encodes a size above 4 KiB.</summary>
    public const ulong SizeBit = 1ul << 9;
}
