using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/vfio/devices/vfioN</c>. Before it is bound it can do nothing else; its close detaches and unbinds. It
/// keeps the <c>/dev/iommu</c> that it is bound to alive.
/// </summary>
internal sealed class VfioDeviceFile(IoasisKernel kernel, VfioDeviceNode node) : OpenFile
{
    private IommufdFile? _iommu;
    private DeviceObject? _bound;

    /// <inheritdoc/>
    public override Errno Ioctl(uint request, Span<byte> argument, out int result)
    {
        result = 0;
        if (request == VfioRequests.DeviceBindIommufd)
        {
            return Bind(argument);
        }

        if (Volatile.Read(ref _bound) is null)
        {
            return Errno.InvalidArgument;
        }

        return request switch
        {
            VfioRequests.DeviceAttachIommufdPt => Attach(argument),
            VfioRequests.DeviceDetachIommufdPt => Detach(argument),
            VfioRequests.DeviceGetInfo => GetInfo(argument),
            _ => Errno.NotTypewriter,
        };
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        if (_bound is null)
        {
            return;
        }

        using (node.Lock.Acquire())
        {
            _iommu!.Unbind(_bound);
            node.IsBound = false;
        }

        _iommu.Dereference();
    }

    private Errno Bind(Span<byte> argument)
    {
        Errno error = Take(argument, VfioDeviceBindIommufd.MinimumSize, out VfioDeviceBindIommufd bind);
        if (error != Errno.Success)
        {
            return error;
        }

        if (bind.Argsz < VfioDeviceBindIommufd.MinimumSize || bind.Flags != 0 || bind.Iommufd < 0)
        {
            return Errno.InvalidArgument;
        }

        using (node.Lock.Acquire())
        {
            if (node.IsBound)
            {
                return Errno.InvalidArgument;
            }

            if (!kernel.Descriptors.TryGet(bind.Iommufd, out OpenFile? file))
            {
                return Errno.BadDescriptor;
            }

            if (file is not IommufdFile iommu)
            {
                file!.Dereference();
                return Errno.WrongDescriptor;
            }

            error = iommu.Bind(node.Device, out DeviceObject? bound);
            if (error != Errno.Success)
            {
                iommu.Dereference();
                return error;
            }

            // The reference of the look-up stays until the release.
            node.IsBound = true;
            _iommu = iommu;
            Volatile.Write(ref _bound, bound);
            bind.OutDeviceId = bound!.Id;
            Give(argument, bind, VfioDeviceBindIommufd.MinimumSize);
            return Errno.Success;
        }
    }

    private Errno Attach(Span<byte> argument)
    {
        Errno error = Take(argument, VfioDeviceAttachIommufdPt.MinimumSize, out VfioDeviceAttachIommufdPt attach);
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
            return Errno.NotSupported;
        }

        using (node.Lock.Acquire())
        {
            error = _iommu!.Attach(_bound!, ref attach.PageTableId);
        }

        if (error == Errno.Success)
        {
            Give(argument, attach, VfioDeviceAttachIommufdPt.MinimumSize);
        }

        return error;
    }

    private Errno Detach(Span<byte> argument)
    {
        Errno error = Take(argument, VfioDeviceDetachIommufdPt.MinimumSize, out VfioDeviceDetachIommufdPt detach);
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
            return Errno.NotSupported;
        }

        using (node.Lock.Acquire())
        {
            return _iommu!.Detach(_bound!);
        }
    }

    private static Errno GetInfo(Span<byte> argument)
    {
        Errno error = Take(argument, VfioDeviceInfo.MinimumSize, out VfioDeviceInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioDeviceInfo.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        // A bare DMA endpoint: no registers, no interrupts.
        uint size = Math.Min(info.Argsz, (uint)Unsafe.SizeOf<VfioDeviceInfo>());
        if (size > (uint)argument.Length)
        {
            return Errno.BadAddress;
        }

        info = new() { Argsz = info.Argsz, Flags = VfioDeviceFlags.Platform };
        Give(argument, info, (int)size);
        return Errno.Success;
    }

    // VFIO's own rule: the oldest version is read, whatever argsz says; a later field counts if a flag says so.
    private static Errno Take<T>(ReadOnlySpan<byte> argument, int minimum, out T value)
        where T : unmanaged
    {
        value = default;
        if (argument.Length < minimum)
        {
            return Errno.BadAddress;
        }

        argument[..minimum].CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return Errno.Success;
    }

    private static void Give<T>(Span<byte> argument, in T value, int bytes)
        where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value))[..bytes].CopyTo(argument);
}
