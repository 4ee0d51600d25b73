namespace Ioasis.Replay.Study;

/// <summary>
/// The IOTLBs of all sizes under one rule for leaves. As long as every mapping has the same leaves under two rules, one of them follows
/// the other and costs nothing.
/// </summary>
internal sealed class StudiedVariant
{
    private readonly DistanceHistogram[] _byClass = [.. Enumerable.Range(0, TranslationKey.Classes).Select(static _ => new DistanceHistogram())];
    private readonly LeafLayout _layout;
    private StackDistances _stack;
    private StudiedVariant? _followed;

    /// <summary>Makes caches that are empty.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="followed">Caches of another rule that are empty too, or null.</param>
    public StudiedVariant(LeafRule rule, StudiedVariant? followed = null)
    {
        Rule = rule;
        _layout = new(rule);
        _stack = followed?._stack ?? new(StudyOptions.LargestSize);
        _followed = followed;
    }

    /// <summary>The rule.</summary>
    public LeafRule Rule { get; }

    /// <summary>How mappings are cut.</summary>
    public LeafLayout Layout => _layout;

    /// <summary>The stack.</summary>
    public StackDistances Stack => _stack;

    /// <summary>Whether it is the same as another one until now.</summary>
    public bool Follows => _followed is not null;

    /// <summary>A mapping comes: whoever has followed up to here may have to part.</summary>
    public void Meet(in StudiedArea area)
    {
        if (_followed is not { } followed || _layout.CutsAs(followed._layout, area))
        {
            return;
        }

        _stack = followed._stack.Clone();
        for (int i = 0; i < _byClass.Length; i++)
        {
            _byClass[i].Add(followed._byClass[i]);
        }

        _followed = null;
    }

    /// <summary>Accesses one leaf a number of times in a row.</summary>
    /// <returns>The distance of the first.</returns>
    public int Access(int device, in StudiedArea area, in Leaf leaf, long times)
    {
        int distance = _stack.Access(TranslationKey.Of(device, area.Start + leaf.Offset, leaf.SizeClass));
        DistanceHistogram histogram = _byClass[leaf.SizeClass];
        histogram.Add(distance);
        if (times > 1)
        {
            histogram.Add(1, times - 1);
        }

        return distance;
    }

    /// <summary>Accesses the first bytes of a mapping page by page.</summary>
    public void Touch(int device, in StudiedArea area, ulong offset, ulong bytes)
    {
        ulong end = offset + bytes;
        while (offset < end)
        {
            Leaf leaf = _layout.At(area, offset);
            ulong next = Math.Min(leaf.End, end);
            Access(device, area, leaf, (long)((next - offset + 4095) >> 12));
            offset = next;
        }
    }

    /// <summary>Invalidates all of a mapping.</summary>
    /// <param name="device">Its device.</param>
    /// <param name="area">The mapping.</param>
    public void Remove(int device, in StudiedArea area)
    {
        if (area.Length >> 12 > (ulong)_stack.Count)
        {
            _stack.RemoveWhere(new TranslationKey.InRange(device, area.Start, area.Start + (area.Length - 1)));
            return;
        }

        for (ulong offset = 0; offset < area.Length;)
        {
            Leaf leaf = _layout.At(area, offset);
            _stack.Remove(TranslationKey.Of(device, area.Start + leaf.Offset, leaf.SizeClass));
            offset = leaf.End;
        }
    }

    /// <summary>Misses in a cache of a size, by the class of the leaf that is then walked to.</summary>
    public long[] MissesAt(int size) => [.. Source._byClass.Select(histogram => histogram.MissesAt(size))];

    /// <summary>The hits of every size.</summary>
    public HitCurve ToCurve()
    {
        DistanceHistogram sum = new();
        foreach (DistanceHistogram histogram in Source._byClass)
        {
            sum.Add(histogram);
        }

        return sum.ToCurve();
    }

    private StudiedVariant Source => _followed ?? this;
}
