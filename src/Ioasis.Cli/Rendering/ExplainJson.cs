using System.Text.Json;
using System.Text.Json.Serialization;
using Ioasis.Explain;
using Ioasis.Explain.Walks;

namespace Ioasis.Cli.Rendering;

/// <summary>Explanations of faults as a JSON document; addresses are strings of hexadecimal digits, as in the other documents.</summary>
internal static class ExplainJson
{
    /// <summary>Writes the document in UTF-8, and a line end.</summary>
    public static void Write(Stream stream, FaultLog log, IReadOnlyList<Explanation> explanations)
    {
        ExplainDocument document = new(
            log.Lines, log.Faults.Count, log.Suppressed, log.UnknownLines,
            [.. explanations.Select(static e => new ExplainedGroup(
                e.Group.Count, e.Group.LastTime, e.Group.Pages, e.Group.Lowest is { } low ? Hex(low) : null, e.Group.Highest is { } high ? Hex(high) : null,
                One(e.Group.First), e.Look, e.LookText, e.Causes, e.Tries,
                [.. e.Histories.Select(static h => new ExplainedHistory(Hex(h.Address), h.Verdict, h.Text, [.. h.Events.Select(static x =>
                    new ExplainedEvent(x.Line, x.Seconds, x.IsUnmap, Hex(x.Start), Hex(x.Length), x.Device))]))],
                e.Walk is { } walk ? Walked(walk) : null))],
            [.. log.Faults.Select(One)]);
        JsonSerializer.Serialize(stream, document, ExplainJsonContext.Default.ExplainDocument);
        stream.WriteByte((byte)'\n');
    }

    private static ExplainedFault One(Fault f) => new(
        f.Line, f.Time, f.Source, f.Kind, f.Access, f.Device, f.Requester, f.Pasid, f.Address is { } address ? Hex(address) : null, f.Code,
        f.Reason, f.Section, f.Meaning, f.Fields, f.Text);

    private static ExplainedWalk Walked(WalkStory walk) => new(
        walk.Request, walk.End, walk.Physical is { } physical ? Hex(physical) : null, walk.Conclusion,
        [.. walk.Steps.Select(static step => new ExplainedStep(
            step.Name, step.Section, step.Address is { } address ? Hex(address) : null, [.. step.Words.Select(Hex)], step.Fields, step.Text, step.Fails))]);

    private static string Hex(ulong value) => $"0x{value:x}";
}

/// <summary>The document.</summary>
internal sealed record ExplainDocument(
    int Lines, int FaultCount, long Suppressed, int UnknownLines, IReadOnlyList<ExplainedGroup> Groups, IReadOnlyList<ExplainedFault> Faults);

/// <summary>A group of faults.</summary>
internal sealed record ExplainedGroup(
    long Count, double? LastTime, int Pages, string? Lowest, string? Highest, ExplainedFault First, Explain.Meaning.AddressLook AddressLook, string Address,
    IReadOnlyList<string> Causes, IReadOnlyList<string> Tries, IReadOnlyList<ExplainedHistory> Histories,
    ExplainedWalk? Walk);

/// <summary>A fault.</summary>
internal sealed record ExplainedFault(
    int Line, double? Time, FaultSource Source, FaultKind Kind, FaultAccess Access, string? Device, uint? Requester, uint? Pasid, string? Address, int? Code,
    string Reason, string Section, string Meaning, IReadOnlyList<FaultField> Fields, string Text);

/// <summary>The history of an address.</summary>
internal sealed record ExplainedHistory(string Address, HistoryVerdict Verdict, string Text, IReadOnlyList<ExplainedEvent> Events);

/// <summary>A map or an unmap.</summary>
internal sealed record ExplainedEvent(int Line, double Seconds, bool IsUnmap, string Start, string Length, string? Device);

/// <summary>The way of an address through the tables.</summary>
internal sealed record ExplainedWalk(string Request, WalkEnd End, string? Physical, string Conclusion, IReadOnlyList<ExplainedStep> Steps);

/// <summary>A step of it.</summary>
internal sealed record ExplainedStep(
    string Name, string Section, string? Address, IReadOnlyList<string> Words, IReadOnlyList<FaultField> Fields, string Text, bool Fails);

/// <summary>Serialisers made at compile time.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(ExplainDocument))]
internal sealed partial class ExplainJsonContext : JsonSerializerContext;
