using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Examples;
using Ioasis.Primitives;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Ioasis.Client.Tests;

/// <summary>The meter and the activities are the process's, so these tests run while no other does.</summary>
[CollectionDefinition(nameof(TelemetryTests), DisableParallelization = true)]
public sealed class TelemetryCollection;

/// <summary>What OpenTelemetry gets of a machine that works (docs/telemetry.md).</summary>
[Collection(nameof(TelemetryTests))]
public sealed partial class TelemetryTests
{
    private const long Page = 4096;
    private readonly List<MetricSnapshot> _metrics = [];

    [Fact]
    public void Each_instrument_counts_what_the_machine_did()
    {
        using (MeterProvider provider = Listen())
        {
            using EmbeddedPlatform platform = new(new() { CollectStatistics = true });
            TelemetryProgram.Run(platform, platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0)));
            _ = provider.ForceFlush();
        }

        Sum("ioasis.maps").ShouldBe(1);
        Sum("ioasis.map.size").ShouldBe(16 * Page);
        Sum("ioasis.unmaps").ShouldBe(1);
        Sum("ioasis.unmap.size").ShouldBe(16 * Page);
        Sum("ioasis.dma.io", "ioasis.dma.direction", "read").ShouldBe(16 * Page);
        Sum("ioasis.dma.io", "ioasis.dma.direction", "write").ShouldBe(16 * Page);
        Sum("ioasis.faults", "ioasis.fault.reason", nameof(IommuFaultReason.NotMapped)).ShouldBe(1);
        Sum("ioasis.faults").ShouldBe(1);

        // Where the buffer happens to be aligned to its 64 KiB, one leaf maps all of it: one miss, and one of the use after unmap.
        Sum("ioasis.iotlb.lookups").ShouldBeGreaterThanOrEqualTo(33);
        Sum("ioasis.iotlb.lookups", "ioasis.iotlb.result", "miss").ShouldBeGreaterThanOrEqualTo(2);
        Sum("ioasis.iotlb.lookups", "ioasis.iotlb.result", "hit").ShouldBeGreaterThanOrEqualTo(15);
        Sum("ioasis.invalidations").ShouldBePositive();
        Sum("ioasis.command_queue.length").ShouldBe(0);
        Sum("ioasis.command_queue.recoveries").ShouldBe(0);
        Sum("ioasis.page_requests").ShouldBe(0);
        Sum("ioasis.pinned").ShouldBe(0);
        Sum("ioasis.tables").ShouldBePositive();
    }

    [Fact]
    public void Pinned_memory_is_what_clients_have_mapped_now()
    {
        using Machine machine = new();
        using MeterProvider provider = Listen();
        using (DmaBuffer buffer = machine.Space.AllocateBuffer(3 * (nuint)Page))
        {
            _ = provider.ForceFlush();
            Sum("ioasis.pinned").ShouldBe(3 * Page);
        }

        _metrics.Clear();
        _ = provider.ForceFlush();
        Sum("ioasis.pinned").ShouldBe(0);
    }

    [Fact]
    public void A_platform_that_ended_is_not_told_of()
    {
        using MeterProvider provider = Listen();
        using (EmbeddedPlatform platform = new(new()))
        {
            platform.TableBytes.ShouldBePositive();
        }

        _ = provider.ForceFlush();
        _metrics.ShouldNotContain(static metric => metric.Name == "ioasis.tables");
    }

    [Fact]
    public void A_call_is_an_activity_with_its_name_and_its_error()
    {
        List<Activity> calls = [];
        using (TracerProvider provider = Sdk.CreateTracerProviderBuilder().AddSource(IoasisTelemetry.Name).AddInMemoryExporter(calls).Build())
        {
            using Machine machine = new();
            using DmaBuffer buffer = machine.Space.AllocateBuffer((nuint)Page);
            _ = Should.Throw<IommuException>(() => machine.Space.AllocateBuffer((nuint)Page, iova: buffer.Iova));
        }

        Activity[] maps = [.. calls.Where(static call => call.OperationName == "IOMMU_IOAS_MAP")];
        maps.Length.ShouldBe(2);
        maps[0].Status.ShouldBe(ActivityStatusCode.Unset);
        maps[1].Status.ShouldBe(ActivityStatusCode.Error);
        maps[1].GetTagItem("error.type").ShouldBe(nameof(Errno.Exists));
        string[] names = [.. calls.Select(static call => call.OperationName)];
        names.ShouldContain("VFIO_DEVICE_BIND_IOMMUFD");
        names.ShouldContain("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
        names.ShouldContain("IOMMU_IOAS_UNMAP");
        names.ShouldNotContain(static name => name.StartsWith("ioctl ", StringComparison.Ordinal));
    }

    [Fact]
    public void The_dashboard_asks_for_each_instrument_by_the_name_that_Prometheus_gives_it()
    {
        using (MeterProvider provider = Listen())
        {
            using EmbeddedPlatform platform = new(new() { CollectStatistics = true });
            TelemetryProgram.Run(platform, platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0)));
            _ = provider.ForceFlush();
        }

        using JsonDocument dashboard = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "dashboard.json")));
        string[] asked =
        [
            .. dashboard.RootElement.GetProperty("panels").EnumerateArray()
                .SelectMany(static panel => panel.GetProperty("targets").EnumerateArray())
                .SelectMany(static target => MetricName().Matches(target.GetProperty("expr").GetString()!).Select(static match => match.Value))
                .Distinct().Order(StringComparer.Ordinal),
        ];
        string[] told = [.. _metrics.Select(PrometheusName).Distinct().Order(StringComparer.Ordinal)];
        asked.ShouldBe(told);
    }

    private MeterProvider Listen() =>
        Sdk.CreateMeterProviderBuilder().AddMeter(IoasisTelemetry.Name).AddInMemoryExporter(_metrics).Build();

    private long Sum(string name, string? tag = null, string? value = null)
    {
        MetricSnapshot metric = _metrics.Last(metric => metric.Name == name);
        long sum = 0;
        foreach (MetricPoint point in metric.MetricPoints)
        {
            bool counts = tag is null;
            foreach (KeyValuePair<string, object?> attribute in point.Tags)
            {
                counts |= attribute.Key == tag && Equals(attribute.Value, value);
            }

            sum += counts ? point.GetSumLong() : 0;
        }

        return sum;
    }

    // https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics: units in braces are left out.
    private static string PrometheusName(MetricSnapshot metric) =>
        metric.Name.Replace('.', '_') + (metric.Unit == "By" ? "_bytes" : "") + (metric.MetricType == MetricType.LongSum ? "_total" : "");

    [GeneratedRegex("ioasis_[a-z_]+(?=[\\[{]|$)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MetricName();
}
