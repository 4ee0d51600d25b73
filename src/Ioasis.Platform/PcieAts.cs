namespace Ioasis.Platform;

/// <summary>
/// The codes and bodies of the messages of PCIe ATS and PRI, as <see cref="PcieMessage"/> carries them (PCI Express Base Specification,
/// chapter 10).
/// </summary>
internal static class PcieAts
{
    /// <summary>Code of an ATS Invalidation Request.</summary>
    public const byte InvalidationRequestCode = 1;

    /// <summary>Code of an ATS Invalidation Completion.</summary>
    public const byte InvalidationCompletionCode = 2;

    /// <summary>Code of a Page Request.</summary>
    public const byte PageRequestCode = 4;

    /// <summary>Code of a Page Request Group Response.</summary>
    public const byte GroupResponseCode = 5;

    /// <summary>Invalidation Request: in all PASIDs.</summary>
    public const ulong GlobalBit = 1ul << 0;

    /// <summary>Invalidation Request: the address says by its lowest bit that is 0 how large an aligned range is meant ("S").</summary>
    public const ulong RangeBit = 1ul << 11;

    /// <summary>Page Request: a read is wanted.</summary>
    public const ulong ReadBit = 1ul << 0;

    /// <summary>Page Request: a write is wanted.</summary>
    public const ulong WriteBit = 1ul << 1;

    /// <summary>Page Request: the last of its group.</summary>
    public const ulong LastBit = 1ul << 2;

    /// <summary>Page Request: where the index of its group is.</summary>
    public const int GroupShift = 3;

    /// <summary>The index of a group of page requests has 9 bits.</summary>
    public const ulong GroupMask = 0x1ff;

    /// <summary>Page Request Group Response: where the index of the group is.</summary>
    public const int ResponseGroupShift = 32;

    /// <summary>
    /// Page Request Group Response: the code "response failure", after which a device makes no requests until it is enabled again.
    /// </summary>
    public const int ResponseFailure = 15;

    /// <summary>Page Request Group Response: where the response code is, 4 bits.</summary>
    public const int ResponseCodeShift = 44;
}
