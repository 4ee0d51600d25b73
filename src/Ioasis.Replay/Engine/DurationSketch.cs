using System.Runtime.InteropServices;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>
/// Quantiles of durations in bounded memory: exact for a million values, beyond that within 0.2 % (the numbers are kept in classes, 256
/// for each power of two). The largest is always exact.
/// </summary>
internal sealed class DurationSketch
{
    private const int ExactValues = 1 << 20;

    // A double's sign, exponent and upper 8 bits of its fraction: the class of a positive number, in order.
    private const int ClassShift = 52 - 8;

    private List<double>? _exact = [];
    private long[] _classes = [];
    private double _largest = double.NegativeInfinity;

    /// <summary>How many values there are.</summary>
    public long Count { get; private set; }

    /// <summary>Adds a value so many times.</summary>
    public void Add(double seconds, long times = 1)
    {
        Count += times;
        _largest = Math.Max(_largest, seconds);
        if (_exact is not null && _exact.Count + times <= ExactValues)
        {
            for (long i = 0; i < times; i++)
            {
                _exact.Add(seconds);
            }

            return;
        }

        if (_exact is not null)
        {
            _classes = new long[1 << (63 - ClassShift)];
            foreach (double value in _exact)
            {
                _classes[ClassOf(value)]++;
            }

            _exact = null;
        }

        _classes[ClassOf(seconds)] += times;
    }

    /// <summary>The report, or null without a value.</summary>
    public DurationReport? ToReport()
    {
        if (Count == 0)
        {
            return null;
        }

        // In this order: what lies below a rank that was found need not be looked at again.
        int sorted = 0;
        return new(Count, At(0.5, ref sorted), At(0.9, ref sorted), At(0.99, ref sorted), _largest);
    }

    private double At(double quantile, ref int from)
    {
        long rank = Math.Min(Count - 1, (long)(quantile * Count));
        if (_exact is not null)
        {
            Span<double> values = CollectionsMarshal.AsSpan(_exact);
            PlaceRank(values[from..], (int)rank - from);
            from = (int)rank;
            return values[from];
        }

        int at = 0;
        for (long before = _classes[0]; before <= rank; before += _classes[at])
        {
            at++;
        }

        // The middle of the class.
        return Math.Min(_largest, BitConverter.Int64BitsToDouble(((long)at << ClassShift) | (1L << (ClassShift - 1))));
    }

    /// <summary>
    /// Puts the value of a rank in its place, smaller ones before and larger ones behind it (Hoare's selection). Most of a million
    /// values need no order among themselves.
    /// </summary>
    private static void PlaceRank(Span<double> values, int rank)
    {
        int low = 0;
        int high = values.Length - 1;
        while (low < high)
        {
            double pivot = values[rank];
            int i = low;
            int j = high;
            while (i <= j)
            {
                while (values[i] < pivot)
                {
                    i++;
                }

                while (pivot < values[j])
                {
                    j--;
                }

                if (i <= j)
                {
                    (values[i], values[j]) = (values[j], values[i]);
                    i++;
                    j--;
                }
            }

            low = j < rank ? i : low;
            high = rank < i ? j : high;
        }
    }

    // Where a clock went backwards, a duration is negative: as good as none.
    private static int ClassOf(double value) => value > 0 ? (int)(BitConverter.DoubleToInt64Bits(value) >> ClassShift) : 0;
}
