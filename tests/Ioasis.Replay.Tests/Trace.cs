using System.Globalization;
using System.Text;

namespace Ioasis.Replay.Tests;

/// <summary>Writes small kernel traces. An event with a device is followed by the line that names it.</summary>
internal sealed class Trace
{
    private readonly List<string> _lines = [];
    private double _time = 1;

    public static string MapLine(string task, int cpu, double time, ulong iova, ulong length, ulong physical) =>
        Prefix(task, cpu, time) + string.Create(
            CultureInfo.InvariantCulture,
            $"map: IOMMU: iova=0x{iova:x16} - 0x{iova + length:x16} paddr=0x{physical:x16} size={length}\n");

    public static string UnmapLine(string task, int cpu, double time, ulong iova, ulong length) =>
        Prefix(task, cpu, time) + string.Create(
            CultureInfo.InvariantCulture,
            $"unmap: IOMMU: iova=0x{iova:x16} - 0x{iova + length:x16} size={length} unmapped_size={length}\n");

    public static string DmaLine(string task, int cpu, double time, string name, string device, ulong address, ulong size) =>
        Prefix(task, cpu, time) + string.Create(
            CultureInfo.InvariantCulture,
            $"{name}: {device} dir=BIDIRECTIONAL dma_addr={address:x} size={size} phys_addr=50000 attrs=\n");

    /// <summary>A map, and the event that names its device.</summary>
    public Trace Map(string? device, ulong iova, ulong length, ulong physical)
    {
        string task = device is null ? "rest-99" : "task-" + (device[^3] - '0').ToString(CultureInfo.InvariantCulture);
        _lines.Add(MapLine(task, 0, Next(), iova, length, physical));
        Name(task, "dma_map_phys", device, iova, length);
        return this;
    }

    public Trace Unmap(string? device, ulong iova, ulong length)
    {
        string task = device is null ? "rest-99" : "task-" + (device[^3] - '0').ToString(CultureInfo.InvariantCulture);
        _lines.Add(UnmapLine(task, 0, Next(), iova, length));
        Name(task, "dma_unmap_phys", device, iova, length);
        return this;
    }

    public Trace RawMap(ulong iova, ulong length, ulong physical, string task)
    {
        _lines.Add(MapLine(task, 0, Next(), iova, length, physical));
        return this;
    }

    public Trace Attach(string device, string task)
    {
        _lines.Add(Prefix(task, 0, Next()) + "attach_device_to_domain: IOMMU: device=" + device + "\n");
        return this;
    }

    public Trace Line(string text)
    {
        _lines.Add(text + "\n");
        return this;
    }

    public Trace Wait(double seconds)
    {
        _time += seconds;
        return this;
    }

    public override string ToString()
    {
        StringBuilder text = new();
        foreach (string line in _lines)
        {
            text.Append(line);
        }

        return text.ToString();
    }

    private static string Prefix(string task, int cpu, double time) => string.Create(
        CultureInfo.InvariantCulture, $"{task,16}       [{cpu:d3}] .....     {time:F6}: ");

    private double Next() => _time += 0.001;

    private void Name(string task, string name, string? device, ulong iova, ulong length)
    {
        if (device is not null)
        {
            _lines.Add(DmaLine(task, 0, Next(), name, device, iova, length));
        }
    }
}
