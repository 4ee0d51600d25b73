using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/vfio/N</c>: a group on its way into a container, or into a <c>/dev/iommu</c> that stands for one. It keeps
/// alive what it is in, and its close takes it out again.
/// </summary>
internal sealed class VfioGroupFile(VfioGroupNode node) : OpenFile
{
    private readonly Platform.IoLock _lock = new();
    private VfioContainerFile? _container;
    private IommufdFile? _iommu;
    private int _devices;

    /// <summary>The group.</summary>
    public IommuGroup Group => node.Group;

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        using (_lock.Acquire())
        {
            return request switch
            {
                VfioRequests.GroupGetStatus => GetStatus(argument),
                VfioRequests.GroupSetContainer => SetContainer(caller, argument),
                VfioRequests.GroupUnsetContainer => UnsetContainer(),
                VfioRequests.GroupGetDeviceFd => GetDevice(caller, argument, out result),
                _ => Errno.NotTypewriter,
            };
        }
    }

    /// <summary>A device of the group was closed.</summary>
    internal void OnDeviceClosed()
    {
        _ = Interlocked.Decrement(ref _devices);
        Dereference();
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        if (HasContainer)
        {
            _ = Leave(isClosing: true);
        }

        node.Close();
    }

    private bool HasContainer => _container is not null || _iommu is not null;

    private Errno GetStatus(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, 8, out VfioGroupStatus status);
        if (error != Errno.Success)
        {
            return error;
        }

        if (status.Argsz < 8)
        {
            return Errno.InvalidArgument;
        }

        status.Flags = VfioGroupFlags.None;
        if (HasContainer)
        {
            status.Flags = VfioGroupFlags.Viable | VfioGroupFlags.ContainerSet;
        }
        else if (Group.ClaimDma(this) == Errno.Success)
        {
            Group.ReleaseDma(this);
            status.Flags = VfioGroupFlags.Viable;
        }

        return ArgszArgument.Give(argument, status, 8);
    }

    private Errno SetContainer(KernelProcess caller, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, sizeof(int), out int descriptor);
        if (error != Errno.Success)
        {
            return error;
        }

        if (descriptor < 0)
        {
            return Errno.BadDescriptor;
        }

        if (HasContainer)
        {
            return Errno.InvalidArgument;
        }

        if (!caller.Descriptors.TryGet(descriptor, out OpenFile? file))
        {
            return Errno.BadDescriptor;
        }

        if (file is IommufdFile iommu)
        {
            Errno joined = iommu.JoinCompatible();
            if (joined != Errno.Success)
            {
                iommu.Dereference();
                return joined;
            }

            _iommu = iommu;
            return Errno.Success;
        }

        if (file is not VfioContainerFile container)
        {
            file!.Dereference();
            return Errno.WrongDescriptor;
        }

        error = Group.ClaimDma(this);
        if (error == Errno.Success)
        {
            error = container.Add(this);
            if (error != Errno.Success)
            {
                Group.ReleaseDma(this);
            }
        }

        if (error != Errno.Success)
        {
            container.Dereference();
            return error;
        }

        // The reference of the look-up stays while the group is in the container.
        _container = container;
        return Errno.Success;
    }

    private Errno UnsetContainer() =>
        !HasContainer ? Errno.InvalidArgument
        : _container is not null && Volatile.Read(ref _devices) > 0 ? Errno.Busy
        : Leave(isClosing: false);

    private Errno Leave(bool isClosing)
    {
        if (_iommu is not null)
        {
            // Devices that are open stay attached where they are.
            _iommu.Dereference();
            _iommu = null;
            return Errno.Success;
        }

        Errno error = _container!.Remove(this, isClosing);
        if (error != Errno.Success)
        {
            return error;
        }

        Group.ReleaseDma(this);
        _container.Dereference();
        _container = null;
        return Errno.Success;
    }

    // The first device that the text names, or that says what is wrong with it: so Linux.
    private Errno FindDevice(IoasisKernel kernel, ReadOnlySpan<byte> text, out VfioDeviceNode? found)
    {
        foreach (IommuDevice device in Group.Devices)
        {
            found = kernel.FindNode(device);
            if (found is null)
            {
                continue;
            }

            Errno error = Match(text, Encoding.UTF8.GetBytes(device.Name), (found.Backend.Flags & VfioDeviceFlags.Pci) != 0);
            if (error != Errno.NoDevice)
            {
                return error;
            }
        }

        found = null;
        return Errno.NoDevice;
    }

    // PCI devices take words after their name. The one that Linux knows, "vf_token=", is for functions that have tokens, which none
    // has here; anything else is a mistake too. Blanks are none.
    private static Errno Match(ReadOnlySpan<byte> text, ReadOnlySpan<byte> name, bool takesWords)
    {
        if (!text.StartsWith(name))
        {
            return Errno.NoDevice;
        }

        ReadOnlySpan<byte> rest = text[name.Length..];
        return rest.IsEmpty ? Errno.Success
            : !takesWords || rest[0] != (byte)' ' ? Errno.NoDevice
            : rest.ContainsAnyExcept((byte)' ') ? Errno.InvalidArgument
            : Errno.Success;
    }

    private Errno GetDevice(KernelProcess caller, Span<byte> argument, out int descriptor)
    {
        descriptor = 0;
        if (argument.IsEmpty)
        {
            return Errno.BadAddress;
        }

        int end = argument.IndexOf((byte)0);
        if (end < 0)
        {
            return Errno.InvalidArgument;
        }

        if (_iommu is null && _container is not { HasIommu: true })
        {
            return Errno.InvalidArgument;
        }

        Errno error = FindDevice(caller.Kernel, argument[..end], out VfioDeviceNode? found);
        if (error != Errno.Success)
        {
            return error;
        }

        using (found!.Lock.Acquire())
        {
            error = _iommu is null ? found.Open() : found.OpenCompatible(_iommu);
        }

        if (error != Errno.Success)
        {
            return error;
        }

        // The device's file holds the group's: the call in progress proves that it is there.
        _ = TryReference();
        _ = Interlocked.Increment(ref _devices);
        return caller.AddFile(new VfioGroupDeviceFile(found, this), out descriptor);
    }
}

/// <summary>A device that was opened through its group: it needs no bind, and cannot be attached by itself.</summary>
internal sealed class VfioGroupDeviceFile(VfioDeviceNode node, VfioGroupFile group) : VfioOpenDevice(node)
{
    /// <inheritdoc/>
    protected override bool IsUsable => true;

    /// <inheritdoc/>
    protected override IommufdFile? Owner => null;

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return request == VfioRequests.DeviceBindIommufd
            ? Errno.InvalidArgument
            : base.Ioctl(caller, request, argument, out result);
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        using (Node.Lock.Acquire())
        {
            Node.Close();
        }

        group.OnDeviceClosed();
    }
}
