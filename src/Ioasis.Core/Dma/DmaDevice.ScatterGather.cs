using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>Scatter-gather lists.</content>
public sealed partial class DmaDevice
{
    // Far more than any list, and far from where sums would wrap.
    private const ulong MaxListBytes = 1ul << 60;

    /// <summary>
    /// Maps a list of buffers to IOVAs in a row, so that the device needs as few segments as possible: neighbours are merged
    /// wherever the first ends and the next begins at a page, and <see cref="DmaDeviceOptions.MaxSegmentSize"/> and
    /// <see cref="DmaDeviceOptions.SegmentBoundary"/> permit it.
    /// </summary>
    /// <param name="buffers">The buffers, in the order in which the device shall see them.</param>
    /// <param name="direction">What the device may do.</param>
    /// <param name="mapped">
    /// Gets the device's segments, which together lead to exactly the bytes of the buffers. As many as there are buffers are
    /// enough if each of those obeys the device's limits by itself; one that does not is split.
    /// </param>
    /// <param name="count">Segments in <paramref name="mapped"/>.</param>
    /// <param name="attributes">Wishes.</param>
    /// <returns>
    /// As <see cref="Map"/>; also <see cref="Errno.MessageTooLong"/> if there are more segments than room for them, and
    /// <see cref="Errno.IoError"/> if what was mapped before an error could not be taken back: the device may still reach the buffers.
    /// </returns>
    public Errno MapScatterGather(
        ReadOnlySpan<DmaSegment> buffers,
        DmaDirection direction,
        Span<DmaMappedSegment> mapped,
        out int count,
        DmaAttributes attributes = DmaAttributes.None)
    {
        count = 0;
        Access access = AccessOf(direction);
        if (access == Access.None || !TryLayOut(buffers, out ulong total))
        {
            return Errno.InvalidArgument;
        }

        Iova iova = default;
        if (_domain is not null)
        {
            Errno error = TryAllocate(total, attributes, out iova);
            if (error != Errno.Success)
            {
                return error;
            }

            error = MapBuffers(buffers, access, iova);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        SegmentWriter writer = new(mapped, _maxSegmentSize, _boundary);
        ulong limit = LimitOf(attributes);
        ulong position = 0;
        Errno result = Errno.Success;
        foreach (DmaSegment buffer in buffers)
        {
            ulong offset = buffer.Address.Value & _granuleMask;
            ulong size = SizeOf(buffer);
            ulong start = _domain is null ? buffer.Address.Value : iova.Value + (position += Padding(position, size)) + offset;
            if (_domain is null && start + (buffer.Length - 1) > limit)
            {
                result = Errno.OutOfRange;
                break;
            }

            if (!writer.TryAdd(start, buffer.Length))
            {
                result = Errno.MessageTooLong;
                break;
            }

            position += size;
        }

        if (result == Errno.Success)
        {
            count = writer.Count;
        }
        else if (_domain is not null)
        {
            result = Undo(iova, total, total) == Errno.Success ? result : Errno.IoError;
        }

        return result;
    }

    /// <summary>Ends a mapping of <see cref="MapScatterGather"/>.</summary>
    /// <param name="mapped">All segments that it gave, in their order.</param>
    /// <param name="attributes">Wishes.</param>
    /// <returns>As <see cref="Unmap"/>.</returns>
    public Errno UnmapScatterGather(ReadOnlySpan<DmaMappedSegment> mapped, DmaAttributes attributes = DmaAttributes.None)
    {
        if (mapped.IsEmpty)
        {
            return Errno.InvalidArgument;
        }

        // One row of IOVAs, with holes where boundaries asked for them. A page may hold the end of one and the start of the next.
        ulong start = mapped[0].Address.Value & ~_granuleMask;
        ulong next = start;
        ulong bytes = 0;
        foreach (DmaMappedSegment segment in mapped)
        {
            ulong first = segment.Address.Value & ~_granuleMask;
            if (!IsPlausible(segment.Address.Value, segment.Length))
            {
                return Errno.InvalidArgument;
            }

            if (_domain is null)
            {
                continue;
            }

            ulong end = (segment.Address.Value + segment.Length + _granuleMask) & ~_granuleMask;
            if (first < next)
            {
                first += _granuleMask + 1;
            }

            if (first < next || end < first)
            {
                return Errno.InvalidArgument;
            }

            bytes += end - first;
            next = end;
        }

        return _domain is null ? Errno.Success : UnmapRange(new(start), next - start, bytes, attributes);
    }

    private ulong SizeOf(in DmaSegment buffer) =>
        ((buffer.Address.Value & _granuleMask) + buffer.Length + _granuleMask) & ~_granuleMask;

    // A buffer that fits between two boundaries is moved behind the next one if it would otherwise lie across it. The row itself
    // starts at a multiple of its size, so that positions in it tell.
    private ulong Padding(ulong position, ulong size)
    {
        ulong left = _boundary - (position & _boundary);
        return size - 1 > left && size - 1 <= _boundary ? left + 1 : 0;
    }

    private bool TryLayOut(ReadOnlySpan<DmaSegment> buffers, out ulong total)
    {
        total = 0;
        foreach (DmaSegment buffer in buffers)
        {
            if (!IsPlausible(buffer.Address.Value, buffer.Length))
            {
                return false;
            }

            ulong size = SizeOf(buffer);
            total += Padding(total, size) + size;
            if (total > MaxListBytes)
            {
                return false;
            }
        }

        return total != 0;
    }

    // Buffers that follow each other in memory as in the row are mapped at once, for larger leaves. All or nothing.
    private Errno MapBuffers(ReadOnlySpan<DmaSegment> buffers, Access access, Iova iova)
    {
        ulong position = 0;
        ulong runStart = 0;
        ulong runAddress = 0;
        ulong runLength = 0;
        Errno error = Errno.Success;
        for (int i = 0; i <= buffers.Length && error == Errno.Success; i++)
        {
            ulong size = 0;
            ulong address = 0;
            bool continues = false;
            if (i < buffers.Length)
            {
                size = SizeOf(buffers[i]);
                ulong padding = Padding(position, size);
                position += padding;
                address = buffers[i].Address.Value & ~_granuleMask;
                continues = padding == 0 && runLength != 0 && address == runAddress + runLength;
            }

            if (!continues && runLength != 0)
            {
                error = _paging!.Map(iova + runStart, new(runAddress), runLength, access);
                if (error != Errno.Success)
                {
                    break;
                }
            }

            if (continues)
            {
                runLength += size;
            }
            else
            {
                (runStart, runAddress, runLength) = (position, address, size);
            }

            position += size;
        }

        if (error != Errno.Success)
        {
            // What came before may have been cached already: a device can try any address.
            TryLayOut(buffers, out ulong total);
            error = Undo(iova, runStart, runLength, total, error) == Errno.Success ? error : Errno.IoError;
        }

        return error;
    }

    // Puts pieces of IOVA space together into segments that obey the limits.
    private ref struct SegmentWriter(Span<DmaMappedSegment> target, ulong maxSize, ulong boundary)
    {
        private readonly Span<DmaMappedSegment> _target = target;

        public int Count { get; private set; }

        public bool TryAdd(ulong start, ulong length)
        {
            if (Count > 0)
            {
                ref DmaMappedSegment previous = ref _target[Count - 1];
                ulong end = previous.Address.Value + previous.Length;

                // Whole or not at all, so that a buffer is not cut for nothing.
                if (end == start && (start & 0xfff) == 0 && length <= maxSize && previous.Length <= maxSize - length
                    && (previous.Address.Value & ~boundary) == ((start + (length - 1)) & ~boundary))
                {
                    previous = previous with { Length = previous.Length + length };
                    return true;
                }
            }

            while (length != 0)
            {
                if (Count == _target.Length)
                {
                    return false;
                }

                ulong piece = Math.Min(Math.Min(length, maxSize), boundary - (start & boundary) + (boundary == ulong.MaxValue ? 0ul : 1ul));
                _target[Count++] = new(new(start), piece);
                start += piece;
                length -= piece;
            }

            return true;
        }
    }
}
