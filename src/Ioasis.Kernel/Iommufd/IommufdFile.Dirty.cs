using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Which pages devices wrote.</content>
internal sealed partial class IommufdFile
{
    // Words of the bitmap that are worked on at a time: 256 KiB of it, or 8 GiB of 4 KiB pages.
    private const int DirtyChunkWords = 1 << 15;

    private static Errno SetDirtyTrackingCall(IommufdFile file, KernelProcess caller, ref IommuHwptSetDirtyTracking argument)
    {
        if ((argument.Flags & ~HwptDirtyTrackingFlags.Enable) != 0 || argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<PageTableObject> table = file._objects.Use<PageTableObject>(argument.HwptId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        PagingDomain domain = table.Object.PagingDomain;
        return domain.SupportsDirtyTracking
            ? table.Object.Ioas.Space.SetDirtyTracking(domain, (argument.Flags & HwptDirtyTrackingFlags.Enable) != 0)
            : Errno.NotSupported;
    }

    private static Errno GetDirtyBitmapCall(IommufdFile file, KernelProcess caller, ref IommuHwptGetDirtyBitmap argument)
    {
        if ((argument.Flags & ~HwptDirtyBitmapFlags.NoClear) != 0 || argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<PageTableObject> table = file._objects.Use<PageTableObject>(argument.HwptId, out Errno error);
        return error == Errno.Success ? ReadDirty(caller, table.Object, argument) : error;
    }

    private static Errno ReadDirty(KernelProcess caller, PageTableObject table, in IommuHwptGetDirtyBitmap argument)
    {
        // Length 0 is 2^64 here, as in Linux: what starts at 0 may end at the end.
        ulong last = unchecked(argument.Iova + (argument.Length - 1));
        if (last < argument.Iova)
        {
            return Errno.Overflow;
        }

        ulong alignment = table.Ioas.Space.Alignment;
        if (((argument.Iova | unchecked(last + 1)) & (alignment - 1)) != 0
            || argument.PageSize == 0
            || ((argument.Iova | unchecked(last + 1)) & (argument.PageSize - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (!table.PagingDomain.SupportsDirtyTracking)
        {
            return Errno.NotSupported;
        }

        int shift = BitOperations.TrailingZeroCount(argument.PageSize);
        if (!table.Ioas.Space.IsContiguous(new(argument.Iova, last)))
        {
            return Errno.InvalidArgument;
        }

        ulong pages = ((last - argument.Iova) >> shift) + 1;
        int wordCount = (int)Math.Min(DirtyChunkWords, ((pages - 1) >> 6) + 1);
        ulong[] rented = ArrayPool<ulong>.Shared.Rent(2 * wordCount);
        Span<ulong> dirty = rented.AsSpan(0, wordCount);
        Span<ulong> user = rented.AsSpan(wordCount, wordCount);
        bool clear = (argument.Flags & HwptDirtyBitmapFlags.NoClear) == 0;
        Errno error = Errno.Success;
        for (ulong page = 0; page < pages && error == Errno.Success; page += (ulong)wordCount << 6)
        {
            ulong some = Math.Min(pages - page, (ulong)wordCount << 6);
            ulong start = argument.Iova + (page << shift);
            ulong end = some == pages - page ? last : start + (some << shift) - 1;
            int bytes = (int)((some + 7) >> 3);
            error = ReadDirtyChunk(
                caller, table, new(start, end), clear, shift, dirty, MemoryMarshal.AsBytes(user)[..bytes], argument.Data + (page >> 3));
        }

        ArrayPool<ulong>.Shared.Return(rented);
        return error;
    }

    // The caller's bits are looked at and touched before anything is made clean: what was dirty must not be lost with them.
    private static Errno ReadDirtyChunk(
        KernelProcess caller,
        PageTableObject table,
        AddressRange range,
        bool clear,
        int shift,
        Span<ulong> dirty,
        Span<byte> user,
        ulong address)
    {
        Errno error = caller.Memory.Read(address, user);
        error = error == Errno.Success ? caller.Memory.Write(address, user) : error;
        if (error != Errno.Success)
        {
            return error;
        }

        dirty.Clear();
        error = table.Ioas.Space.ReadDirty(table.PagingDomain, range, clear, dirty, shift);
        if (!dirty.ContainsAnyExcept(0ul))
        {
            return error;
        }

        Span<byte> found = MemoryMarshal.AsBytes(dirty);
        for (int i = 0; i < user.Length; i++)
        {
            user[i] |= found[i];
        }

        Errno written = caller.Memory.Write(address, user);
        return error == Errno.Success ? written : error;
    }
}
