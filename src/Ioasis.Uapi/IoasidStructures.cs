using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary><c>struct ioasid_set_create</c>: makes a set with its quota reserved.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IoasidSetCreate : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>IOASIDs to reserve.</summary>
    [FieldOffset(8)] public uint Quota;

    /// <summary>Out: the set.</summary>
    [FieldOffset(12)] public uint OutSetId;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.SetCreate;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}

/// <summary><c>struct ioasid_set_adjust</c>: changes a quota.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IoasidSetAdjust : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <summary>IOASIDs to reserve, not fewer than are in use.</summary>
    [FieldOffset(12)] public uint Quota;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.SetAdjust;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}

/// <summary><c>struct ioasid_set_destroy</c>: frees every IOASID of a set, and the set.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidSetDestroy : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>What stays.</summary>
    [FieldOffset(4)] public IoasidSetDestroyFlags Flags;

    /// <summary>The set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.SetDestroy;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct ioasid_set_info</c>: the counts of a set.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
public struct IoasidSetInfo : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <summary>Out: reserved.</summary>
    [FieldOffset(12)] public uint OutQuota;

    /// <summary>Out: live.</summary>
    [FieldOffset(16)] public uint OutCount;

    /// <summary>Out: freed and still held.</summary>
    [FieldOffset(20)] public uint OutParked;

    /// <summary>Out: the most in use at one time.</summary>
    [FieldOffset(24)] public uint OutPeak;

    /// <summary>0.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <summary>Out: allocations that succeeded.</summary>
    [FieldOffset(32)] public ulong OutAllocations;

    /// <summary>Out: allocations that the quota refused.</summary>
    [FieldOffset(40)] public ulong OutRefusals;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.SetInfo;

    /// <inheritdoc/>
    public static int MinimumSize => 48;
}

/// <summary><c>struct ioasid_alloc</c>: allocates an IOASID in a set.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IoasidAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>Which one.</summary>
    [FieldOffset(4)] public IoasidAllocFlags Flags;

    /// <summary>The set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <summary>Lowest that suits; 0 for 1.</summary>
    [FieldOffset(12)] public uint First;

    /// <summary>Highest that suits; 0 for 2^20-1. 0 with <see cref="IoasidAllocFlags.Fixed"/>.</summary>
    [FieldOffset(16)] public uint Last;

    /// <summary>Its private number, with <see cref="IoasidAllocFlags.GuestValid"/>; else 0.</summary>
    [FieldOffset(20)] public uint Guest;

    /// <summary>Out: the IOASID, which is a PASID.</summary>
    [FieldOffset(24)] public uint OutIoasid;

    /// <summary>0.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.Alloc;

    /// <inheritdoc/>
    public static int MinimumSize => 32;
}

/// <summary><c>struct ioasid_free</c>: ends an IOASID.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidFree : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>How.</summary>
    [FieldOffset(4)] public IoasidFreeFlags Flags;

    /// <summary>The IOASID.</summary>
    [FieldOffset(8)] public uint Ioasid;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.Free;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct ioasid_bind</c>: assigns a memory map to an IOASID (S1.6).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IoasidBind : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The IOASID.</summary>
    [FieldOffset(8)] public uint Ioasid;

    /// <summary>What is assigned.</summary>
    [FieldOffset(12)] public IoasidBindKind Kind;

    /// <summary>The <c>/dev/iommu</c> that the object is in; -1 for a process.</summary>
    [FieldOffset(16)] public int Iommufd;

    /// <summary>The address space or page table there; 0 for a process.</summary>
    [FieldOffset(20)] public uint ObjectId;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.Bind;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct ioasid_unbind</c>: takes the memory map away.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidUnbind : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The IOASID.</summary>
    [FieldOffset(8)] public uint Ioasid;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.Unbind;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct ioasid_map_guest</c>: gives an IOASID a private number (S0.9).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IoasidMapGuest : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>Map or unmap.</summary>
    [FieldOffset(4)] public IoasidMapGuestFlags Flags;

    /// <summary>The IOASID.</summary>
    [FieldOffset(8)] public uint Ioasid;

    /// <summary>The private number.</summary>
    [FieldOffset(12)] public uint Guest;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.MapGuest;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}

/// <summary><c>struct ioasid_find</c>: finds an IOASID of this descriptor by PASID or by private number.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IoasidFind : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>By what.</summary>
    [FieldOffset(4)] public IoasidFindFlags Flags;

    /// <summary>With <see cref="IoasidFindFlags.Guest"/>: the set; else 0. Out: its set.</summary>
    [FieldOffset(8)] public uint SetId;

    /// <summary>The PASID or the private number.</summary>
    [FieldOffset(12)] public uint Id;

    /// <summary>Out: the PASID.</summary>
    [FieldOffset(16)] public uint OutIoasid;

    /// <summary>Out: the private number, or 2^32-1 for none.</summary>
    [FieldOffset(20)] public uint OutGuest;

    /// <summary>Out: 1 allocated, 2 active.</summary>
    [FieldOffset(24)] public uint OutState;

    /// <summary>Out: devices and tables that use it.</summary>
    [FieldOffset(28)] public uint OutUsers;

    /// <summary>Out: references, the descriptor's included and this call's not.</summary>
    [FieldOffset(32)] public ulong OutReferences;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.Find;

    /// <inheritdoc/>
    public static int MinimumSize => 40;
}
