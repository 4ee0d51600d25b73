namespace Ioasis.Replay.Study;

/// <summary>
/// Lazy invalidation, as kernels do it for drivers: what is unmapped stays cached until a flush takes all of the device's entries at once,
/// and its IOVAs are not given out before. A recording made with strict invalidation gives them out at once; the study then takes the new
/// mapping for one at another address.
/// </summary>
internal sealed class LazyStudy(StudyOptions options)
{
    private readonly StudiedVariant _caches = new(LeafRule.AsMapped);
    private readonly List<Pending> _devices = [];
    private long _nextDue = long.MaxValue;
    private double _waitedNs;
    private long _released;

    /// <summary>Flushes: each is one command for everything that a device has, and one wait.</summary>
    public long Flushes { get; private set; }

    /// <summary>The longest time that an unmapped page stayed reachable, in nanoseconds.</summary>
    public long LongestNs { get; private set; }

    /// <summary>Most pages of 4 KiB that were unmapped and not flushed at one time, all devices together.</summary>
    public long MostStalePages { get; private set; }

    /// <summary>How long an unmap waited for its flush on average, in nanoseconds.</summary>
    public double MeanNs => _released == 0 ? 0 : _waitedNs / _released;

    /// <summary>The IOTLBs of all sizes.</summary>
    public StudiedVariant Caches => _caches;

    private long StalePages { get; set; }

    /// <summary>The recording's clock moves.</summary>
    public void MoveTo(long timeNs)
    {
        if (timeNs < _nextDue)
        {
            return;
        }

        _nextDue = long.MaxValue;
        for (int device = 0; device < _devices.Count; device++)
        {
            Pending pending = _devices[device];
            if (pending.Count > 0 && pending.OldestNs + options.LazyLimitNs <= timeNs)
            {
                Flush(device, pending, timeNs);
            }

            _nextDue = pending.Count > 0 ? Math.Min(_nextDue, pending.OldestNs + options.LazyLimitNs) : _nextDue;
        }
    }

    /// <summary>A mapping ends.</summary>
    public void Unmap(int device, in StudiedArea area)
    {
        ulong pages = area.Length >> 12;
        if (pages > (ulong)_caches.Stack.Count)
        {
            _caches.Stack.DetachWhere(new TranslationKey.InRange(device, area.Start, area.Start + (area.Length - 1)));
        }
        else
        {
            for (ulong offset = 0; offset < area.Length;)
            {
                Leaf leaf = _caches.Layout.At(area, offset);
                _caches.Stack.Detach(TranslationKey.Of(device, area.Start + leaf.Offset, leaf.SizeClass));
                offset = leaf.End;
            }
        }

        Of(device).Pages += (long)pages;
        StalePages += (long)pages;
        MostStalePages = Math.Max(MostStalePages, StalePages);
    }

    /// <summary>A call that unmapped is over.</summary>
    public void EndUnmap(int device, long timeNs)
    {
        Pending pending = Of(device);
        if (pending.Count++ == 0)
        {
            pending.OldestNs = timeNs;
            _nextDue = Math.Min(_nextDue, timeNs + options.LazyLimitNs);
        }

        pending.SumNs += timeNs - pending.OldestNs;
        if (pending.Count >= options.LazyCapacity)
        {
            Flush(device, pending, timeNs);
        }
    }

    private void Flush(int device, Pending pending, long timeNs)
    {
        // The timer runs out at the limit, whenever the recording's next event is.
        long at = Math.Max(pending.OldestNs, Math.Min(timeNs, pending.OldestNs + options.LazyLimitNs));
        Flushes++;
        LongestNs = Math.Max(LongestNs, at - pending.OldestNs);
        _waitedNs += ((double)(at - pending.OldestNs) * pending.Count) - pending.SumNs;
        _released += pending.Count;
        StalePages -= pending.Pages;
        _caches.Stack.RemoveWhere(new TranslationKey.OfDevice(device));
        (pending.Count, pending.SumNs, pending.Pages) = (0, 0, 0);
    }

    private Pending Of(int device)
    {
        while (_devices.Count <= device)
        {
            _devices.Add(new());
        }

        return _devices[device];
    }

    private sealed class Pending
    {
        public int Count { get; set; }

        public long OldestNs { get; set; }

        /// <summary>Times of the unmaps since <see cref="OldestNs"/>, summed up.</summary>
        public double SumNs { get; set; }

        public long Pages { get; set; }
    }
}
