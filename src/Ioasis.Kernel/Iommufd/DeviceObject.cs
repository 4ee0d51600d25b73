using Ioasis.Core;

namespace Ioasis.Kernel;

/// <summary>A device that is bound to a descriptor (Linux: <c>iommufd_device</c>). Its state is under the attach lock.</summary>
internal sealed class DeviceObject(IommufdFile owner, IommuDevice device, GroupBinding group) : KernelObject
{
    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>Its group, as far as this descriptor has it.</summary>
    public GroupBinding Group => group;

    /// <summary>What a guest knows it as.</summary>
    public VirtualDeviceObject? Virtual;

    /// <summary>It is being unbound: nothing can be made of it any more.</summary>
    public bool IsGoing { get; set; }

    /// <inheritdoc/>
    public override void Destroy() => owner.ReleaseGroup(group);
}
