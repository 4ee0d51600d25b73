using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>
/// Dirty pages of a container. VFIO asks no IOMMU: every page that is mapped for devices is pinned, so that a device may have
/// written it at any time, and counts as dirty. What tracks writes is iommufd.
/// </content>
internal sealed partial class VfioContainerFile
{
    // As many pages as fit a signed 32-bit number, in words of 64 bits.
    private const ulong MaxBitmapBytes = 1ul << 28;

    private Errno DirtyPages(KernelProcess caller, Span<byte> argument)
    {
        if (!_isVersion2)
        {
            return Errno.AccessDenied;
        }

        int size = Unsafe.SizeOf<VfioIommuType1DirtyBitmap>();
        Errno error = ArgszArgument.Take(argument, size, out VfioIommuType1DirtyBitmap dirty);
        if (error != Errno.Success)
        {
            return error;
        }

        if (dirty.Argsz < (uint)size)
        {
            return Errno.InvalidArgument;
        }

        switch (dirty.Flags)
        {
            case VfioDirtyPagesFlags.Start:
                _tracksDirty = true;
                return Errno.Success;
            case VfioDirtyPagesFlags.Stop:
                _tracksDirty = false;
                return Errno.Success;
            case VfioDirtyPagesFlags.GetBitmap:
                return GetDirtyBitmap(caller, argument, dirty.Argsz);
            default:
                return Errno.InvalidArgument;
        }
    }

    private Errno GetDirtyBitmap(KernelProcess caller, Span<byte> argument, uint argsz)
    {
        int head = Unsafe.SizeOf<VfioIommuType1DirtyBitmap>();
        int size = head + Unsafe.SizeOf<VfioIommuType1DirtyBitmapGet>();
        if (argsz < (uint)size)
        {
            return Errno.InvalidArgument;
        }

        if (argument.Length < size)
        {
            return Errno.BadAddress;
        }

        VfioIommuType1DirtyBitmapGet get = MemoryMarshal.Read<VfioIommuType1DirtyBitmapGet>(argument[head..]);
        ulong granule = _space!.Alignment;
        Errno error = CheckBitmap(get.Bitmap, get.Size);
        if (error != Errno.Success)
        {
            return error;
        }

        return get.Bitmap.PageSize != granule
            || ((get.Iova | get.Size) & (granule - 1)) != 0
            || !AddressRange.TryFromLength(get.Iova, get.Size, out AddressRange range)
            || !_tracksDirty
            || _space.IsCut(range)
            ? Errno.InvalidArgument
            : WriteDirty(caller, get.Bitmap, range);
    }

    // The bitmap that follows an unmap.
    private static Errno TakeBitmap(ReadOnlySpan<byte> argument, uint argsz, int offset, ulong length, out VfioBitmap bitmap)
    {
        bitmap = default;
        int size = offset + Unsafe.SizeOf<VfioBitmap>();
        if (argsz < (uint)size)
        {
            return Errno.InvalidArgument;
        }

        if (argument.Length < size)
        {
            return Errno.BadAddress;
        }

        bitmap = MemoryMarshal.Read<VfioBitmap>(argument[offset..]);
        return CheckBitmap(bitmap, length);
    }

    // Whole words, at least as many as the pages need; neither none nor too many.
    private static Errno CheckBitmap(in VfioBitmap bitmap, ulong length)
    {
        if (bitmap.PageSize == 0 || bitmap.Data > ulong.MaxValue - bitmap.Size)
        {
            return Errno.InvalidArgument;
        }

        ulong pages = length >> BitOperations.TrailingZeroCount(bitmap.PageSize);
        return pages == 0
            || bitmap.Size == 0
            || bitmap.Size > MaxBitmapBytes
            || bitmap.Size < ((pages + 63) & ~63ul) / 8
            ? Errno.InvalidArgument
            : Errno.Success;
    }

    // Writes the words that mappings touch: in the first the bits before the mapping are kept, in the last the bits after it
    // become 0, and words without a mapping are not touched.
    private Errno WriteDirty(KernelProcess caller, in VfioBitmap bitmap, AddressRange range)
    {
        Span<ulong> words = stackalloc ulong[128];
        int shift = BitOperations.TrailingZeroCount(bitmap.PageSize);
        foreach (AddressRange mapping in _space!.GetMappings(range))
        {
            ulong bit = (mapping.Start - range.Start) >> shift;
            ulong end = bit + ((mapping.Last - mapping.Start) >> shift) + 1;
            ulong word = bit / 64;
            while (word * 64 < end)
            {
                ulong count = Math.Min((ulong)words.Length, ((end + 63) / 64) - word);
                Span<ulong> part = words[..(int)count];
                part.Fill(ulong.MaxValue);
                if (word == bit / 64)
                {
                    ulong before = 0;
                    ulong kept = (1ul << (int)(bit % 64)) - 1;
                    if (kept != 0)
                    {
                        Errno read = caller.Memory.Read(
                            bitmap.Data + (word * 8), MemoryMarshal.AsBytes(new Span<ulong>(ref before)));
                        if (read != Errno.Success)
                        {
                            return Errno.BadAddress;
                        }
                    }

                    part[0] = ~kept | (before & kept);
                }

                ulong tail = end - ((word + count - 1) * 64);
                if (tail < 64)
                {
                    part[^1] &= (1ul << (int)tail) - 1;
                }

                if (caller.Memory.Write(bitmap.Data + (word * 8), MemoryMarshal.AsBytes(part)) != Errno.Success)
                {
                    return Errno.BadAddress;
                }

                word += count;
            }
        }

        return Errno.Success;
    }
}
