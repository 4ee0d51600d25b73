using System.Buffers;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Address spaces.</content>
internal sealed partial class IommufdFile
{
    private const IoasMapFlags KnownMapFlags = IoasMapFlags.FixedIova | IoasMapFlags.Writable | IoasMapFlags.Readable;

    // Ranges that are written to the client at a time.
    private const int RangesChunk = 1024;

    private static Errno AllocCall(IommufdFile file, KernelProcess caller, ref IommuIoasAlloc argument)
    {
        if (argument.Flags != 0)
        {
            return Errno.NotSupported;
        }

        IoasObject ioas = new(file, file.Kernel.NewAddressSpace(Volatile.Read(ref file._rlimitMode) != 0));
        Errno error = file._objects.Add(ioas);
        if (error != Errno.Success)
        {
            file.Kernel.OnAddressSpaceClosed(ioas.Space);
            return error;
        }

        argument.OutIoasId = ioas.Id;
        return Errno.Success;
    }

    private static Errno MapCall(IommufdFile file, KernelProcess caller, ref IommuIoasMap argument)
    {
        if ((argument.Flags & ~KnownMapFlags) != 0 || argument.Reserved != 0)
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
        return error != Errno.Success ? error : ioas.Object.Space.Map(
            caller.PinningOwner,
            ref argument.Iova,
            (argument.Flags & IoasMapFlags.FixedIova) != 0,
            argument.UserVa,
            argument.Length,
            ToAccess(argument.Flags));
    }

    private static Errno CopyCall(IommufdFile file, KernelProcess caller, ref IommuIoasCopy argument)
    {
        if ((argument.Flags & ~KnownMapFlags) != 0)
        {
            return Errno.NotSupported;
        }

        if (argument.Length == ulong.MaxValue
            || argument.SourceIova == ulong.MaxValue
            || argument.DestinationIova == ulong.MaxValue)
        {
            return Errno.Overflow;
        }

        if ((argument.Flags & (IoasMapFlags.Writable | IoasMapFlags.Readable)) == 0)
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<IoasObject> source = file._objects.Use<IoasObject>(argument.SourceIoasId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        using ObjectUse<IoasObject> destination = file._objects.Use<IoasObject>(argument.DestinationIoasId, out error);
        return error != Errno.Success ? error : destination.Object.Space.Copy(
            source.Object.Space,
            argument.SourceIova,
            argument.Length,
            ref argument.DestinationIova,
            (argument.Flags & IoasMapFlags.FixedIova) != 0,
            ToAccess(argument.Flags));
    }

    private static Errno UnmapCall(IommufdFile file, KernelProcess caller, ref IommuIoasUnmap argument)
    {
        using ObjectUse<IoasObject> ioas = file._objects.Use<IoasObject>(argument.IoasId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong unmapped = 0;
        if (argument.Iova == 0 && argument.Length == ulong.MaxValue)
        {
            error = ioas.Object.Space.UnmapAll(out unmapped);
        }
        else if (argument.Iova == ulong.MaxValue || argument.Length == ulong.MaxValue)
        {
            error = Errno.Overflow;
        }
        else
        {
            error = ioas.Object.Space.Unmap(argument.Iova, argument.Length, out unmapped);
        }

        argument.Length = unmapped;
        return error;
    }

    private static Errno RangesCall(IommufdFile file, KernelProcess caller, ref IommuIoasIovaRanges argument)
    {
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<IoasObject> ioas = file._objects.Use<IoasObject>(argument.IoasId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        AddressRange[] ranges = ioas.Object.Space.GetUsable(out ulong alignment);
        int count = (int)Math.Min((uint)ranges.Length, argument.NumIovas);
        error = WriteRanges(caller, argument.AllowedIovas, ranges.AsSpan(0, count));
        if (error != Errno.Success)
        {
            return error;
        }

        bool tooMany = (uint)ranges.Length > argument.NumIovas;
        argument.NumIovas = (uint)ranges.Length;
        argument.OutIovaAlignment = alignment;
        return tooMany ? Errno.MessageTooLong : Errno.Success;
    }

    private static Errno AllowCall(IommufdFile file, KernelProcess caller, ref IommuIoasAllowIovas argument)
    {
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<IoasObject> ioas = file._objects.Use<IoasObject>(argument.IoasId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        error = ReadRanges(caller, argument.AllowedIovas, argument.NumIovas, out List<AddressRange> ranges);
        return error == Errno.Success ? ioas.Object.Space.Allow(IntervalSet.FromUnsorted(ranges)) : error;
    }

    private static Errno WriteRanges(KernelProcess caller, ulong address, ReadOnlySpan<AddressRange> ranges)
    {
        IommuIovaRange[] chunk = ArrayPool<IommuIovaRange>.Shared.Rent(Math.Min(ranges.Length, RangesChunk));
        Errno error = Errno.Success;
        while (!ranges.IsEmpty && error == Errno.Success)
        {
            int part = Math.Min(chunk.Length, ranges.Length);
            for (int i = 0; i < part; i++)
            {
                chunk[i] = new() { Start = ranges[i].Start, Last = ranges[i].Last };
            }

            ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(chunk.AsSpan(0, part));
            error = caller.Memory.Write(address, bytes);
            address += (ulong)bytes.Length;
            ranges = ranges[part..];
        }

        ArrayPool<IommuIovaRange>.Shared.Return(chunk);
        return error;
    }

    private static Errno ReadRanges(KernelProcess caller, ulong address, uint count, out List<AddressRange> ranges)
    {
        ranges = [];
        for (uint i = 0; i < count; i++)
        {
            IommuIovaRange range = default;
            Errno error = Injection.Hit(InjectionKind.Allocate);
            if (error == Errno.Success)
            {
                error = caller.Memory.Read(
                    address + (16ul * i), MemoryMarshal.AsBytes(new Span<IommuIovaRange>(ref range)));
            }

            if (error != Errno.Success)
            {
                return error;
            }

            if (range.Start >= range.Last)
            {
                return Errno.InvalidArgument;
            }

            ranges.Add(new(range.Start, range.Last));
        }

        // No two may overlap; once sorted, it is enough to look at neighbours.
        List<AddressRange> sorted = [.. ranges];
        sorted.Sort();
        for (int i = 1; i < sorted.Count; i++)
        {
            if (sorted[i].Start <= sorted[i - 1].Last)
            {
                return Errno.InvalidArgument;
            }
        }

        return Errno.Success;
    }

    private static Access ToAccess(IoasMapFlags flags) =>
        ((flags & IoasMapFlags.Readable) != 0 ? Access.Read : 0) | ((flags & IoasMapFlags.Writable) != 0 ? Access.Write : 0);
}
