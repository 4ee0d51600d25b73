using System.Globalization;
using Ioasis.Replay.Report;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <content>What the hardware model did, what was checked, and how fast.</content>
internal sealed partial class TextReport
{
    private void Translation()
    {
        TextTable table = new("device", "lookups", "hits", "misses", "evicted", "walks", "reads/walk");
        foreach (DeviceReport d in _report.Devices.Where(d => d.Translation.Translations > 0))
        {
            Row(Printable(d.Name), d.Translation);
        }

        Row("all", _report.Hardware.Total);
        Section($"IOTLB ({_report.Options.IotlbEntries} entries, {_report.Options.IotlbWays} ways)", table);
        HardwareReport h = _report.Hardware;
        Prose($"{Plural(h.Total.Translations, "translation")}, {Plural(h.Total.WalkMemoryReads, "memory read")} by {Plural(h.Total.Walks, "walk")}"
            + (h.DirectoryHits + h.DirectoryMisses > 0
                ? $"; device directory cache: {Plural(h.DirectoryHits, "hit")}, {Plural(h.DirectoryMisses, "miss", "misses")}" : ""));

        void Row(string name, TranslationReport t) => table.Add(
            name, Count(t.IotlbHits + t.IotlbMisses), Percent(t.HitRatio), Count(t.IotlbMisses), Count(t.IotlbEvictions),
            Count(t.Walks), t.Walks == 0 ? "-" : Ratio(t.MemoryReadsPerWalk));
    }

    private void Invalidations()
    {
        TextTable table = new("command", "sent", "entries removed", "per command");
        foreach (InvalidationCount c in _report.Hardware.Commands)
        {
            table.Add(
                Printable(c.Kind), Count(c.Commands), Count(c.EntriesRemoved),
                c.Commands == 0 ? "-" : Ratio(c.EntriesRemoved / (double)c.Commands));
        }

        Section("Invalidation commands", table);
        TextTable recorded = new("recorded", "count");
        foreach (NamedCount c in _report.RecordedInvalidations.ByKind)
        {
            recorded.Add(Printable(c.Name), Count(c.Count));
        }

        Section("Invalidations in the recording", recorded);
        if (_report.RecordedInvalidations.UnmapToInvalidation is { } delay)
        {
            Prose($"unmap to invalidation: {Durations(delay)}");
        }
    }

    private void Faults()
    {
        TextTable table = new("cause", "<name", "count", "expected");
        foreach (FaultCount f in _report.Hardware.Faults)
        {
            table.Add(f.Cause.ToString(CultureInfo.InvariantCulture), Printable(f.Name), Count(f.Count), Count(f.Expected));
        }

        Section("Faults", table);
        if (table.Count > 0)
        {
            Note("expected: provoked by a check after an unmap, or recorded as a fault");
        }
    }

    private void DmaLog()
    {
        if (_report.DmaLog is not { } log)
        {
            return;
        }

        TextTable table = new(["device", .. log.Classes.Select(c => Printable(c.Name))]);
        foreach (DeviceDmaClasses device in log.ByDevice)
        {
            table.Add([Printable(device.Device), .. log.Classes.Select(c => Of(device.Classes, c.Name))]);
        }

        table.Add(["all", .. log.Classes.Select(c => Count(c.Count))]);

        // Many or long classes make the table too wide: then one class is one line.
        if (table.Lines().Any(l => l.Length > TextWidth))
        {
            table = new("class", "DMAs", "share");
            foreach (NamedCount c in log.Classes)
            {
                table.Add(Printable(c.Name), Count(c.Count), Percent(log.Dmas == 0 ? 0 : c.Count / (double)log.Dmas));
            }
        }

        Section($"DMA log: {Plural(log.Dmas, "DMA")}", table);
        if (log.LearnedMappings)
        {
            Prose("the mappings were learned from the log itself: good for IOTLB studies, no evidence on maps");
        }

        if (log.Alignment is { } a)
        {
            Prose($"clocks tied by {Plural(a.Marks, "mark")}: ratio {a.ClockRatio.ToString("0.000000", CultureInfo.InvariantCulture)}, drift {Seconds(a.DriftSeconds)}; a mark's line is {Seconds(a.MedianDelaySeconds)} late (median), {Seconds(a.MaxDelaySeconds)} at most; tolerance {Seconds(_report.Options.ToleranceSeconds)}");
            if (a.Jumps.Count > 0)
            {
                Prose($"a clock jumped {Plural(a.Jumps.Count, "time")}, as when the machine stood still; each side is tied apart: {Jumps(a.Jumps)}");
            }
        }

        static string Of(IReadOnlyList<NamedCount> counts, string name) =>
            Count(CountOf(counts, name) ?? 0);
    }

    private void Oddities()
    {
        if (_report.Oddities.Count == 0)
        {
            return;
        }

        _out.WriteLine();
        _out.WriteLine(Paint("Oddities", "1"));
        int digits = _report.Oddities.Max(o => Count(o.Count).Length);
        foreach (Oddity o in _report.Oddities)
        {
            string line = o.FirstLine is { } first ? $" (first at line {first.ToString(CultureInfo.InvariantCulture)})" : "";
            string indent = new(' ', digits + 4);
            foreach (string text in Wrapped($"{Printable(o.Name)}{line}: {Printable(o.Outcome)}", TextWidth - indent.Length)
                .Select((t, i) => i == 0 ? $"  {Count(o.Count).PadLeft(digits)}  {t}" : indent + t))
            {
                _out.WriteLine(text);
            }
        }
    }

    private void Checks()
    {
        CheckReport c = _report.Checks;
        TextTable table = new("check", "made", "failed");
        foreach (string kind in c.ByKind.Concat(c.MismatchesByKind).Select(k => k.Name).Distinct(StringComparer.Ordinal))
        {
            table.Add(Printable(kind), Count(Of(c.ByKind, kind)), Count(Of(c.MismatchesByKind, kind)));
        }

        Section("Checks", table);
        const int Listed = 20;
        foreach (Mismatch m in c.FirstMismatches.Take(Listed))
        {
            _out.WriteLine(Paint(
                $"  {Printable(m.Path)}:{m.Line.ToString(CultureInfo.InvariantCulture)}: {Printable(m.Device)} iova {m.Iova}: {Printable(m.Kind)}", "31"));
            Prose($"  expected {Printable(m.Expected)}, got {Printable(m.Got)}");
        }

        if (c.MismatchCount > Listed)
        {
            Prose($"… and {Count(c.MismatchCount - Math.Min(Listed, c.FirstMismatches.Count))} more");
        }

        static long Of(IReadOnlyList<NamedCount> counts, string name) => CountOf(counts, name) ?? 0;
    }

    private void Throughput()
    {
        ThroughputReport t = _report.Throughput;
        _out.WriteLine();
        _out.WriteLine(Paint("Throughput", "1"));
        Prose($"{Rate(t.EventsPerSecond)} events, {Rate(t.TranslationsPerSecond)} translations in {Seconds(t.ReplaySeconds)} of replay");
        Prose($"{Seconds(t.ElapsedSeconds)} in all, {Seconds(t.ParseSeconds)} of it reading and parsing"
            + (t.PeakMemoryBytes > 0 ? $"; {Bytes(t.PeakMemoryBytes)} of memory" : ""));
    }

    private static IEnumerable<string> Wrapped(string text, int width)
    {
        while (text.Length > width)
        {
            // A number stays with its unit.
            int cut = text.LastIndexOf(' ', width);
            while (cut > width / 2 && char.IsAsciiDigit(text[cut - 1]))
            {
                cut = text.LastIndexOf(' ', cut - 1);
            }

            cut = cut > 0 ? cut : width;
            yield return text[..cut];
            text = text[cut..].TrimStart();
        }

        yield return text;
    }
}
