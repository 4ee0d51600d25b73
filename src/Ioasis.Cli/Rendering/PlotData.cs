using System.Text;
using System.Text.Json;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// The block of JSON that the page's script draws from. It stands inside a script element, so no character that HTML
/// gives a meaning may appear in it: the writer's default encoder turns each into an escape.
/// </summary>
internal static class PlotData
{
    private const int MaxDevices = 6;
    private const int MaxMaps = 8;
    private const int MaxMarks = 40;

    /// <summary>The devices that a plot has room for: those that ever held a mapping, those with the highest peak first.</summary>
    public static IReadOnlyList<DeviceSeries> BusiestDevices(SeriesReport series) =>
    [
        .. series.LiveBytesByDevice.Where(d => d.Values.Any(v => v > 0)).OrderByDescending(d => d.Values.Max()).Take(MaxDevices),
    ];

    /// <summary>The IOVA maps that the page shows: those with most bands.</summary>
    public static IReadOnlyList<IovaMap> ShownMaps(SeriesReport series) =>
        [.. series.IovaMaps.Where(m => m.Bands.Count > 0).OrderByDescending(m => m.Bands.Count).Take(MaxMaps).OrderBy(m => m.Device, StringComparer.Ordinal)];

    /// <summary>The marks that name a phase; a recording's clock ticks only when there is room.</summary>
    public static IReadOnlyList<RecordedMark> ShownMarks(SeriesReport series)
    {
        IEnumerable<RecordedMark> marks = series.Marks.Count <= MaxMarks
            ? series.Marks
            : series.Marks.Where(m => !m.Text.Contains("tick", StringComparison.OrdinalIgnoreCase));
        return [.. marks.Take(MaxMarks)];
    }

    /// <summary>The block.</summary>
    public static string ToJson(ReplayReport report)
    {
        SeriesReport s = report.Series;
        double start = s.StartSeconds.Count > 0 ? s.StartSeconds[0] : 0;
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            json.WriteNumber("interval", s.IntervalSeconds);
            json.WriteNumber("count", s.StartSeconds.Count);
            json.WriteNumber("hitRatio", report.Hardware.Total.HitRatio);
            Column("live", s.LiveBytes);
            Column("tables", s.PageTableBytes);
            Column("hits", s.IotlbHits);
            Column("misses", s.IotlbMisses);
            Column("commands", s.InvalidationCommands);
            Column("removed", s.EntriesRemoved);
            Column("recorded", s.RecordedInvalidations);
            json.WriteStartArray("devices");
            foreach (DeviceSeries device in BusiestDevices(s))
            {
                json.WriteStartObject();
                json.WriteString("name", Format.Printable(device.Device));
                Column("live", device.Values);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("marks");
            foreach (RecordedMark mark in ShownMarks(s))
            {
                json.WriteNumberValue(Math.Round(mark.Seconds - start, 6));
            }

            json.WriteEndArray();
            json.WriteStartArray("maps");
            foreach (IovaMap map in ShownMaps(s))
            {
                Map(map);
            }

            json.WriteEndArray();
            json.WriteEndObject();

            void Column(string name, IReadOnlyList<long> values)
            {
                json.WriteStartArray(name);
                foreach (long value in values)
                {
                    json.WriteNumberValue(value);
                }

                json.WriteEndArray();
            }

            void Map(IovaMap map)
            {
                json.WriteStartObject();
                json.WriteString("device", Format.Printable(map.Device));
                json.WriteNumber("start", Math.Round(map.StartSeconds - start, 6));
                json.WriteNumber("column", map.ColumnSeconds);
                json.WriteNumber("band", map.BandBytes);
                json.WriteStartArray("rows");
                foreach (IovaBand band in map.Bands)
                {
                    json.WriteStartArray();
                    json.WriteStringValue(Format.Address(band.Start));
                    json.WriteBase64StringValue([.. band.OccupancyPercent]);
                    json.WriteEndArray();
                }

                json.WriteEndArray();
                json.WriteEndObject();
            }
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }
}
