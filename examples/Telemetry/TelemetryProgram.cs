using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Ioasis.Examples;

/// <summary>
/// A machine whose IOMMU tells OpenTelemetry what it does. Prints it; with OTEL_EXPORTER_OTLP_ENDPOINT in the environment it goes to a
/// collector instead, for the dashboard beside this file.
/// </summary>
public static class TelemetryProgram
{
    private const int PageSize = 4096;

    /// <summary>Runs until the rounds are over.</summary>
    /// <param name="args">How many rounds, a second apart; 1 if nothing is said.</param>
    public static async Task<int> Main(string[] args)
    {
        ArgumentNullException.ThrowIfNull(args);
        int rounds = args.Length > 0 && int.TryParse(args[0], CultureInfo.InvariantCulture, out int asked) ? asked : 1;
        bool hasCollector = Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT") is { Length: > 0 };
        MeterProviderBuilder meters = Sdk.CreateMeterProviderBuilder().AddMeter(IoasisTelemetry.Name);
        using MeterProvider measurements = (hasCollector ? meters.AddOtlpExporter() : meters.AddConsoleExporter()).Build();
        TracerProviderBuilder traces = Sdk.CreateTracerProviderBuilder().AddSource(IoasisTelemetry.Name);
        using TracerProvider calls = (hasCollector ? traces.AddOtlpExporter() : traces.AddConsoleExporter()).Build();

        using EmbeddedPlatform platform = new(new() { CollectStatistics = true });
        EmbeddedEndpoint device = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
        for (int round = 0; round < rounds; round++)
        {
            Run(platform, device);
            _ = measurements.ForceFlush();
            if (round + 1 < rounds)
            {
                await Task.Delay(TimeSpan.FromSeconds(1)).ConfigureAwait(false);
            }
        }

        return 0;
    }

    /// <summary>One round of work: 16 pages are mapped, read and written by the device, unmapped, and one is used after that.</summary>
    public static void Run(EmbeddedPlatform platform, EmbeddedEndpoint device)
    {
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(device);
        const int Pages = 16;
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice opened = VfioDevice.Open(platform.Kernel, device.DevicePath);
        _ = opened.Bind(iommu);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = opened.Attach(space);
        byte[] data = new byte[PageSize];
        Iova start;
        using (DmaBuffer buffer = space.AllocateBuffer(Pages * PageSize))
        {
            start = buffer.Iova;
            for (int page = 0; page < Pages; page++)
            {
                Iova at = new(start.Value + ((ulong)page * PageSize));
                _ = device.Read(at, data);
                _ = device.Write(at, data);
            }
        }

        // A use after unmap: refused, and counted as a fault.
        _ = device.Read(start, data.AsSpan(0, 64));
        while (platform.TryDequeueFault(out _))
        {
        }
    }
}
