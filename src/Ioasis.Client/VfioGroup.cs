using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A group of devices that cannot be kept apart, by its VFIO node. It joins a <see cref="VfioContainer"/>; then its devices
/// can be opened. Thread-safe.
/// </summary>
public sealed class VfioGroup : IDisposable
{
    private VfioGroup(string path, KernelDescriptor descriptor)
    {
        Path = path;
        Descriptor = descriptor;
    }

    /// <summary>The group's node.</summary>
    public string Path { get; }

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Opens a group by number.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static VfioGroup Open(IKernelAbi kernel, int group)
    {
        string path = string.Create(CultureInfo.InvariantCulture, $"/dev/vfio/{group}");
        IommuException.ThrowIf(OpenErrno(kernel, path, out VfioGroup? opened), "open", $"{path}");
        return opened!;
    }

    /// <summary>Opens a group by its node, such as <c>/dev/vfio/12</c>.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if somebody has it open; what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, string path, out VfioGroup? group)
    {
        Errno error = KernelDescriptor.OpenErrno(kernel, path, out KernelDescriptor? descriptor);
        group = descriptor is null ? null : new(path, descriptor);
        return error;
    }

    /// <summary>Whether the group can be used, and is in a container.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno GetStatusErrno(out VfioGroupFlags flags)
    {
        VfioGroupStatus status = new() { Argsz = 8 };
        Errno error = Descriptor.Call(VfioRequests.GroupGetStatus, MemoryMarshal.AsBytes(new Span<VfioGroupStatus>(ref status)));
        flags = status.Flags;
        return error;
    }

    /// <summary>Joins a container.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Join(VfioContainer container) =>
        IommuException.ThrowIf(JoinErrno(container), "VFIO_GROUP_SET_CONTAINER", $"{Path}");

    /// <summary>Joins a container.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if it is in one, or if a live mapping of the container lies where the group
    /// cannot reach or has a reserved region; <see cref="Errno.Busy"/> if somebody else has the group.
    /// </returns>
    public Errno JoinErrno(VfioContainer container)
    {
        ArgumentNullException.ThrowIfNull(container);
        using HandleHold held = new(container.Descriptor);
        int number = container.Descriptor.Number;
        return Descriptor.Call(VfioRequests.GroupSetContainer, MemoryMarshal.AsBytes(new Span<int>(ref number)));
    }

    /// <summary>Leaves the container.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Leave() => IommuException.ThrowIf(LeaveErrno(), "VFIO_GROUP_UNSET_CONTAINER", $"{Path}");

    /// <summary>Leaves the container.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if it is in none; <see cref="Errno.Busy"/> while a device of it is open.
    /// </returns>
    public Errno LeaveErrno() => Descriptor.Call(VfioRequests.GroupUnsetContainer, 0, out _);

    /// <summary>Opens a device of the group.</summary>
    /// <param name="name">Its name, such as <c>0000:00:03.0</c>.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioDevice OpenDevice(string name)
    {
        IommuException.ThrowIf(OpenDeviceErrno(name, out VfioDevice? device), "VFIO_GROUP_GET_DEVICE_FD", $"{Path}, {name}");
        return device!;
    }

    /// <summary>Opens a device of the group.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoDevice"/> for an unknown name; <see cref="Errno.InvalidArgument"/> if the group's container
    /// has no IOMMU yet.
    /// </returns>
    public Errno OpenDeviceErrno(string name, out VfioDevice? device)
    {
        ArgumentNullException.ThrowIfNull(name);
        device = null;
        byte[] argument = [.. Encoding.UTF8.GetBytes(name), 0];
        using HandleHold held = new(Descriptor);
        int result = Descriptor.Kernel.Ioctl(Descriptor.Number, VfioRequests.GroupGetDeviceFd, argument);
        if (result < 0)
        {
            return (Errno)(-result);
        }

        device = new(name, KernelDescriptor.Own(Descriptor.Kernel, result));
        return Errno.Success;
    }

    /// <summary>Closes the descriptor: the group leaves its container when its devices are closed too.</summary>
    public void Dispose() => Descriptor.Dispose();
}
