namespace Ioasis.Replay.Planning;

internal sealed partial class SpaceResolver
{
    /// <summary>
    /// One IOVA space: what is live in it, what was freed, and who works with it.
    /// </summary>
    private sealed class Space(int device, bool isSynthetic)
    {
        // Linux keeps freed IOVAs of up to 32 pages in caches, and gives out again what was freed last.
        private const int RememberedFree = 4096;

        private readonly LiveAreas _live = new();
        private readonly List<Mapped> _ranges = [];
        private readonly Stack<int> _unused = new();
        private readonly Dictionary<ulong, (ulong Last, long Order)> _freed = [];
        private readonly Dictionary<int, int> _users = [];
        private ulong _lowest = ulong.MaxValue;
        private long _uses;

        public int Device { get; } = device;

        /// <summary>Whether the recording does not name its device.</summary>
        public bool IsSynthetic { get; } = isSynthetic;

        /// <summary>Whether maps without a device may be its: not of a device all of whose maps events name.</summary>
        public bool Absorbs { get; set; } = isSynthetic;

        /// <summary>For each device of the recording: maps of this space that lie over live ones of the device, or the other way round.</summary>
        public Dictionary<int, long> Conflicts { get; } = [];

        /// <summary>Unmaps of this space's maps that an event names a device for.</summary>
        public Dictionary<int, long> Links { get; } = [];

        public bool Overlaps(ulong start, ulong last, List<int> found) => Find(start, last, found);

        /// <summary>How likely a map is this space's, by the addresses that come next in it and by who maps.</summary>
        public double MapScore(ulong start, ulong last, int key)
        {
            double score = Affinity(key);
            if (_freed.TryGetValue(start, out (ulong Last, long Order) freed) && last <= freed.Last)
            {
                return score + 6;
            }

            if (_lowest == ulong.MaxValue || start > _lowest)
            {
                // Above what was given out so far, and not given back: not what this space would give out.
                return score - (_lowest == ulong.MaxValue ? 0 : 3);
            }

            ulong gap = _lowest - (last + 1);
            return score + (gap == 0 ? 5 : gap < 1 << 20 ? 3 : 0);
        }

        /// <summary>What an unmap scores at least that cuts no map.</summary>
        public const double Whole = 10;

        /// <summary>How likely an unmap is this space's; 0 if nothing is mapped there.</summary>
        public double UnmapScore(ulong start, ulong last, int key, long timeNs, long now, List<int> found)
        {
            if (!Find(start, last, found))
            {
                return 0;
            }

            foreach (int index in found)
            {
                if (_ranges[index].LastUseNs > timeNs)
                {
                    return 0.1;
                }
            }

            ulong covered = 0;
            bool whole = true;
            foreach (int index in found)
            {
                Mapped a = _ranges[index];
                covered += Math.Min(a.Last, last) - Math.Max(a.Start, start) + 1;
                whole &= a.Start >= start && a.Last <= last;
            }

            // Exactly what was mapped, in however many pieces. Of several such the one that its users know, and that lives longest.
            return whole && covered == last - start + 1
                ? 100 + Affinity(key) + Math.Min((now - _ranges[found[0]].Order) / 1e6, 0.5)
                : (whole ? Whole : 1) + Affinity(key) + (covered / (double)(last - start + 1));
        }

        public void Note(int key)
        {
            _users[key] = _users.GetValueOrDefault(key) + 1;
            _uses++;
        }

        /// <summary>Takes a map.</summary>
        public void Map(ulong start, ulong last, long order, long lastUseNs, List<int> found)
        {
            if (Find(start, last, found))
            {
                End(start, last, order, found);
            }

            _lowest = Math.Min(_lowest, start);
            _freed.Remove(start);
            Add(new(start, last, order, lastUseNs));
        }

        public void Unmap(ulong start, ulong last, long order, List<int> found)
        {
            if (Find(start, last, found))
            {
                End(start, last, order, found);
            }

            if (_freed.Count >= RememberedFree)
            {
                _freed.Clear();
            }

            _freed[start] = (last, order);
        }

        private double Affinity(int key) => _uses == 0 ? 0 : 3.0 * _users.GetValueOrDefault(key) / _uses;

        private bool Find(ulong start, ulong last, List<int> found)
        {
            _live.FindOverlaps(start, last, found);
            return found.Count > 0;
        }

        private void End(ulong start, ulong last, long order, List<int> found)
        {
            Mapped low = _ranges[found[0]];
            Mapped high = _ranges[found[^1]];
            foreach (int index in found)
            {
                _live.Remove(_ranges[index].Start);
                _unused.Push(index);
            }

            if (low.Start < start)
            {
                Add(low with { Last = start - 1 });
            }

            if (high.Last > last)
            {
                Add(high with { Start = last + 1 });
            }
        }

        private void Add(in Mapped mapped)
        {
            if (_unused.TryPop(out int index))
            {
                _ranges[index] = mapped;
            }
            else
            {
                index = _ranges.Count;
                _ranges.Add(mapped);
            }

            _live.Add(mapped.Start, mapped.Last - mapped.Start + 1, index);
        }

        private readonly record struct Mapped(ulong Start, ulong Last, long Order, long LastUseNs);
    }
}
