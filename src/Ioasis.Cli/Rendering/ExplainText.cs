using Ioasis.Explain;
using Ioasis.Explain.Walks;
using static System.FormattableString;

namespace Ioasis.Cli.Rendering;

/// <summary>Explanations of faults as text.</summary>
internal static class ExplainText
{
    /// <summary>Writes them.</summary>
    public static void Write(TextWriter output, FaultLog log, IReadOnlyList<Explanation> explanations)
    {
        int number = 0;
        foreach (Explanation explanation in explanations)
        {
            output.WriteLine(Invariant($"{++number}. {Headline(explanation.Group)}"));
            WriteOne(output, log, explanation);
            output.WriteLine();
        }

        output.WriteLine(Invariant($"{log.Faults.Count} {(log.Faults.Count == 1 ? "fault" : "faults")} of {explanations.Count} {(explanations.Count == 1 ? "kind" : "kinds")} in {log.Lines} lines."));
        if (log.Suppressed > 0)
        {
            output.WriteLine(Invariant($"The kernel left out {log.Suppressed} more (callbacks suppressed)."));
        }

        if (log.UnknownLines > 0)
        {
            output.WriteLine(Invariant($"{log.UnknownLines} {(log.UnknownLines == 1 ? "line looks" : "lines look")} like faults of an IOMMU and are not understood:"));
            foreach ((int line, string text) in log.FirstUnknown)
            {
                output.WriteLine(Invariant($"   line {line}: {Format.Printable(text)}"));
            }
        }
    }

    private static void WriteOne(TextWriter output, FaultLog log, Explanation explanation)
    {
        FaultGroup group = explanation.Group;
        Fault first = group.First;
        output.WriteLine(Invariant($"   {NameOf(first.Source)}: {first.Reason}{(first.Code is { } code ? Invariant($" (0x{code:x})") : "")} - {first.Section}"));
        output.WriteLine($"   {first.Meaning}");
        foreach (FaultField field in first.Fields)
        {
            output.WriteLine($"   {field.Name}: {Format.Printable(field.Value)}");
        }

        if (group.Pages > 1)
        {
            output.WriteLine(Invariant($"   {group.Pages} different pages from 0x{group.Lowest:x} to 0x{group.Highest:x}"));
        }

        if (first.Device is { } device && (log.Machine.DriverOf(device) ?? log.Machine.Functions.GetValueOrDefault(device)) is { } name)
        {
            output.WriteLine($"   The log knows {device} as {name}.");
        }

        if (explanation.LookText.Length > 0)
        {
            output.WriteLine($"   The address: {explanation.LookText}");
        }

        foreach (IovaHistory history in explanation.Histories)
        {
            output.WriteLine(Invariant($"   History of 0x{history.Address:x}: {history.Text}"));
            foreach (HistoryEvent e in history.Events)
            {
                output.WriteLine(Invariant($"     {e.Seconds:0.000000} s  {(e.IsUnmap ? "unmap" : "map  ")} 0x{e.Start:x} +0x{e.Length:x}{(e.Device is { } owner ? $"  {owner}" : "")}  (line {e.Line})"));
            }
        }

        if (explanation.Walk is { } walk)
        {
            WriteWalk(output, walk);
        }

        Numbered(output, "Likely causes:", explanation.Causes);
        Numbered(output, "What to try:", explanation.Tries);
        output.WriteLine(Invariant($"   line {first.Line}: {Format.Printable(first.Text)}"));
    }

    private static void WriteWalk(TextWriter output, WalkStory walk)
    {
        output.WriteLine($"   The tables, for a {walk.Request}:");
        int number = 0;
        foreach (WalkStep step in walk.Steps)
        {
            output.WriteLine(Invariant($"   {(step.Fails ? ">>" : "  ")}{++number,2}. {StepTitle(step)}"));
            if (step.Fields.Count > 0)
            {
                output.WriteLine($"        {string.Join("  ", step.Fields.Select(static field => $"{field.Name}={field.Value}"))}");
            }

            output.WriteLine($"        {(step.Fails ? "FAILS: " : "")}{step.Text}");
        }

        output.WriteLine($"   {walk.Conclusion}");
    }

    /// <summary>A step in a line: what is read, where, and what stands there.</summary>
    public static string StepTitle(WalkStep step)
    {
        string at = step.Address is { } address ? Invariant($" at 0x{address:x}") : "";
        string words = step.Words.Count == 0 ? "" : ": " + string.Join(' ', step.Words.Select(static word => Invariant($"0x{word:x16}")));
        return $"{step.Name} ({step.Section}){at}{words}";
    }

    /// <summary>A fault in a line: who tried what, how often and when.</summary>
    public static string Headline(FaultGroup group)
    {
        Fault first = group.First;
        string device = first.Device ?? (first.Requester is { } stream ? Invariant($"stream 0x{stream:x}") : "no device");
        string pasid = first.Pasid is { } number ? Invariant($" PASID {number}") : "";
        string action = first.Access switch
        {
            FaultAccess.Read => " read",
            FaultAccess.Write => " wrote",
            FaultAccess.Execute => " fetched",
            FaultAccess.Interrupt => " sent an interrupt",
            FaultAccess.TranslationRequest => " asked to translate",
            FaultAccess.PageRequest => " asked for a page",
            _ => "",
        };
        string address = first.Address is { } iova ? Invariant($" 0x{iova:x}") : "";
        string count = group.Count == 1 ? "" : Invariant($", {group.Count} times");
        string time = first.Time is not { } start ? "" : group.LastTime is { } last && last > start ? Invariant($", {start:0.000} s to {last:0.000} s") : Invariant($", at {start:0.000} s");
        return $"{device}{pasid}{action}{address}{count}{time}";
    }

    private static void Numbered(TextWriter output, string title, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0)
        {
            return;
        }

        output.WriteLine($"   {title}");
        for (int i = 0; i < lines.Count; i++)
        {
            output.WriteLine(Invariant($"     {i + 1}. {lines[i]}"));
        }
    }

    /// <summary>The IOMMU's name.</summary>
    public static string NameOf(FaultSource source) => source switch
    {
        FaultSource.Intel => "Intel VT-d",
        FaultSource.Amd => "AMD-Vi",
        FaultSource.ArmSmmu => "Arm SMMUv2",
        FaultSource.ArmSmmuV3 => "Arm SMMUv3",
        FaultSource.Qualcomm => "Qualcomm SMMU",
        FaultSource.RiscV => "RISC-V IOMMU",
        _ => "virtio-iommu",
    };
}
