using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What a device can address, and what its driver needs beside.</summary>
public sealed record DmaDeviceOptions
{
    /// <summary>The last address that the device can send, 2^n - 1 for n address bits.</summary>
    public ulong AddressMask { get; init; } = ulong.MaxValue;

    /// <summary>The same for coherent buffers; null for <see cref="AddressMask"/>.</summary>
    public ulong? CoherentMask { get; init; }

    /// <summary>
    /// Whether IOVAs below 4 GiB are tried first though the device can address more: such requests have shorter headers on
    /// PCIe, and some devices only pretend to know 64 bits.
    /// </summary>
    public bool Prefer32Bit { get; init; }

    /// <summary>Most bytes of a segment of a scatter-gather list, 1 or more.</summary>
    public ulong MaxSegmentSize { get; init; } = 65536;

    /// <summary>A segment never crosses a multiple of this plus 1: 2^n - 1, at least a granule less 1.</summary>
    public ulong SegmentBoundary { get; init; } = uint.MaxValue;

    /// <summary>Where coherent buffers come from; null if the driver has none.</summary>
    public IPageAllocator? Pages { get; init; }

    /// <summary>The memory that <see cref="Pages"/> hands out.</summary>
    public IPhysicalMemory? Memory { get; init; }
}

/// <summary>
/// What a device driver maps its buffers with: addresses for its device, and nothing of IOMMUs. It works on the default domain of
/// the device's group, strict, lazy or identity, and keeps users away from the group while it is open. Thread-safe; maps and
/// unmaps in a steady state allocate no managed memory. No call throws for bad input.
/// </summary>
/// <remarks>
/// A mapping covers whole granules of the page table (4 KiB): the device can reach what shares one with the buffer. Memory is
/// coherent on every platform that there is here, so that a driver need not hand buffers to and fro between maps:
/// <see cref="SyncForDevice"/> and <see cref="SyncForCpu"/> do nothing and cost nothing.
/// </remarks>
public sealed partial class DmaDevice : IDisposable
{
    private const int LowRetryInterval = 256;

    private readonly DmaDomain? _domain;
    private readonly PagingDomain? _paging;
    private readonly DmaDeviceOptions _options;
    private readonly ulong _mask;
    private readonly ulong _granuleMask;
    private readonly ulong _maxSegmentSize;
    private readonly ulong _boundary;
    private int _skipLow;
    private int _disposed;

    private DmaDevice(IommuDevice device, DmaDomain? domain, DmaDeviceOptions options)
    {
        Device = device;
        _domain = domain;
        _paging = domain?.Paging;
        _options = options;
        _mask = options.AddressMask;
        _granuleMask = domain is null ? 0xfff : domain.Iovas.Granule - 1;
        _maxSegmentSize = options.MaxSegmentSize;
        _boundary = options.SegmentBoundary;
    }

    /// <summary>The device.</summary>
    internal IommuDevice Device { get; }

    /// <summary>The domain that is mapped in, or null if addresses pass unchanged (an identity default domain).</summary>
    internal DmaDomain? Domain => _domain;

    /// <summary>Opens a device for its driver. Until it is disposed, nobody else can claim the group's DMA.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if a user owns the group; <see cref="Errno.NotSupported"/> if the group's default domain is
    /// blocked; <see cref="Errno.InvalidArgument"/> for an option that is out of range.
    /// </returns>
    internal static Errno TryOpen(IommuDevice device, DmaDeviceOptions options, out DmaDevice? dma)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        dma = null;
        if (options.MaxSegmentSize == 0 || options.SegmentBoundary < 0xfff
            || (options.SegmentBoundary & (options.SegmentBoundary + 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = device.Group.UseDefaultDomain(out DmaDomain? domain);
        if (error == Errno.Success)
        {
            dma = new(device, domain, options);
        }

        return error;
    }

    /// <summary>Maps a buffer.</summary>
    /// <param name="buffer">First byte, of any alignment.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="direction">What the device may do.</param>
    /// <param name="address">What the device is told: it has the buffer's offset in its page.</param>
    /// <param name="attributes">Wishes.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for the buffer or the direction; <see cref="Errno.NoSpace"/> without IOVAs;
    /// <see cref="Errno.OutOfRange"/> if there is no such physical memory, or none that the device can address unchanged;
    /// <see cref="Errno.OutOfMemory"/> for tables. After an error nothing is mapped.
    /// </returns>
    public Errno Map(
        PhysicalAddress buffer,
        ulong length,
        DmaDirection direction,
        out Iova address,
        DmaAttributes attributes = DmaAttributes.None)
    {
        address = default;
        Access access = AccessOf(direction);
        if (!IsPlausible(buffer.Value, length) || access == Access.None)
        {
            return Errno.InvalidArgument;
        }

        ulong offset = buffer.Value & _granuleMask;
        ulong size = (offset + length + _granuleMask) & ~_granuleMask;
        if (_domain is null)
        {
            address = new(buffer.Value);
            return buffer.Value + (length - 1) <= LimitOf(attributes) ? Errno.Success : Errno.OutOfRange;
        }

        Errno error = TryAllocate(size, attributes, out Iova iova);
        if (error != Errno.Success)
        {
            return error;
        }

        error = _paging!.Map(iova, new(buffer.Value - offset), size, access);
        if (error != Errno.Success)
        {
            _ = Undo(iova, 0, size, size, error);
            return error;
        }

        address = iova + offset;
        return Errno.Success;
    }

    /// <summary>Ends a mapping of <see cref="Map"/>.</summary>
    /// <param name="address">As it was given.</param>
    /// <param name="length">As it was mapped.</param>
    /// <param name="attributes">Wishes.</param>
    /// <returns>
    /// Success: the device reaches the buffer no more, in lazy mode after the next flush. <see cref="Errno.InvalidArgument"/> if there
    /// is no such mapping: nothing of it is used again then. <see cref="Errno.IoError"/> if the IOMMU did not confirm: the
    /// mapping is gone from the tables, and its IOVAs wait for a flush that succeeds.
    /// </returns>
    public Errno Unmap(Iova address, ulong length, DmaAttributes attributes = DmaAttributes.None)
    {
        if (!IsPlausible(address.Value, length))
        {
            return Errno.InvalidArgument;
        }

        if (_domain is null)
        {
            return Errno.Success;
        }

        ulong offset = address.Value & _granuleMask;
        ulong size = (offset + length + _granuleMask) & ~_granuleMask;
        return UnmapRange(new(address.Value - offset), size, size, attributes);
    }

    /// <summary>Hands a mapped buffer to the device again. Nothing to do: memory is coherent.</summary>
    public static void SyncForDevice(Iova address, ulong length, DmaDirection direction)
    {
    }

    /// <summary>Hands a mapped buffer to the processor. Nothing to do: memory is coherent.</summary>
    public static void SyncForCpu(Iova address, ulong length, DmaDirection direction)
    {
    }

    /// <summary>
    /// Ends the driver's use of the device. Mappings that it forgot stay until the domain goes. Disposing again is harmless.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _ = _domain?.Flush();
            Device.Group.UnuseDefaultDomain();
        }
    }

    // Nothing above is memory or translated, and sums do not wrap.
    private static bool IsPlausible(ulong start, ulong length) => length != 0 && start <= MaxListBytes && length <= MaxListBytes;

    private static Access AccessOf(DmaDirection direction) => direction switch
    {
        DmaDirection.Bidirectional => Access.ReadWrite,
        DmaDirection.ToDevice => Access.Read,
        DmaDirection.FromDevice => Access.Write,
        _ => Access.None,
    };

    private ulong LimitOf(DmaAttributes attributes) =>
        (attributes & DmaAttributes.Below4G) != 0 ? Math.Min(_mask, uint.MaxValue) : _mask;

    private Errno TryAllocate(ulong size, DmaAttributes attributes, out Iova iova)
    {
        ulong limit = LimitOf(attributes);
        if (_options.Prefer32Bit && limit > uint.MaxValue)
        {
            // A search that failed is not repeated for a while: it would fail again, and slowly.
            if (_skipLow > 0)
            {
                _skipLow--;
            }
            else if (_domain!.Iovas.TryAllocate(size, new(uint.MaxValue), out iova) == Errno.Success)
            {
                return Errno.Success;
            }
            else
            {
                _skipLow = LowRetryInterval;
            }
        }

        return _domain!.TryAllocate(size, limit, out iova);
    }

    // Takes back what a call mapped that failed later: what came before the part that failed, and that part too if no IOMMU confirmed it,
    // for it may be cached. If even that fails, the device may still reach the memory: the IOVAs are never used again, or wait for a flush
    // that succeeds.
    private Errno Undo(Iova start, ulong mapped, ulong failed, ulong allocated, Errno failure) =>
        Undo(start, failure == Errno.IoError ? mapped + failed : mapped, allocated);

    private Errno Undo(Iova start, ulong mapped, ulong allocated)
    {
        InvalidationGather gather = default;
        Errno error = mapped == 0 ? Errno.Success : _paging!.Unmap(start, mapped, ref gather, out _);
        if (error == Errno.Success)
        {
            return _domain!.Retire(start, allocated, ref gather, strict: true);
        }

        return gather.IsEmpty || _paging!.Sync(ref gather) == Errno.Success ? error : Errno.IoError;
    }

    // Takes out a range of which `mapped` bytes are mapped, if that is so.
    private Errno UnmapRange(Iova start, ulong size, ulong mapped, DmaAttributes attributes)
    {
        // A length that is too short would free the tail as well, while it is mapped.
        if (!_domain!.Iovas.CanFree(start, size)
            || (_domain.Iovas.RoundUp(size) != size && _paging!.TryTranslate(start + size, out _, out _, out _)))
        {
            return Errno.InvalidArgument;
        }

        InvalidationGather gather = default;
        Errno error = _paging!.Unmap(start, size, ref gather, out ulong unmapped);
        if (error == Errno.Success && unmapped == mapped)
        {
            return _domain.Retire(
                start, size, ref gather, _domain.Mode == DmaMode.Strict || (attributes & DmaAttributes.Strict) != 0);
        }

        // Not what was mapped: what is gone is invalidated, and its IOVAs are never used again.
        if (!gather.IsEmpty)
        {
            _ = _paging.Sync(ref gather);
        }

        return error == Errno.Success || error == Errno.OutOfRange ? Errno.InvalidArgument : error;
    }
}
