using System.Buffers.Binary;

namespace Ioasis.Devices.Virtio;

/// <summary>A packed virtqueue (virtio 1.3, section 2.8): one ring that both sides write, with wrap counters.</summary>
internal sealed class PackedRing(VirtioDevice device, VirtioQueue queue, VirtioFeatures features)
    : VirtioRing(device, queue.Size, features)
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;
    private const string CannotWrite = "the descriptor ring cannot be written";
    private const ushort EventsOff = 1;
    private const ushort EventsAtDescriptor = 2;

    private readonly ulong _ring = queue.Descriptors;
    private readonly ulong _driverEvents = queue.Driver;
    private readonly ulong _deviceEvents = queue.Device;
    private int _next;
    private bool _nextWrap = true;
    private int _usedNext;
    private bool _usedWrap = true;
    private int _unsignalled;
    private ulong _first;
    private ushort _firstFlags;
    private bool _isFirstHeld;

    /// <inheritdoc/>
    public override RingTake Take(VirtioChain chain)
    {
        chain.Clear();
        if (!TryLook(out bool isThere))
        {
            return RingTake.Broken;
        }

        if (!isThere)
        {
            return RingTake.Empty;
        }

        while (true)
        {
            if (chain.Slots == Size)
            {
                return Break($"a chain that is longer than its queue of {Size}");
            }

            if (!TryReadDescriptor(PlaceOf(_next), out RingDescriptor descriptor))
            {
                return Break("a descriptor cannot be read");
            }

            Advance(ref _next, ref _nextWrap, 1);
            chain.Slots++;
            chain.Id = descriptor.Word12;
            ushort flags = descriptor.Word14;
            string? mistake = (flags & Indirect) != 0
                ? CollectIndirect(descriptor, flags, chain)
                : chain.Add(descriptor.Address, descriptor.Length, (flags & Writable) != 0);
            if (mistake is not null)
            {
                return Break(mistake);
            }

            if ((flags & Next) == 0)
            {
                return RingTake.Taken;
            }
        }
    }

    /// <inheritdoc/>
    public override RingPlace Place => new(_next, _nextWrap);

    /// <inheritdoc/>
    public override void GoBack(RingPlace place) => (_next, _nextWrap) = (place.Index, place.Lap);

    /// <inheritdoc/>
    public override bool Use(uint id, int slots, uint written)
    {
        // The flags last: with them the descriptor is the driver's. Those of the first of several come when all others are there.
        Span<byte> words = stackalloc byte[6];
        BinaryPrimitives.WriteUInt32LittleEndian(words, written);
        BinaryPrimitives.WriteUInt16LittleEndian(words[4..], (ushort)id);
        ulong place = PlaceOf(_usedNext);
        ushort flags = (ushort)((_usedWrap ? Available | Used : 0) | (written > 0 ? Writable : 0));
        if (!TryWrite(place + 8, words) || (_isFirstHeld && !TryWrite16(place + 14, flags)))
        {
            return Fail(CannotWrite);
        }

        if (!_isFirstHeld)
        {
            (_first, _firstFlags, _isFirstHeld) = (place + 14, flags, true);
        }

        Advance(ref _usedNext, ref _usedWrap, slots);
        _unsignalled += slots;
        return true;
    }

    /// <inheritdoc/>
    public override bool Publish()
    {
        bool isHeld = _isFirstHeld;
        _isFirstHeld = false;
        return !isHeld || TryWrite16(_first, _firstFlags) || Fail(CannotWrite);
    }

    /// <inheritdoc/>
    public override bool RequestNotification(out bool hasMore)
    {
        hasMore = false;
        if (!HasEventIndex)
        {
            return true;
        }

        Span<byte> words = stackalloc byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(words, (ushort)(_next | (_nextWrap ? 0x8000 : 0)));
        BinaryPrimitives.WriteUInt16LittleEndian(words[2..], EventsAtDescriptor);
        if (!TryWrite(_deviceEvents, words))
        {
            return Fail("the device area cannot be written");
        }

        Interlocked.MemoryBarrier();
        return TryLook(out hasMore);
    }

    /// <inheritdoc/>
    public override bool TakeInterrupt(out bool isWanted)
    {
        isWanted = false;
        if (_unsignalled == 0)
        {
            return true;
        }

        Interlocked.MemoryBarrier();
        if (!TryRead32(_driverEvents, out uint events))
        {
            return Fail("the driver area cannot be read");
        }

        ushort flags = (ushort)((events >> 16) & 3);
        if (flags == EventsAtDescriptor && HasEventIndex)
        {
            // An offset of the other lap is one of a lap ago.
            int place = (int)(events & 0x7fff);
            bool isThisLap = ((events & 0x8000) != 0) == _usedWrap;
            ushort eventIndex = (ushort)(isThisLap ? place : place - Size);
            isWanted = Passes(eventIndex, (ushort)_usedNext, (ushort)(_usedNext - _unsignalled));
        }
        else
        {
            isWanted = flags != EventsOff;
        }

        _unsignalled = 0;
        return true;
    }

    private ulong PlaceOf(int index) => _ring + ((ulong)index * DescriptorSize);

    private void Advance(ref int index, ref bool wrap, int count)
    {
        index += count;
        if (index >= Size)
        {
            index -= Size;
            wrap = !wrap;
        }
    }

    // By its flags alone: what else a descriptor says is there once they say so.
    private bool TryLook(out bool isThere)
    {
        bool isRead = TryRead16(PlaceOf(_next) + 14, out ushort flags);
        isThere = isRead && ((flags & Available) != 0) == _nextWrap && ((flags & Used) != 0) != _nextWrap;
        return isRead || Fail("a descriptor cannot be read");
    }

    // The entries of a table follow each other; only "writable" counts of their flags (section 2.8.7).
    private string? CollectIndirect(in RingDescriptor descriptor, ushort flags, VirtioChain chain)
    {
        if (CheckIndirect(descriptor, flags, out uint entries) is { } mistake)
        {
            return mistake;
        }

        if (chain.Pieces + entries > Size)
        {
            return $"a chain that is longer than its queue of {Size}";
        }

        for (uint i = 0; i < entries; i++)
        {
            if (!TryReadDescriptor(descriptor.Address + (i * DescriptorSize), out RingDescriptor entry))
            {
                return "a descriptor cannot be read";
            }

            if ((entry.Word14 & Indirect) != 0)
            {
                return "an indirect descriptor in a table of descriptors";
            }

            if (chain.Add(entry.Address, entry.Length, (entry.Word14 & Writable) != 0) is { } wrong)
            {
                return wrong;
            }
        }

        return null;
    }
}
