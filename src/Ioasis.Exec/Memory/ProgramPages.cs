using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Physical addresses of the program's pinned pages: a part of the machine's physical memory in which each gibibyte stands for a gibibyte of
/// one process, for as long as anything in it is pinned. Addresses keep their place within the gibibyte, so that large pages stay
/// large. Reads of the table take no lock.
/// </summary>
/// <remarks>
/// Where a process unmaps or replaces pinned pages, these stay retired until they are unpinned: what a device still does there reaches nothing, and is
/// noted. The gibibyte gets another place for whatever is pinned in it later.
/// </remarks>
internal sealed class ProgramPages(ulong start, int granules)
{
    /// <summary>Bytes of a granule.</summary>
    public const ulong GranuleSize = 1ul << GranuleShift;

    private const int GranuleShift = 30;

    private readonly Lock _lock = new();
    private readonly Granule?[] _granules = new Granule?[granules];
    private readonly Dictionary<(ProgramMemory Memory, ulong Number), int> _places = [];
    private readonly SortedSet<int> _free = [];
    private readonly EpochReclaimer _accesses = new();
    private readonly List<StaleDma> _stale = [];
    private PinCounts? _spare;
    private int _used;
    private int _live;
    private long _staleCount;

    /// <summary>Tells whether a file is a device, of which a program may have mapped pages that cannot be pinned.</summary>
    public Func<FileIdentity, bool>? DeviceFiles { get; set; }

    /// <summary>Whether a file is a device.</summary>
    public bool IsDevice(ulong device, ulong inode) => DeviceFiles?.Invoke(new(device, inode)) == true;

    /// <summary>First physical address.</summary>
    public ulong Start => start;

    /// <summary>Bytes.</summary>
    public ulong Size => (ulong)_granules.Length << GranuleShift;

    /// <summary>Granules in use: 0 when nothing is pinned.</summary>
    public int Used
    {
        get
        {
            lock (_lock)
            {
                return _live;
            }
        }
    }

    /// <summary>Whether nothing is pinned. May be out of date at once.</summary>
    public bool IsEmpty => Volatile.Read(ref _live) == 0;

    /// <summary>Accesses of devices to pinned memory that was not there any more.</summary>
    public long StaleCount => Interlocked.Read(ref _staleCount);

    /// <summary>The first of these.</summary>
    public IReadOnlyList<StaleDma> FirstStale
    {
        get
        {
            lock (_lock)
            {
                return [.. _stale];
            }
        }
    }

    /// <summary>Gives a range, which is within a granule, a physical address.</summary>
    /// <returns>Success, or <see cref="Errno.OutOfMemory"/>.</returns>
    public Errno Pin(ProgramMemory memory, ulong userAddress, ulong length, out PhysicalAddress address)
    {
        ulong number = userAddress >> GranuleShift;
        address = default;
        lock (_lock)
        {
            if (!_places.TryGetValue((memory, number), out int place))
            {
                // Behind the neighbour if that is free, so that long ranges are contiguous.
                if (_places.TryGetValue((memory, number - 1), out int before) && _free.Remove(before + 1))
                {
                    place = before + 1;
                }
                else if (_used < _granules.Length)
                {
                    place = _used++;
                }
                else if (_free.Count > 0)
                {
                    place = _free.Min;
                    _ = _free.Remove(place);
                }
                else
                {
                    return Errno.OutOfMemory;
                }

                memory.Reference();
                memory.Places.Add(place);
                _places.Add((memory, number), place);
                Granule made = new(memory, number << GranuleShift, Interlocked.Exchange(ref _spare, null) ?? new());
                Volatile.Write(ref _granules[place], made);
                Volatile.Write(ref _live, _live + 1);
            }

            Granule granule = _granules[place]!;
            granule.Pinned += length;
            granule.Pins.Add(userAddress - granule.UserStart, length);
            address = new(start + ((ulong)place << GranuleShift) + (userAddress & (GranuleSize - 1)));
            return Errno.Success;
        }
    }

    /// <summary>Takes back what <see cref="Pin"/> gave, whole or in parts; the range may go over several granules.</summary>
    public void Unpin(PhysicalAddress address, ulong length)
    {
        lock (_lock)
        {
            ulong offset = address.Value - start;
            while (length > 0)
            {
                int place = (int)(offset >> GranuleShift);
                ulong part = Math.Min(length, GranuleSize - (offset & (GranuleSize - 1)));
                Granule granule = _granules[place]!;
                granule.Pinned -= part;
                granule.Pins.Remove(offset & (GranuleSize - 1), part);
                if (granule.Pinned == 0)
                {
                    Volatile.Write(ref _granules[place], null);
                    Detach(granule, place);
                    _ = granule.Memory.Places.Remove(place);
                    _ = _free.Add(place);
                    Volatile.Write(ref _live, _live - 1);
                    _spare = granule.Pins.IsExact ? granule.Pins : null;
                    granule.Memory.Dispose();
                }

                offset += part;
                length -= part;
            }
        }
    }

    /// <summary>
    /// A process is about to unmap or replace a range of its memory. Once this returns no device reaches, by what was pinned before, what comes in its place.
    /// </summary>
    /// <param name="memory">The memory.</param>
    /// <param name="start">First byte; a page's.</param>
    /// <param name="length">Bytes, whole pages.</param>
    public void Retire(ProgramMemory memory, ulong start, ulong length)
    {
        bool any = false;
        ulong last = start + (length - 1);
        lock (_lock)
        {
            foreach (int place in memory.Places)
            {
                Granule granule = _granules[place]!;
                ulong from = Math.Max(start, granule.UserStart);
                ulong to = Math.Min(last, granule.UserStart + (GranuleSize - 1));
                if (from <= to && granule.Pins.IsAny(from - granule.UserStart, to - from + 1))
                {
                    granule.Retire(new(from - granule.UserStart, to - granule.UserStart));
                    Detach(granule, place);
                    any = true;
                }
            }
        }

        if (any)
        {
            // Who found the pages before has done with them.
            _accesses.Synchronize();
        }
    }

    /// <summary>Begins an access of a device: what <see cref="Find"/> gives holds until the scope's end.</summary>
    public EpochReclaimer.Scope Enter() => _accesses.Enter();

    /// <summary>Finds whose memory a physical address is.</summary>
    /// <param name="address">An address of this part.</param>
    /// <param name="userAddress">What the process calls it.</param>
    /// <param name="left">Bytes until the end of the granule, or until the process has taken away the page.</param>
    /// <returns>The memory; null if nothing is pinned there, or what was is not there any more.</returns>
    public ProgramMemory? Find(PhysicalAddress address, out ulong userAddress, out ulong left)
    {
        ulong offset = address.Value - start;
        ulong within = offset & (GranuleSize - 1);
        left = GranuleSize - within;
        Granule? granule = Volatile.Read(ref _granules[(int)(offset >> GranuleShift)]);
        userAddress = granule is null ? 0 : granule.UserStart + within;
        return granule is null || granule.IsRetired(within, ref left) ? null : granule.Memory;
    }

    /// <summary>An access reached nothing: notes it if the memory was pinned once.</summary>
    /// <param name="address">An address of this part.</param>
    /// <param name="writes">Whether it was a write.</param>
    public void NoteStale(PhysicalAddress address, bool writes)
    {
        const int Kept = 64;
        ulong offset = address.Value - start;
        if (Volatile.Read(ref _granules[(int)(offset >> GranuleShift)]) is { } granule && Interlocked.Increment(ref _staleCount) <= Kept)
        {
            lock (_lock)
            {
                _stale.Add(new(granule.Memory.Process, granule.UserStart + (offset & (GranuleSize - 1)), writes));
            }
        }
    }

    // What is pinned there from now on gets another place.
    private void Detach(Granule granule, int place)
    {
        (ProgramMemory Memory, ulong Number) key = (granule.Memory, granule.UserStart >> GranuleShift);
        if (_places.TryGetValue(key, out int current) && current == place)
        {
            _ = _places.Remove(key);
        }
    }

    private sealed class Granule(ProgramMemory memory, ulong userStart, PinCounts pins)
    {
        // Not changed once it is there, for reads take no lock.
        private IntervalSet? _retired;

        public ProgramMemory Memory => memory;

        public ulong UserStart => userStart;

        public PinCounts Pins => pins;

        public ulong Pinned { get; set; }

        public void Retire(AddressRange range)
        {
            IntervalSet retired = _retired?.Clone() ?? new();
            retired.Add(range);
            Volatile.Write(ref _retired, retired);
        }

        // left: until the next range that is.
        public bool IsRetired(ulong within, ref ulong left)
        {
            if (Volatile.Read(ref _retired) is not { } retired)
            {
                return false;
            }

            int low = 0;
            int high = retired.Count;
            while (low < high)
            {
                int middle = (low + high) >>> 1;
                if (retired[middle].Last < within)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            if (low == retired.Count)
            {
                return false;
            }

            if (retired[low].Start <= within)
            {
                return true;
            }

            left = Math.Min(left, retired[low].Start - within);
            return false;
        }
    }
}
