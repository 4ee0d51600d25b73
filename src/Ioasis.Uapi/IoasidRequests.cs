namespace Ioasis.Uapi;

/// <summary>
/// Request numbers of the IOASID family, which Linux does not have: <c>_IO(';', 0xc0 + n)</c>, beyond those of VFIO and
/// iommufd. Every argument carries its own size and follows the rule of <see cref="SizedArgument"/> (docs/abi.md).
/// </summary>
public static class IoasidRequests
{
    private const uint Base = (uint)';' << 8 | 0xc0;

    /// <summary>IOASID_SET_CREATE, on <c>/dev/ioasid</c>.</summary>
    public const uint SetCreate = Base;

    /// <summary>IOASID_SET_ADJUST, on <c>/dev/ioasid</c>.</summary>
    public const uint SetAdjust = Base + 0x01;

    /// <summary>IOASID_SET_DESTROY, on <c>/dev/ioasid</c>.</summary>
    public const uint SetDestroy = Base + 0x02;

    /// <summary>IOASID_SET_INFO, on <c>/dev/ioasid</c>.</summary>
    public const uint SetInfo = Base + 0x03;

    /// <summary>IOASID_ALLOC, on <c>/dev/ioasid</c>.</summary>
    public const uint Alloc = Base + 0x04;

    /// <summary>IOASID_FREE, on <c>/dev/ioasid</c>.</summary>
    public const uint Free = Base + 0x05;

    /// <summary>IOASID_BIND, on <c>/dev/ioasid</c>.</summary>
    public const uint Bind = Base + 0x06;

    /// <summary>IOASID_UNBIND, on <c>/dev/ioasid</c>.</summary>
    public const uint Unbind = Base + 0x07;

    /// <summary>IOASID_MAP_GUEST, on <c>/dev/ioasid</c>.</summary>
    public const uint MapGuest = Base + 0x08;

    /// <summary>IOASID_FIND, on <c>/dev/ioasid</c>.</summary>
    public const uint Find = Base + 0x09;

    /// <summary>IOASID_VM_CREATE, on <c>/dev/ioasid</c>: the result is the descriptor of a virtual machine.</summary>
    public const uint VmCreate = Base + 0x0a;

    /// <summary>IOASID_SET_EVENTS, on <c>/dev/ioasid</c>: the result is a descriptor that tells what happens in a set.</summary>
    public const uint SetEvents = Base + 0x0b;

    /// <summary>IOASID_VM_MAP, on a virtual machine.</summary>
    public const uint VmMap = Base + 0x10;

    /// <summary>IOASID_VM_UNMAP, on a virtual machine.</summary>
    public const uint VmUnmap = Base + 0x11;

    /// <summary>IOASID_VM_POST, on a virtual machine.</summary>
    public const uint VmPost = Base + 0x12;

    /// <summary>IOASID_DEVICE_ALLOW, on a device.</summary>
    public const uint DeviceAllow = Base + 0x18;

    /// <summary>IOASID_DEVICE_DISALLOW, on a device.</summary>
    public const uint DeviceDisallow = Base + 0x19;

    /// <summary>IOASID_DEVICE_LIST, on a device.</summary>
    public const uint DeviceList = Base + 0x1a;
}

/// <summary>Flags of <see cref="IoasidSetDestroy"/>.</summary>
[Flags]
public enum IoasidSetDestroyFlags : uint
{
    /// <summary>The set goes, and its quota.</summary>
    None = 0,

    /// <summary>Only its IOASIDs are freed; the set and its quota stay (S0.11).</summary>
    Keep = 1,
}

/// <summary>Flags of <see cref="IoasidAlloc"/>.</summary>
[Flags]
public enum IoasidAllocFlags : uint
{
    /// <summary>Any in the range, not one that was freed lately.</summary>
    None = 0,

    /// <summary>The lowest in the range.</summary>
    LowestFirst = 1,

    /// <summary>Exactly <see cref="IoasidAlloc.First"/>.</summary>
    Fixed = 2,

    /// <summary><see cref="IoasidAlloc.Guest"/> is its private number.</summary>
    GuestValid = 4,
}

/// <summary>Flags of <see cref="IoasidFree"/>.</summary>
[Flags]
public enum IoasidFreeFlags : uint
{
    /// <summary>Its DMA is stopped and it is parked until its users are gone (S1.7).</summary>
    None = 0,

    /// <summary>EBUSY while anything uses it.</summary>
    IfUnused = 1,
}

/// <summary>What <see cref="IoasidBind"/> assigns.</summary>
public enum IoasidBindKind : uint
{
    /// <summary>An address space of a <c>/dev/iommu</c>.</summary>
    Ioas = 1,

    /// <summary>A page table of a <c>/dev/iommu</c>: one of the kernel's, or a guest's nested one.</summary>
    Hwpt = 2,

    /// <summary>The address space of the calling process.</summary>
    Process = 3,
}

/// <summary>Flags of <see cref="IoasidMapGuest"/>.</summary>
[Flags]
public enum IoasidMapGuestFlags : uint
{
    /// <summary>Gives the IOASID a private number.</summary>
    None = 0,

    /// <summary>Takes it away; <see cref="IoasidMapGuest.Guest"/> must be 0.</summary>
    Unmap = 1,
}

/// <summary>Flags of <see cref="IoasidFind"/>.</summary>
[Flags]
public enum IoasidFindFlags : uint
{
    /// <summary>By PASID.</summary>
    None = 0,

    /// <summary>By private number, in the set <see cref="IoasidFind.SetId"/>.</summary>
    Guest = 1,
}

/// <summary>What an event of a virtual machine is about.</summary>
public enum IoasidVmEventKind : uint
{
    /// <summary>An ENQCMD with a guest PASID that is not mapped left the guest (S1.13).</summary>
    PasidMiss = 1,

    /// <summary>The guest's virtual IOMMU asks for something (S1.14): what <see cref="IoasidVmPost"/> said.</summary>
    Request = 2,
}
