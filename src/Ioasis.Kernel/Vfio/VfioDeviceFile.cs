using System.Runtime.CompilerServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/vfio/devices/vfioN</c>. Before it is bound it can do nothing else; its close detaches and unbinds. It
/// keeps the <c>/dev/iommu</c> that it is bound to alive.
/// </summary>
internal sealed class VfioDeviceFile(VfioDeviceNode node) : VfioOpenDevice(node)
{
    private IommufdFile? _iommu;
    private readonly IoasidDeviceList _ioasids = new(node.Device);
    private DeviceObject? _bound;

    /// <inheritdoc/>
    protected override bool IsUsable => Volatile.Read(ref _bound) is not null;

    /// <inheritdoc/>
    protected override IommufdFile? Owner => _iommu;

    /// <inheritdoc/>
    protected override Pasid CommandPasid
    {
        get
        {
            Pasid attached = _iommu!.FindLowestPasid(_bound!);
            Pasid allowed = _ioasids.Lowest;
            return !allowed.IsPresent || (attached.IsPresent && attached.Value < allowed.Value) ? attached : allowed;
        }
    }

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return request switch
        {
            VfioRequests.DeviceBindIommufd => Bind(caller, argument),
            VfioRequests.DeviceAttachIommufdPt when IsUsable => Attach(argument),
            VfioRequests.DeviceDetachIommufdPt when IsUsable => Detach(argument),
            _ when IoasidDeviceList.Handles(request) && IsUsable => _ioasids.Ioctl(caller, request, argument),
            _ => base.Ioctl(caller, request, argument, out result),
        };
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        if (_bound is null)
        {
            return;
        }

        using (Node.Lock.Acquire())
        {
            _ioasids.Release();
            Node.Close();
            _iommu!.Unbind(_bound);
            Node.ClearBound();
        }

        _iommu.Dereference();
    }

    // Only devices with virtual functions take a token; but one that cannot be read is told first.
    private static Errno RefuseToken(KernelProcess caller, ReadOnlySpan<byte> argument, uint argsz)
    {
        int size = Unsafe.SizeOf<VfioDeviceBindIommufd>();
        if (argsz < (uint)size)
        {
            return Errno.InvalidArgument;
        }

        Errno error = ArgszArgument.Take(argument, size, out VfioDeviceBindIommufd bind);
        return error == Errno.Success
            && caller.Memory.Read(bind.TokenAddress, stackalloc byte[VfioDeviceBindIommufd.TokenSize]) == Errno.Success
            ? Errno.InvalidArgument
            : Errno.BadAddress;
    }

    private Errno Bind(KernelProcess caller, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceBindIommufd.MinimumSize, out VfioDeviceBindIommufd bind);
        if (error != Errno.Success)
        {
            return error;
        }

        if (bind.Argsz < VfioDeviceBindIommufd.MinimumSize
            || (bind.Flags & ~VfioDeviceBindIommufd.TokenFlag) != 0
            || bind.Iommufd < 0)
        {
            return Errno.InvalidArgument;
        }

        if ((bind.Flags & VfioDeviceBindIommufd.TokenFlag) != 0)
        {
            return RefuseToken(caller, argument, bind.Argsz);
        }

        using (Node.Lock.Acquire())
        {
            if (Node.IsBound)
            {
                return Errno.InvalidArgument;
            }

            // The two ways to a device exclude each other.
            if (Node.Group.IsOpen)
            {
                return Errno.Busy;
            }

            if (!caller.Descriptors.TryGet(bind.Iommufd, out OpenFile? file))
            {
                return Errno.BadDescriptor;
            }

            if (file is not IommufdFile iommu)
            {
                file!.Dereference();
                return Errno.WrongDescriptor;
            }

            error = iommu.Bind(Node.Device, out DeviceObject? bound);
            if (error == Errno.Success)
            {
                error = Node.Open();
                if (error != Errno.Success)
                {
                    iommu.Unbind(bound!);
                }
            }

            if (error != Errno.Success)
            {
                iommu.Dereference();
                return error;
            }

            // The reference of the look-up stays until the release.
            Node.SetBound(iommu, bound!.Id);
            _iommu = iommu;
            Volatile.Write(ref _bound, bound);
            bind.OutDeviceId = bound.Id;
            _ = ArgszArgument.Give(argument, bind, VfioDeviceBindIommufd.MinimumSize);
            return Errno.Success;
        }
    }

    private Errno Attach(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceAttachIommufdPt.MinimumSize, out VfioDeviceAttachIommufdPt attach);
        if (error != Errno.Success)
        {
            return error;
        }

        if (attach.Argsz < VfioDeviceAttachIommufdPt.MinimumSize || (attach.Flags & ~VfioAttachFlags.Pasid) != 0)
        {
            return Errno.InvalidArgument;
        }

        if ((attach.Flags & VfioAttachFlags.Pasid) != 0)
        {
            // The PASID came later than the structure.
            int whole = Unsafe.SizeOf<VfioDeviceAttachIommufdPt>();
            error = attach.Argsz < whole ? Errno.InvalidArgument : ArgszArgument.Take(argument, whole, out attach);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        using (Node.Lock.Acquire())
        {
            error = (attach.Flags & VfioAttachFlags.Pasid) != 0
                ? _iommu!.AttachPasid(_bound!, attach.Pasid, ref attach.PageTableId)
                : _iommu!.Attach(_bound!, ref attach.PageTableId);
        }

        if (error == Errno.Success)
        {
            _ = ArgszArgument.Give(argument, attach, VfioDeviceAttachIommufdPt.MinimumSize);
        }

        return error;
    }

    private Errno Detach(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceDetachIommufdPt.MinimumSize, out VfioDeviceDetachIommufdPt detach);
        if (error != Errno.Success)
        {
            return error;
        }

        if (detach.Argsz < VfioDeviceDetachIommufdPt.MinimumSize || (detach.Flags & ~VfioAttachFlags.Pasid) != 0)
        {
            return Errno.InvalidArgument;
        }

        if ((detach.Flags & VfioAttachFlags.Pasid) != 0)
        {
            // The PASID came later than the structure.
            int whole = Unsafe.SizeOf<VfioDeviceDetachIommufdPt>();
            error = detach.Argsz < whole ? Errno.InvalidArgument : ArgszArgument.Take(argument, whole, out detach);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        using (Node.Lock.Acquire())
        {
            return (detach.Flags & VfioAttachFlags.Pasid) != 0
                ? _iommu!.DetachPasid(_bound!, detach.Pasid)
                : _iommu!.Detach(_bound!);
        }
    }
}
