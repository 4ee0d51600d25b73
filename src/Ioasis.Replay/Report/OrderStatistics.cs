using Ioasis.Replay.Input;

namespace Ioasis.Replay.Report;

/// <summary>Finds the values of given ranks without sorting what may be too much for memory.</summary>
internal static class OrderStatistics
{
    private const int InMemory = 1 << 16;
    private const int DigitBits = 16;

    /// <summary>The values that would stand at some places if all were sorted.</summary>
    /// <param name="values">The values, none negative and none a NaN.</param>
    /// <param name="ranks">The places, from 0.</param>
    public static double[] Of(SpilledList<double> values, params ReadOnlySpan<int> ranks)
    {
        double[] result = new double[ranks.Length];
        if (values.Length <= InMemory)
        {
            double[] sorted = [.. values];
            Array.Sort(sorted);
            for (int i = 0; i < ranks.Length; i++)
            {
                result[i] = sorted[ranks[i]];
            }

            return result;
        }

        int[] counts = new int[1 << DigitBits];
        for (int i = 0; i < ranks.Length; i++)
        {
            result[i] = Select(values, ranks[i], counts);
        }

        return result;
    }

    // Numbers that are not negative are in the order of their bits: sixteen of them are found with each pass, the highest first.
    private static double Select(SpilledList<double> values, int rank, int[] counts)
    {
        ulong found = 0;
        ulong known = 0;
        for (int shift = 64 - DigitBits; shift >= 0; shift -= DigitBits)
        {
            Array.Clear(counts);
            SpilledList<double>.Reader reader = values.Read();
            for (int i = 0; i < values.Length; i++)
            {
                ulong bits = BitConverter.DoubleToUInt64Bits(reader[i]);
                if ((bits & known) == found)
                {
                    counts[(int)(bits >> shift) & ((1 << DigitBits) - 1)]++;
                }
            }

            int digit = 0;
            while (rank >= counts[digit])
            {
                rank -= counts[digit++];
            }

            found |= (ulong)digit << shift;
            known |= (ulong)((1 << DigitBits) - 1) << shift;
        }

        return BitConverter.UInt64BitsToDouble(found);
    }
}
