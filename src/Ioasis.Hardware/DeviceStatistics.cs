using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.Hardware;

/// <summary>What one device did to the caches.</summary>
/// <param name="Device">The device.</param>
/// <param name="Hits">Requests that the IOTLB answered, and those that need no translation.</param>
/// <param name="Misses">Requests that walked page tables.</param>
/// <param name="Evictions">Live entries of the IOTLB that had to go for entries of this device.</param>
/// <param name="WalkReads">Memory reads of its requests that missed: directories and page tables.</param>
internal readonly record struct DeviceStatistics(DeviceId Device, long Hits, long Misses, long Evictions, long WalkReads);

/// <summary>
/// A device's counts, in stripes of one cache line: a thread adds to its own, so that threads do not slow each other down.
/// </summary>
internal sealed class DeviceCounters(ulong deviceId)
{
    private const int StripeCount = 16;
    private const int StripeLength = 8;
    private const int Hits = 0;
    private const int Misses = 1;
    private const int Evictions = 2;
    private const int WalkReads = 3;

    // One stripe before and after, so that no neighbour shares a line.
    private readonly long[] _counts = new long[(StripeCount + 2) * StripeLength];

    public ulong DeviceId { get; } = deviceId;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void CountHit() => Add(Hits, 1);

    public void CountMiss(int reads)
    {
        Add(Misses, 1);
        Add(WalkReads, reads);
    }

    public void CountEviction() => Add(Evictions, 1);

    public DeviceStatistics Snapshot() =>
        new(new(DeviceId), Sum(Hits), Sum(Misses), Sum(Evictions), Sum(WalkReads));

    // The last stripe is for all threads that have none of their own.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Add(int counter, long amount)
    {
        int stripe = ReaderSlot.Current.Index;
        if (stripe < StripeCount - 1)
        {
            _counts[((stripe + 1) * StripeLength) + counter] += amount;
        }
        else
        {
            Interlocked.Add(ref _counts[(StripeCount * StripeLength) + counter], amount);
        }
    }

    private long Sum(int counter)
    {
        long sum = 0;
        for (int stripe = 1; stripe <= StripeCount; stripe++)
        {
            sum += Volatile.Read(ref _counts[(stripe * StripeLength) + counter]);
        }

        return sum;
    }
}
