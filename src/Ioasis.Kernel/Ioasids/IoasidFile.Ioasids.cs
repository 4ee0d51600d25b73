using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>The calls on one IOASID.</content>
internal sealed partial class IoasidFile
{
    private const IoasidAllocFlags KnownAllocFlags =
        IoasidAllocFlags.LowestFirst | IoasidAllocFlags.Fixed | IoasidAllocFlags.GuestValid;

    private static Errno AllocCall(IoasidFile file, KernelProcess caller, ref IoasidAlloc argument)
    {
        if ((argument.Flags & ~KnownAllocFlags) != 0 || argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        bool isFixed = (argument.Flags & IoasidAllocFlags.Fixed) != 0;
        bool lowest = (argument.Flags & IoasidAllocFlags.LowestFirst) != 0;
        bool hasGuest = (argument.Flags & IoasidAllocFlags.GuestValid) != 0;
        if ((isFixed && (lowest || argument.Last != 0 || argument.First == 0)) || (!hasGuest && argument.Guest != 0))
        {
            return Errno.InvalidArgument;
        }

        if (!file._sets.TryGetValue(argument.SetId, out PasidSet? set))
        {
            return Errno.NoEntry;
        }

        IoasidContext context = new();
        PasidRequest request = new()
        {
            Policy = isFixed ? PasidPolicy.Fixed : lowest ? PasidPolicy.LowestFirst : PasidPolicy.Cyclic,
            First = new(argument.First == 0 ? 1 : argument.First),
            Last = new(argument.Last == 0 ? Pasid.MaxValue : argument.Last),
            Guest = hasGuest ? new(argument.Guest) : null,
            Data = context,
        };
        Errno error = set.TryAllocate(request, out Ioasid ioasid);
        if (error != Errno.Success)
        {
            return error;
        }

        context.Ioasid = ioasid;

        // Another thread may run between the birth and the place in the descriptor.
        _ = Injection.Hit(InjectionKind.MemoryWrite);
        file.Put(context);
        argument.OutIoasid = ioasid.Pasid.Value;
        return Errno.Success;
    }

    private static Errno FreeCall(IoasidFile file, KernelProcess caller, ref IoasidFree argument)
    {
        if ((argument.Flags & ~IoasidFreeFlags.IfUnused) != 0)
        {
            return Errno.NotSupported;
        }

        if (!file._contexts.TryGetValue(argument.Ioasid, out IoasidContext? context))
        {
            return Errno.NoEntry;
        }

        Errno error = argument.Flags == IoasidFreeFlags.IfUnused
            ? context.Ioasid.FreeIfUnused()
            : context.Ioasid.Free();
        if (!context.Ioasid.IsLive)
        {
            file.Forget(context);
        }

        return error;
    }

    private static Errno BindCall(IoasidFile file, KernelProcess caller, ref IoasidBind argument)
    {
        if (argument.Flags != 0)
        {
            return Errno.NotSupported;
        }

        Errno error = file.TryGet(argument.Ioasid, out IoasidContext? context);
        if (error != Errno.Success)
        {
            return error;
        }

        error = TryMakeMap(caller, argument, out IoasidMap? map);
        if (error == Errno.Success)
        {
            error = context!.Bind(map!);
            if (error != Errno.Success)
            {
                map!.Release();
            }
        }

        context!.Ioasid.Put();
        return error;
    }

    private static Errno UnbindCall(IoasidFile file, KernelProcess caller, ref IoasidUnbind argument)
    {
        if (argument.Flags != 0)
        {
            return Errno.NotSupported;
        }

        Errno error = file.TryGet(argument.Ioasid, out IoasidContext? context);
        if (error == Errno.Success)
        {
            error = context!.Unbind();
            context.Ioasid.Put();
        }

        return error;
    }

    private static Errno MapGuestCall(IoasidFile file, KernelProcess caller, ref IoasidMapGuest argument)
    {
        if ((argument.Flags & ~IoasidMapGuestFlags.Unmap) != 0)
        {
            return Errno.NotSupported;
        }

        bool unmap = argument.Flags == IoasidMapGuestFlags.Unmap;
        if (unmap && argument.Guest != 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = file.TryGet(argument.Ioasid, out IoasidContext? context);
        if (error != Errno.Success)
        {
            return error;
        }

        Ioasid ioasid = context!.Ioasid;
        error = unmap ? ioasid.Set.UnmapGuest(ioasid) : ioasid.Set.TryMapGuest(new(argument.Guest), ioasid);
        ioasid.Put();
        return error;
    }

    private static Errno FindCall(IoasidFile file, KernelProcess caller, ref IoasidFind argument)
    {
        if ((argument.Flags & ~IoasidFindFlags.Guest) != 0)
        {
            return Errno.NotSupported;
        }

        Ioasid ioasid;
        Errno error;
        if (argument.Flags == IoasidFindFlags.Guest)
        {
            if (!file._sets.TryGetValue(argument.SetId, out PasidSet? set))
            {
                return Errno.NoEntry;
            }

            error = set.TryGetGuest(new(argument.Id), out ioasid);
        }
        else if (argument.SetId != 0)
        {
            return Errno.InvalidArgument;
        }
        else
        {
            error = file.TryGet(argument.Id, out IoasidContext? context);
            ioasid = context?.Ioasid ?? default;
        }

        if (error != Errno.Success)
        {
            return error;
        }

        argument.SetId = ioasid.Set.Id.Value;
        argument.OutIoasid = ioasid.Pasid.Value;
        argument.OutGuest = ioasid.Guest?.Value ?? uint.MaxValue;
        argument.OutState = (uint)ioasid.State;
        argument.OutUsers = (uint)ioasid.UserCount;
        argument.OutReferences = (ulong)(ioasid.References - 1);
        ioasid.Put();
        return Errno.Success;
    }

    private static Errno TryMakeMap(KernelProcess caller, in IoasidBind argument, out IoasidMap? map)
    {
        map = null;
        if (argument.Kind == IoasidBindKind.Process)
        {
            if (argument.Iommufd != -1 || argument.ObjectId != 0)
            {
                return Errno.InvalidArgument;
            }

            map = caller.Kernel.Process is { } process ? new ProcessIoasidMap(process) : null;
            return map is null ? Errno.NotSupported : Errno.Success;
        }

        if (argument.Kind is not (IoasidBindKind.Ioas or IoasidBindKind.Hwpt))
        {
            return Errno.NotSupported;
        }

        if (!caller.Descriptors.TryGet(argument.Iommufd, out OpenFile? found))
        {
            return Errno.BadDescriptor;
        }

        // On success the references, to the file and to the object, are the map's.
        Errno error = Errno.WrongDescriptor;
        if (found is IommufdFile iommu)
        {
            if (argument.Kind == IoasidBindKind.Ioas)
            {
                using ObjectUse<IoasObject> ioas = iommu.Objects.Use<IoasObject>(argument.ObjectId, out error);
                map = error == Errno.Success ? new IoasIoasidMap(iommu, ioas.Keep()) : null;
            }
            else
            {
                using ObjectUse<HwptObject> table = iommu.Objects.Use<HwptObject>(argument.ObjectId, out error);
                if (error == Errno.Success && !table.Object.AllowsPasids)
                {
                    error = Errno.InvalidArgument;
                }

                map = error == Errno.Success ? new HwptIoasidMap(iommu, table.Keep()) : null;
            }
        }

        if (error != Errno.Success)
        {
            found!.Dereference();
        }

        return error;
    }
}
