using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using Ioasis.Core;
using Ioasis.Platform;

namespace Ioasis.Embedded;

/// <summary>
/// The instruments of <see cref="IoasisTelemetry.Meter"/> that tell of platforms (docs/telemetry.md). Most look at what a platform counts
/// anyway, when somebody asks; a platform that was let go without being disposed is not kept by them.
/// </summary>
internal static class PlatformInstruments
{
    private const string IommuTag = "ioasis.iommu";

    private const string PlatformTag = "ioasis.platform";

    // With the number that tells a platform from others of the process.
    private static readonly ConditionalWeakTable<EmbeddedPlatform, object> s_platforms = [];
    private static int s_last;

    private static readonly Counter<long> s_faults = IoasisTelemetry.Meter.CreateCounter<long>(
        "ioasis.faults", "{fault}", "DMA that an IOMMU refused and recorded.");

    private static readonly Counter<long> s_dma = IoasisTelemetry.Meter.CreateCounter<long>(
        "ioasis.dma.io", "By", "Bytes that devices read and wrote.");

    static PlatformInstruments()
    {
        Meter meter = IoasisTelemetry.Meter;
        _ = meter.CreateObservableUpDownCounter(
            "ioasis.pinned", static () => PerPlatform(static platform => platform.Audit.PinnedBytes), "By", "Memory of clients that is pinned.");
        _ = meter.CreateObservableUpDownCounter(
            "ioasis.tables", static () => PerPlatform(static platform => platform.TableBytes), "By", "Tables and queues of IOMMUs.");
        _ = meter.CreateObservableCounter(
            "ioasis.iotlb.lookups", ObserveLookups, "{lookup}", "Requests, by whether the IOTLB had their translation.");
        _ = meter.CreateObservableCounter(
            "ioasis.invalidations", static () => PerIommu(static work => work.Invalidations), "{command}", "Commands that invalidate.");
        _ = meter.CreateObservableUpDownCounter(
            "ioasis.command_queue.length", static () => PerIommu(static work => work.Queued), "{command}", "Commands on their way.");
        _ = meter.CreateObservableCounter(
            "ioasis.command_queue.recoveries", static () => PerIommu(static work => work.Recoveries), "{recovery}", "Restarts of command queues.");
        _ = meter.CreateObservableCounter(
            "ioasis.page_requests", static () => PerIommu(static work => work.PageRequests), "{request}", "Page requests of devices.");
    }

    /// <summary>A platform is there.</summary>
    public static void Add(EmbeddedPlatform platform) => s_platforms.Add(platform, Interlocked.Increment(ref s_last));

    /// <summary>A platform ends: what it counted is not told any more.</summary>
    public static void Remove(EmbeddedPlatform platform) => s_platforms.Remove(platform);

    /// <summary>A device's access is over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CountDma(DmaStatus status, int length, bool isWrite)
    {
        if (s_dma.Enabled && status == DmaStatus.Success)
        {
            AddDma(length, isWrite);
        }
    }

    private static void AddDma(int length, bool isWrite) =>
        s_dma.Add(length, new KeyValuePair<string, object?>("ioasis.dma.direction", isWrite ? "write" : "read"));

    /// <summary>An IOMMU refused an access.</summary>
    public static void CountFault(in IommuFault fault)
    {
        if (s_faults.Enabled)
        {
            s_faults.Add(
                1,
                new KeyValuePair<string, object?>("ioasis.fault.reason", fault.Reason.ToString()),
                new KeyValuePair<string, object?>("ioasis.fault.cause", fault.Cause),
                new KeyValuePair<string, object?>(IommuTag, fault.Device?.Iommu.Name));
        }
    }

    private static IEnumerable<Measurement<long>> PerPlatform(Func<EmbeddedPlatform, long> value) =>
        s_platforms.Select(entry => new Measurement<long>(value(entry.Key), new KeyValuePair<string, object?>(PlatformTag, entry.Value)));

    private static IEnumerable<Measurement<long>> PerIommu(Func<DriverWork, long> value)
    {
        foreach ((EmbeddedPlatform platform, object number) in s_platforms)
        {
            foreach (EmbeddedIommu iommu in platform.Iommus)
            {
                yield return new(value(iommu.GetDriverWork()), new(PlatformTag, number), new KeyValuePair<string, object?>(IommuTag, iommu.Name));
            }
        }
    }

    private static IEnumerable<Measurement<long>> ObserveLookups()
    {
        foreach ((EmbeddedPlatform platform, object number) in s_platforms)
        {
            foreach (EmbeddedIommu iommu in platform.Options.CollectStatistics ? platform.Iommus : [])
            {
                IommuActivityTotals totals = iommu.GetTotals();
                yield return Lookups(totals.Hits, "hit");
                yield return Lookups(totals.Misses, "miss");

                Measurement<long> Lookups(long count, string result) =>
                    new(count, new(PlatformTag, number), new(IommuTag, iommu.Name), new KeyValuePair<string, object?>("ioasis.iotlb.result", result));
            }
        }
    }
}
