using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary><c>struct ioasid_set_events</c>: makes a descriptor that tells what happens in a set.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidSetEvents : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.SetEvents;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary>What happened to an IOASID of a set.</summary>
public enum IoasidSetEventKind : uint
{
    /// <summary>It is being allocated. Should the call fail after all, it is freed and recycled next.</summary>
    Allocated = 1,

    /// <summary>Memory was bound to it.</summary>
    Bound = 2,

    /// <summary>Its memory was taken away.</summary>
    Unbound = 3,

    /// <summary>It was freed: who uses it is to let go.</summary>
    Freed = 4,

    /// <summary>Nobody uses it any more: the number may be given again.</summary>
    Recycled = 5,
}

/// <summary><c>struct ioasid_set_event</c>: what is read from a set's descriptor.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IoasidSetEvent
{
    /// <summary>There is no private number.</summary>
    public const uint NoGuest = uint.MaxValue;

    /// <summary>What happened.</summary>
    [FieldOffset(0)] public IoasidSetEventKind Kind;

    /// <summary>The IOASID.</summary>
    [FieldOffset(4)] public uint Ioasid;

    /// <summary>Its private number, or <see cref="NoGuest"/>; one that was freed has none any more.</summary>
    [FieldOffset(8)] public uint Guest;

    /// <summary>The set.</summary>
    [FieldOffset(12)] public uint SetId;

    /// <summary>Events that were lost before this one, because nobody read.</summary>
    [FieldOffset(16)] public uint Lost;

    /// <summary>0.</summary>
    [FieldOffset(20)] public uint Reserved;
}
