using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>A device that is bound to a descriptor (Linux: <c>iommufd_device</c>). Its state is under the attach lock.</summary>
internal sealed class DeviceObject(IommufdFile owner, IommuDevice device, GroupBinding group) : KernelObject
{
    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>Its group, as far as this descriptor has it.</summary>
    public GroupBinding Group => group;

    /// <summary>Whether the device is attached; to what, its group says.</summary>
    public bool IsAttached => group.Attached.Contains(this);

    /// <inheritdoc/>
    public override void Destroy() => owner.ReleaseGroup(group);
}

/// <summary>A group of which a descriptor has devices (Linux: <c>iommufd_group</c>): all are attached to one table.</summary>
internal sealed class GroupBinding(IommuGroup group)
{
    /// <summary>The group.</summary>
    public IommuGroup Group => group;

    /// <summary>What it is attached to.</summary>
    public PageTableObject? Table { get; set; }

    /// <summary>The devices that were attached through this descriptor.</summary>
    public List<DeviceObject> Attached { get; } = [];

    /// <summary>Devices that are bound.</summary>
    public int Bound { get; set; }
}
