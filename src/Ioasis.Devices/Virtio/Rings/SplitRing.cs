using System.Buffers.Binary;

namespace Ioasis.Devices.Virtio;

/// <summary>A split virtqueue (virtio 1.3, section 2.7): descriptor table, available ring, used ring.</summary>
internal sealed class SplitRing(VirtioDevice device, VirtioQueue queue, VirtioFeatures features)
    : VirtioRing(device, queue.Size, features)
{
    private const ushort NoInterrupt = 1;

    private readonly ulong _table = queue.Descriptors;
    private readonly ulong _available = queue.Driver;
    private readonly ulong _used = queue.Device;
    private ushort _next;
    private ushort _seen;
    private ushort _usedIndex;
    private ushort _unpublished;
    private ushort _signalled;

    /// <inheritdoc/>
    public override RingTake Take(VirtioChain chain)
    {
        chain.Clear();
        if (_next == _seen)
        {
            if (!TryLook())
            {
                return RingTake.Broken;
            }

            if (_next == _seen)
            {
                return RingTake.Empty;
            }
        }

        if (!TryRead16(_available + 4 + (2 * (uint)(_next % Size)), out ushort head))
        {
            return Break("the available ring cannot be read");
        }

        _next++;
        chain.Id = head;
        chain.Slots = 1;
        return Collect(head, chain);
    }

    /// <inheritdoc/>
    public override RingPlace Place => new(_next, false);

    /// <inheritdoc/>
    public override void GoBack(RingPlace place) => _next = (ushort)place.Index;

    /// <inheritdoc/>
    public override bool Use(uint id, int slots, uint written)
    {
        Span<byte> element = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(element, id);
        BinaryPrimitives.WriteUInt32LittleEndian(element[4..], written);
        ulong place = _used + 4 + (8 * (uint)((ushort)(_usedIndex + _unpublished) % Size));
        if (!TryWrite(place, element))
        {
            return Fail("the used ring cannot be written");
        }

        _unpublished++;
        return true;
    }

    /// <inheritdoc/>
    public override bool Publish()
    {
        _usedIndex += _unpublished;
        _unpublished = 0;
        return TryWrite16(_used + 2, _usedIndex) || Fail("the used ring cannot be written");
    }

    /// <inheritdoc/>
    public override bool RequestNotification(out bool hasMore)
    {
        hasMore = false;
        if (!HasEventIndex)
        {
            return true;
        }

        if (!TryWrite16(_used + 4 + (8 * (uint)Size), _next))
        {
            return Fail("the used ring cannot be written");
        }

        Interlocked.MemoryBarrier();
        bool isThere = TryLook();
        hasMore = _next != _seen;
        return isThere;
    }

    /// <inheritdoc/>
    public override bool TakeInterrupt(out bool isWanted)
    {
        isWanted = false;
        if (_signalled == _usedIndex)
        {
            return true;
        }

        Interlocked.MemoryBarrier();
        ulong place = HasEventIndex ? _available + 4 + (2 * (uint)Size) : _available;
        if (!TryRead16(place, out ushort value))
        {
            return Fail("the available ring cannot be read");
        }

        isWanted = HasEventIndex ? Passes(value, _usedIndex, _signalled) : (value & NoInterrupt) == 0;
        _signalled = _usedIndex;
        return true;
    }

    private bool TryLook()
    {
        if (!TryRead16(_available + 2, out ushort index))
        {
            return Fail("the available ring cannot be read");
        }

        if ((ushort)(index - _next) > Size)
        {
            return Fail($"the available index went from {_next} to {index} in a ring of {Size}");
        }

        _seen = index;
        return true;
    }

    private RingTake Collect(uint at, VirtioChain chain)
    {
        ulong table = _table;
        uint entries = (uint)Size;
        bool isIndirect = false;
        while (true)
        {
            if (at >= entries)
            {
                return Break($"descriptor {at} of a table of {entries}");
            }

            if (!TryReadDescriptor(table + (at * DescriptorSize), out RingDescriptor descriptor))
            {
                return Break("a descriptor cannot be read");
            }

            ushort flags = descriptor.Word12;
            if ((flags & Indirect) != 0)
            {
                if ((isIndirect ? "an indirect descriptor in a table of descriptors" : CheckIndirect(descriptor, flags, out entries)) is { } mistake)
                {
                    return Break(mistake);
                }

                isIndirect = true;
                table = descriptor.Address;
                at = 0;
                continue;
            }

            if (chain.Pieces == Size)
            {
                return Break($"a chain that is longer than its queue of {Size}, or a loop");
            }

            if (chain.Add(descriptor.Address, descriptor.Length, (flags & Writable) != 0) is { } wrong)
            {
                return Break(wrong);
            }

            if ((flags & Next) == 0)
            {
                return RingTake.Taken;
            }

            at = descriptor.Word14;
        }
    }
}
