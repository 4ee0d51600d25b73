using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>Where an area stands in its life.</summary>
internal enum AreaState
{
    /// <summary>Recycled.</summary>
    Free,

    /// <summary>Mapped.</summary>
    Live,

    /// <summary>
    /// Unmapped, but an invalidation is pending: the memory stays pinned and the IOVAs taken (invariant 2). The user does not
    /// see it any more.
    /// </summary>
    Retired,

    /// <summary>
    /// No mapping at all, but IOVAs that the kernel never chooses by itself, so that a search for a hole passes over them.
    /// </summary>
    Blocked,
}

/// <summary>A range of IOVAs that is mapped to a piece of a client's memory: what one map or one copy made.</summary>
internal sealed class Area
{
    /// <summary>First IOVA.</summary>
    public ulong Start;

    /// <summary>Last IOVA, inclusive.</summary>
    public ulong Last;

    /// <summary>The memory.</summary>
    public ClientMemory? Memory;

    /// <summary>Offset of <see cref="Start"/> in the memory, in bytes.</summary>
    public ulong Offset;

    /// <summary>What devices may do.</summary>
    public Access Access;

    /// <summary>Where it stands.</summary>
    public AreaState State;

    /// <summary>Whether it is one of the users for which the memory is pinned.</summary>
    public bool Pinned;

    /// <summary>Whether the user took back its address of the memory (VFIO: VADDR); devices still reach the pages.</summary>
    public bool LostAddress;

    /// <summary>Whether it is of a device's memory that was taken back: no domain has it.</summary>
    public bool IsHollow;

    /// <summary>How many ranges users that are not devices have pinned of it.</summary>
    public int UserPins;

    /// <summary>How many of them keep it from being unmapped.</summary>
    public int Holders;

    /// <summary>Whether it is being unmapped, as soon as nobody has it pinned: nobody pins it any more.</summary>
    public bool IsGoing;

    /// <summary>Domains whose invalidation a retired area waits for.</summary>
    public int Waiting;

    /// <summary>Bytes; an area never has 2^64.</summary>
    public ulong Length => Last - Start + 1;

    /// <summary>The IOVAs.</summary>
    public AddressRange Range => new(Start, Last);

    /// <summary>Whether IOVAs, length and memory are multiples of <paramref name="alignment"/>.</summary>
    public bool IsAligned(ulong alignment) =>
        ((Start | Length | (Memory!.UserAddress + Offset)) & (alignment - 1)) == 0;
}
