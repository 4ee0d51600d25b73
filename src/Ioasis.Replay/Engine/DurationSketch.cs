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

        _exact?.Sort();
        return new(Count, At(0.5), At(0.9), At(0.99), _largest);
    }

    private double At(double quantile)
    {
        long rank = Math.Min(Count - 1, (long)(quantile * Count));
        if (_exact is not null)
        {
            return _exact[(int)rank];
        }

        int at = 0;
        for (long before = _classes[0]; before <= rank; before += _classes[at])
        {
            at++;
        }

        // The middle of the class.
        return Math.Min(_largest, BitConverter.Int64BitsToDouble(((long)at << ClassShift) | (1L << (ClassShift - 1))));
    }

    // Where a clock went backwards, a duration is negative: as good as none.
    private static int ClassOf(double value) => value > 0 ? (int)(BitConverter.DoubleToInt64Bits(value) >> ClassShift) : 0;
}
