using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary><c>struct ioasid_vm_create</c>: makes a virtual machine's descriptor.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct IoasidVmCreate : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.VmCreate;

    /// <inheritdoc/>
    public static int MinimumSize => 8;
}

/// <summary><c>struct ioasid_vm_map</c>: has ENQCMD of the guest with one PASID use another (S1.13).</summary>
[StructLayout(LayoutKind.Explicit, Size = 20)]
public struct IoasidVmMap : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The guest's PASID.</summary>
    [FieldOffset(8)] public uint Guest;

    /// <summary>The <c>/dev/ioasid</c> that the IOASID is in.</summary>
    [FieldOffset(12)] public int IoasidFd;

    /// <summary>The IOASID.</summary>
    [FieldOffset(16)] public uint Ioasid;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.VmMap;

    /// <inheritdoc/>
    public static int MinimumSize => 20;
}

/// <summary><c>struct ioasid_vm_unmap</c>: has ENQCMD of the guest with this PASID exit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidVmUnmap : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The guest's PASID.</summary>
    [FieldOffset(8)] public uint Guest;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.VmUnmap;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct ioasid_vm_post</c>: the guest's virtual IOMMU asks its monitor for something (S1.14).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IoasidVmPost : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The guest's PASID.</summary>
    [FieldOffset(8)] public uint Guest;

    /// <summary>What is asked; the two sides agree on it.</summary>
    [FieldOffset(12)] public uint Code;

    /// <summary>More of it, such as the guest's page table.</summary>
    [FieldOffset(16)] public ulong Data;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.VmPost;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct ioasid_vm_event</c>: what is read from a virtual machine's descriptor.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IoasidVmEvent
{
    /// <summary>What it is about.</summary>
    [FieldOffset(0)] public IoasidVmEventKind Kind;

    /// <summary>The guest's PASID.</summary>
    [FieldOffset(4)] public uint Guest;

    /// <summary>As <see cref="IoasidVmPost.Code"/>; 0 for a miss.</summary>
    [FieldOffset(8)] public uint Code;

    /// <summary>Events that were lost before this one, because nobody read.</summary>
    [FieldOffset(12)] public uint Lost;

    /// <summary>As <see cref="IoasidVmPost.Data"/>; 0 for a miss.</summary>
    [FieldOffset(16)] public ulong Data;
}

/// <summary><c>struct ioasid_device_allow</c>: lets a device use an IOASID; this call gives it to the IOMMU (S1.5).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IoasidDeviceAllow : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The <c>/dev/ioasid</c> that the IOASID is in.</summary>
    [FieldOffset(8)] public int IoasidFd;

    /// <summary>The IOASID.</summary>
    [FieldOffset(12)] public uint Ioasid;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.DeviceAllow;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}

/// <summary><c>struct ioasid_device_disallow</c>: takes an IOASID away from a device, drained (S1.8).</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IoasidDeviceDisallow : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The IOASID, as it is in the device's list.</summary>
    [FieldOffset(8)] public uint Ioasid;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.DeviceDisallow;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct ioasid_device_list</c>: what a device may use (S1.12).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IoasidDeviceListArgument : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>In: numbers that fit the array. Out: numbers that there are.</summary>
    [FieldOffset(8)] public uint Count;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <summary>User address of an array of 32-bit PASIDs, filled in ascending order.</summary>
    [FieldOffset(16)] public ulong Ioasids;

    /// <inheritdoc/>
    public static uint Request => IoasidRequests.DeviceList;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}
