using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>A page table of the IOMMU, made for a device: the kernel's, or a guest's on one of those. Thread-safe.</summary>
public sealed class HardwarePageTable : IDisposable
{
    internal HardwarePageTable(KernelObject handle) => Handle = handle;

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>Its number in the descriptor.</summary>
    public uint Id => Handle.Id;

    /// <summary>
    /// Switches dirty tracking. Only for tables made with <see cref="HwptAllocFlags.DirtyTracking"/>; everything counts as clean
    /// when it starts.
    /// </summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void SetDirtyTracking(bool enable) =>
        IommuException.ThrowIf(SetDirtyTrackingErrno(enable), "IOMMU_HWPT_SET_DIRTY_TRACKING", $"table {Id}, {enable}");

    /// <summary>Switches dirty tracking; see <see cref="SetDirtyTracking"/>.</summary>
    /// <returns>Success; <see cref="Errno.NotSupported"/> if the table cannot; others.</returns>
    public Errno SetDirtyTrackingErrno(bool enable)
    {
        IommuHwptSetDirtyTracking argument = new()
        {
            HwptId = Id, Flags = enable ? HwptDirtyTrackingFlags.Enable : HwptDirtyTrackingFlags.None,
        };
        return Handle.Owner.Call(ref argument);
    }

    /// <summary>Sets the bits of the pages that devices wrote; other bits stay.</summary>
    /// <param name="iova">First IOVA: that of bit 0. Everything from here on must be mapped.</param>
    /// <param name="length">Bytes, a multiple of <paramref name="pageSize"/>.</param>
    /// <param name="pageSize">Bytes that a bit stands for, a power of two.</param>
    /// <param name="bitmap">Bit n of word n / 64 for page n; at least a bit a page.</param>
    /// <param name="clear">Whether what is told becomes clean.</param>
    /// <exception cref="ArgumentException">The bitmap is too short.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void ReadDirty(Iova iova, ulong length, ulong pageSize, Span<ulong> bitmap, bool clear = true) =>
        IommuException.ThrowIf(
            ReadDirtyErrno(iova, length, pageSize, bitmap, clear),
            "IOMMU_HWPT_GET_DIRTY_BITMAP",
            $"table {Id}, IOVA {iova}, length 0x{length:x}, pages of 0x{pageSize:x}");

    /// <summary>Sets the bits of the pages that devices wrote; see <see cref="ReadDirty"/>.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> over what is not mapped, for alignment, or while nothing is tracked;
    /// <see cref="Errno.NotSupported"/>; others.
    /// </returns>
    /// <exception cref="ArgumentException">The bitmap is too short.</exception>
    public unsafe Errno ReadDirtyErrno(Iova iova, ulong length, ulong pageSize, Span<ulong> bitmap, bool clear = true)
    {
        if (pageSize != 0 && (length == 0 || (length - 1) / pageSize >= (ulong)bitmap.Length * 64))
        {
            throw new ArgumentException("The bitmap does not have a bit for each page.", nameof(bitmap));
        }

        fixed (ulong* words = bitmap)
        {
            IommuHwptGetDirtyBitmap argument = new()
            {
                HwptId = Id, Iova = iova.Value, Length = length, PageSize = pageSize, Data = (ulong)words,
                Flags = clear ? HwptDirtyBitmapFlags.None : HwptDirtyBitmapFlags.NoClear,
            };
            return Handle.Owner.Call(ref argument);
        }
    }

    /// <summary>Has the IOMMU forget what a guest asks it to forget; of a guest's table.</summary>
    /// <param name="dataType">Kind of the entries, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="entries">The entries, in the order in which they are carried out.</param>
    /// <exception cref="IommuException">The kernel refused one; those before it were carried out.</exception>
    public void Invalidate<T>(uint dataType, ReadOnlySpan<T> entries)
        where T : unmanaged
    {
        Errno error = InvalidateErrno(dataType, entries, out int done);
        IommuException.ThrowIf(error, "IOMMU_HWPT_INVALIDATE", $"table {Id}, entry {done} of {entries.Length}");
    }

    /// <summary>Has the IOMMU forget what a guest asks it to forget; of a guest's table.</summary>
    /// <param name="dataType">Kind of the entries.</param>
    /// <param name="entries">The entries.</param>
    /// <param name="done">How many were carried out, also when the call fails.</param>
    /// <returns>Success, or why the first that was not carried out was not.</returns>
    public Errno InvalidateErrno<T>(uint dataType, ReadOnlySpan<T> entries, out int done)
        where T : unmanaged => Handle.InvalidateErrno(dataType, entries, out done);

    /// <summary>Destroys the table.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while a device is attached.</returns>
    public Errno DestroyErrno() => Handle.DestroyErrno();

    /// <summary>Destroys the table; one that is in use goes with the descriptor.</summary>
    public void Dispose() => Handle.Dispose();
}
