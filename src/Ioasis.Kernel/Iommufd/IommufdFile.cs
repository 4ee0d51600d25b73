using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/iommu</c>: objects by number, and the calls on them. Errors are Linux's, in Linux's order
/// (docs/abi.md lists both and every difference).
/// </summary>
internal sealed partial class IommufdFile : OpenFile
{
    private readonly ObjectTable _objects = new();

    // Guards who is attached to what: devices, groups, tables of an address space. Taken before an address space's own lock.
    private readonly IoLock _attachLock = new();
    private readonly Dictionary<int, GroupBinding> _groups = [];
    private ulong _rlimitMode;
    private IoasObject? _vfioIoas;

    public IommufdFile(IoasisKernel kernel) => Kernel = kernel;

    /// <summary>The kernel.</summary>
    public IoasisKernel Kernel { get; }

    /// <summary>For audits.</summary>
    internal ObjectTable Objects => _objects;

    /// <inheritdoc/>
    public override unsafe Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return request switch
        {
            IommufdRequests.IoasMap => Run<IommuIoasMap>(caller, argument, &MapCall),
            IommufdRequests.IoasUnmap => Run<IommuIoasUnmap>(caller, argument, &UnmapCall),
            IommufdRequests.Destroy => Run<IommuDestroy>(caller, argument, &DestroyCall),
            IommufdRequests.IoasAlloc => Run<IommuIoasAlloc>(caller, argument, &AllocCall),
            IommufdRequests.IoasAllowIovas => Run<IommuIoasAllowIovas>(caller, argument, &AllowCall),
            IommufdRequests.IoasMapFile => Run<IommuIoasMapFile>(caller, argument, &MapFileCall),
            IommufdRequests.IoasChangeProcess => Run<IommuIoasChangeProcess>(caller, argument, &ChangeProcessCall),
            IommufdRequests.IoasCopy => Run<IommuIoasCopy>(caller, argument, &CopyCall),
            IommufdRequests.IoasIovaRanges => Run<IommuIoasIovaRanges>(caller, argument, &RangesCall),
            IommufdRequests.Option => Run<IommuOption>(caller, argument, &OptionCall),
            IommufdRequests.VfioIoas => Run<IommuVfioIoas>(caller, argument, &VfioIoasCall),
            IommufdRequests.HwptAlloc => Run<IommuHwptAlloc>(caller, argument, &HwptAllocCall),
            IommufdRequests.GetHwInfo => Run<IommuHwInfo>(caller, argument, &HwInfoCall),
            IommufdRequests.HwptSetDirtyTracking => Run<IommuHwptSetDirtyTracking>(caller, argument, &SetDirtyTrackingCall),
            IommufdRequests.HwptGetDirtyBitmap => Run<IommuHwptGetDirtyBitmap>(caller, argument, &GetDirtyBitmapCall),
            IommufdRequests.HwptInvalidate => Run<IommuHwptInvalidate>(caller, argument, &InvalidateCall, answersErrors: true),
            IommufdRequests.FaultQueueAlloc => Run<IommuFaultAlloc>(caller, argument, &FaultAllocCall),
            IommufdRequests.ViommuAlloc => Run<IommuViommuAlloc>(caller, argument, &ViommuAllocCall),
            IommufdRequests.VdeviceAlloc => Run<IommuVdeviceAlloc>(caller, argument, &VdeviceAllocCall),
            IommufdRequests.VeventqAlloc => Run<IommuVeventqAlloc>(caller, argument, &VeventqAllocCall),
            IommufdRequests.HwQueueAlloc => Run<IommuHwQueueAlloc>(caller, argument, &HwQueueAllocCall),
            _ => CompatibleCall(caller, request, argument, out result),
        };
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        _objects.DestroyAll();

        // What is left an IOMMU may still use. Its mappings go like any others: their memory as soon as that is confirmed.
        using ObjectUses<IoasObject> left = _objects.UseAll<IoasObject>();
        foreach (IoasObject ioas in left.Objects)
        {
            ioas.Close();
        }
    }

    /// <summary>An address space goes: VFIO compatibility must not find it any more.</summary>
    internal void ForgetVfioIoas(IoasObject ioas) => Interlocked.CompareExchange(ref _vfioIoas, null, ioas);

    // The size rule before, the answer after: also when the call reports an error with an answer (EMSGSIZE, and calls that
    // answer every error).
    private unsafe Errno Run<T>(
        KernelProcess caller, Span<byte> argument, delegate*<IommufdFile, KernelProcess, ref T, Errno> call, bool answersErrors = false)
        where T : unmanaged, ISizedArgument
    {
        Errno error = SizedArgument.Take(argument, out T value);
        if (error != Errno.Success)
        {
            return error;
        }

        error = call(this, caller, ref value);
        if (answersErrors || error is Errno.Success or Errno.MessageTooLong)
        {
            SizedArgument.Give(argument, value);
        }

        return error;
    }

    private static Errno DestroyCall(IommufdFile file, KernelProcess caller, ref IommuDestroy argument) => file._objects.Destroy(argument.Id);

    private static Errno OptionCall(IommufdFile file, KernelProcess caller, ref IommuOption argument)
    {
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        if (argument.OptionId == IommuOptionId.RlimitMode)
        {
            return file.RlimitMode(ref argument);
        }

        if (argument.OptionId is not (IommuOptionId.HugePages or IommuOptionId.LazyInvalidation or IommuOptionId.Flush))
        {
            return Errno.NotSupported;
        }

        using ObjectUse<IoasObject> ioas = file._objects.Use<IoasObject>(argument.ObjectId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        return (argument.Operation, argument.OptionId) switch
        {
            (IommuOptionOperation.Get, _) => GetOption(ioas.Object.Space, ref argument),
            (IommuOptionOperation.Set, _) => SetOption(ioas.Object.Space, argument),
            _ => Errno.NotSupported,
        };
    }

    private static Errno GetOption(AddressSpace space, ref IommuOption argument)
    {
        argument.Value = argument.OptionId switch
        {
            IommuOptionId.HugePages => space.LargePages ? 1u : 0u,
            IommuOptionId.LazyInvalidation => space.Lazy ? 1u : 0u,
            _ => (ulong)space.CountPending(),
        };
        return Errno.Success;
    }

    private static Errno SetOption(AddressSpace space, in IommuOption argument)
    {
        switch (argument.OptionId, argument.Value)
        {
            case (IommuOptionId.HugePages, 0 or 1):
                return space.SetLargePages(argument.Value == 1);
            case (IommuOptionId.LazyInvalidation, 0 or 1):
                space.Lazy = argument.Value == 1;
                return argument.Value == 1 ? Errno.Success : space.Flush();
            case (IommuOptionId.Flush, 1):
                return space.Flush();
            default:
                return Errno.InvalidArgument;
        }
    }

    private static Errno VfioIoasCall(IommufdFile file, KernelProcess caller, ref IommuVfioIoas argument)
    {
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        switch (argument.Operation)
        {
            case VfioIoasOperation.Get:
                IoasObject? current = Volatile.Read(ref file._vfioIoas);
                argument.IoasId = current?.Id ?? argument.IoasId;
                return current is null ? Errno.NoDevice : Errno.Success;
            case VfioIoasOperation.Set:
                return file.SetVfioIoas(argument.IoasId);
            case VfioIoasOperation.Clear:
                Volatile.Write(ref file._vfioIoas, null);
                return Errno.Success;
            default:
                return Errno.NotSupported;
        }
    }

    private Errno SetVfioIoas(uint id)
    {
        using ObjectUse<IoasObject> ioas = _objects.Use<IoasObject>(id, out Errno error);
        if (error == Errno.Success)
        {
            // Not kept: an address space that goes takes itself out.
            Volatile.Write(ref _vfioIoas, ioas.Object);
        }

        return error;
    }

    private Errno RlimitMode(ref IommuOption argument)
    {
        if (argument.ObjectId != 0)
        {
            return Errno.NotSupported;
        }

        switch (argument.Operation)
        {
            case IommuOptionOperation.Get:
                argument.Value = Volatile.Read(ref _rlimitMode);
                return Errno.Success;
            case IommuOptionOperation.Set when _objects.Count > 0:
                return Errno.Busy;
            case IommuOptionOperation.Set when argument.Value > 1:
                return Errno.InvalidArgument;
            case IommuOptionOperation.Set:
                Volatile.Write(ref _rlimitMode, argument.Value);
                return Errno.Success;
            default:
                return Errno.NotSupported;
        }
    }
}
