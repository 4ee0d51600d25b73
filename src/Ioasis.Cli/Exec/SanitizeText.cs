using Ioasis.Cli.Rendering;
using Ioasis.Exec.Sanitizing;
using Ioasis.Primitives;
using static System.FormattableString;

namespace Ioasis.Cli.Exec;

/// <summary>Reports of a sanitizer as text: what, where, who mapped it and who took it away.</summary>
internal static class SanitizeText
{
    /// <summary>Writes them.</summary>
    public static void Write(TextWriter output, IReadOnlyList<DmaReport> reports)
    {
        foreach (DmaReport report in reports)
        {
            output.WriteLine($"ioasis: {Headline(report)}{(report.Count > 1 ? Invariant($" ({report.Count} times)") : "")}");
            if (report.Call is { } call)
            {
                Moment(output, "called", call);
            }

            if (report.Mapping is { } mapping)
            {
                string where = Invariant($"[0x{mapping.Iova:x}, +0x{mapping.Length:x}] of memory 0x{mapping.Memory:x}, {AccessName(mapping.Access)}");
                output.WriteLine($"    the mapping: {where}");
                Moment(output, "mapped", mapping.Mapped);
                if (mapping.Unmapped is { } unmapped)
                {
                    Moment(output, "unmapped", unmapped);
                }
            }
        }

        if (reports.Count > 0)
        {
            output.WriteLine($"ioasis: {Format.Plural(reports.Count, "mistake")} with DMA: {string.Join(", ", reports.CountBy(static r => Suppression.NameOf(r.Mistake)).Select(static c => $"{c.Key} {c.Value}"))}");
        }
    }

    /// <summary>A report in a line.</summary>
    public static string Headline(DmaReport report)
    {
        string device = report.Device is { } id ? $" by {id}" : "";
        string dma = Invariant($"{(report.Access == Access.Write ? "write" : "read")} of 0x{report.Iova:x}{device}");
        string range = Invariant($"[0x{report.Iova:x}, +0x{report.Length:x}]");
        return report.Mistake switch
        {
            DmaMistake.AfterUnmap => $"DMA after unmap: {dma}",
            DmaMistake.FreedMemory => $"DMA into freed memory: {dma}, whose memory the program had freed or replaced while it was mapped",
            DmaMistake.PastEnd => Invariant($"DMA past the end: {dma}, {report.Distance} bytes behind the mapping"),
            DmaMistake.Direction => $"DMA against the direction: {dma}, mapped {AccessName(report.Mapping?.Access ?? Access.None)}",
            DmaMistake.NeverMapped => $"DMA that was never mapped: {dma}",
            DmaMistake.Overlap => $"overlapping map: {range} shares IOVAs or memory with another mapping",
            DmaMistake.NothingUnmapped => $"unmap of nothing: {range} is not mapped",
            _ => $"left mapped: {range} was not unmapped before its address space was closed",
        };
    }

    private static void Moment(TextWriter output, string what, ProgramMoment moment)
    {
        output.WriteLine(Invariant($"    {what} at {moment.Seconds:0.000000} s by thread {moment.Thread}{(moment.Stack.Count == 0 ? "" : ":")}"));
        foreach (ProgramFrame frame in moment.Stack)
        {
            string module = frame.Module is { } path ? Invariant($"{Path.GetFileName(path)}+0x{frame.Offset:x}") : Invariant($"0x{frame.Address:x}");
            output.WriteLine($"      {Format.Printable(frame.Source is { } source ? $"{source} ({module})" : module)}");
        }
    }

    private static string AccessName(Access access) => access switch
    {
        Access.Read => "for reading",
        Access.Write => "for writing",
        Access.ReadWrite => "for reading and writing",
        _ => "for nothing",
    };
}
