using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Ioasis.Core;

/// <summary>
/// What the subsystem tells of itself to whoever listens: a <see cref="System.Diagnostics.Metrics.Meter"/> and an
/// <see cref="ActivitySource"/>, both named <see cref="Name"/>. Without a listener a measurement costs one look at whether there is one.
/// The instruments are listed in docs/telemetry.md.
/// </summary>
public static class IoasisTelemetry
{
    /// <summary>The name of the meter and of the source of activities, as OpenTelemetry's <c>AddMeter</c> and <c>AddSource</c> take it.</summary>
    public const string Name = "Ioasis";

    /// <summary>The meter. Instruments that a platform adds stand in the same one.</summary>
    public static Meter Meter { get; } = new(Name, typeof(IoasisTelemetry).Assembly.GetName().Version?.ToString());

    /// <summary>The activities: calls of clients on the kernel side.</summary>
    public static ActivitySource Activities { get; } = new(Name, typeof(IoasisTelemetry).Assembly.GetName().Version?.ToString());

    private static readonly Counter<long> s_maps = Meter.CreateCounter<long>("ioasis.maps", "{map}", "Ranges put into page tables.");

    private static readonly Counter<long> s_mappedBytes = Meter.CreateCounter<long>("ioasis.map.size", "By", "Bytes put into page tables.");

    private static readonly Counter<long> s_unmaps = Meter.CreateCounter<long>("ioasis.unmaps", "{unmap}", "Ranges taken out of page tables.");

    private static readonly Counter<long> s_unmappedBytes = Meter.CreateCounter<long>("ioasis.unmap.size", "By", "Bytes taken out of page tables.");

    internal static void CountMap(ulong length)
    {
        if (s_maps.Enabled || s_mappedBytes.Enabled)
        {
            s_maps.Add(1);
            s_mappedBytes.Add((long)length);
        }
    }

    internal static void CountUnmap(ulong length)
    {
        if (s_unmaps.Enabled || s_unmappedBytes.Enabled)
        {
            s_unmaps.Add(1);
            s_unmappedBytes.Add((long)length);
        }
    }
}
