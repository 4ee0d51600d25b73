using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Memory of files, and who pays for it.</content>
internal sealed partial class IommufdFile
{
    private static Errno MapFileCall(IommufdFile file, KernelProcess caller, ref IommuIoasMapFile argument)
    {
        if ((argument.Flags & ~KnownMapFlags) != 0)
        {
            return Errno.NotSupported;
        }

        if (argument.Iova == ulong.MaxValue || argument.Length == ulong.MaxValue)
        {
            return Errno.Overflow;
        }

        if ((argument.Flags & (IoasMapFlags.Writable | IoasMapFlags.Readable)) == 0)
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<IoasObject> ioas = file._objects.Use<IoasObject>(argument.IoasId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        if (!caller.Descriptors.TryGet(argument.Fd, out OpenFile? named))
        {
            error = Errno.BadDescriptor;
        }
        else
        {
            bool isFixed = (argument.Flags & IoasMapFlags.FixedIova) != 0;
            error = named is DmaBufferFile buffer
                ? ioas.Object.Space.MapDevice(
                    caller.Owner, buffer, ref argument.Iova, isFixed, argument.Start, argument.Length, ToAccess(argument.Flags))
                : named is MemoryFile memory
                ? ioas.Object.Space.MapFile(
                    caller.Owner,
                    memory,
                    ref argument.Iova,
                    isFixed,
                    argument.Start,
                    argument.Length,
                    ToAccess(argument.Flags))
                : Errno.InvalidArgument;
            named!.Dereference();
        }

        return error;
    }

    // The process that calls pays from now on for everything that this descriptor maps, if all of it is of files.
    private static Errno ChangeProcessCall(IommufdFile file, KernelProcess caller, ref IommuIoasChangeProcess argument)
    {
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUses<IoasObject> used = file._objects.UseAll<IoasObject>();
        AddressSpace[] spaces = [.. used.Objects.Select(static ioas => ioas.Space)];
        return AddressSpace.MoveTo(spaces, caller.Owner);
    }
}
