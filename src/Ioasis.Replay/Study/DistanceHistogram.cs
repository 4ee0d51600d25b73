namespace Ioasis.Replay.Study;

/// <summary>How many accesses had each stack distance.</summary>
internal sealed class DistanceHistogram
{
    private long[] _counts = new long[64];
    private int _largest;

    /// <summary>Accesses, those that no size makes hits too.</summary>
    public long Accesses { get; private set; }

    /// <summary>Adds accesses.</summary>
    /// <param name="distance">Their distance; 0 for none.</param>
    /// <param name="count">How many.</param>
    public void Add(int distance, long count = 1)
    {
        Accesses += count;
        if (distance == 0)
        {
            return;
        }

        if (distance > _largest)
        {
            _largest = distance;
            if (distance >= _counts.Length)
            {
                Array.Resize(ref _counts, Math.Max(_counts.Length * 2, distance + 1));
            }
        }

        _counts[distance] += count;
    }

    /// <summary>Adds all of another one.</summary>
    public void Add(DistanceHistogram other)
    {
        for (int distance = 1; distance <= other._largest; distance++)
        {
            if (other._counts[distance] > 0)
            {
                Add(distance, other._counts[distance]);
            }
        }

        Accesses += other.Accesses - other._counts.AsSpan(0, other._largest + 1).Sum();
    }

    /// <summary>Accesses that miss in a cache of a size.</summary>
    public long MissesAt(int size) => Accesses - _counts.AsSpan(0, Math.Min(size, _largest) + 1).Sum();

    /// <summary>The hits of every size.</summary>
    public HitCurve ToCurve()
    {
        List<int> sizes = [];
        List<long> hits = [];
        long sum = 0;
        for (int distance = 1; distance <= _largest; distance++)
        {
            if (_counts[distance] > 0)
            {
                sum += _counts[distance];
                sizes.Add(distance);
                hits.Add(sum);
            }
        }

        return new() { Accesses = Accesses, Sizes = sizes, Hits = hits };
    }
}

/// <summary>Sums without a loop at each place.</summary>
internal static class SpanSums
{
    /// <summary>The sum.</summary>
    public static long Sum(this Span<long> values)
    {
        long sum = 0;
        foreach (long value in values)
        {
            sum += value;
        }

        return sum;
    }
}
