using System.Globalization;
using System.Text.RegularExpressions;
using Ioasis.Explain.Meaning;
using Ioasis.Intel.Architecture;

namespace Ioasis.Explain.Lines;

/// <summary>
/// Faults of VT-d as Linux prints them from 2.6 to 7 (DMA and interrupt remapping, with and without PASID, on one line and on two), and as Xen does.
/// </summary>
internal sealed partial class IntelLines : LineParser
{
    private const uint NoPasid = 0xffff_ffff;
    private (Match Match, LogLine Line)? _open;

    /// <inheritdoc/>
    public override bool TryRead(in LogLine line, List<Fault> faults)
    {
        Match request = Request().Match(line.Text);
        Match reason = Reason().Match(line.Text);
        if (request.Success)
        {
            Flush(faults);
            if (reason.Success)
            {
                faults.Add(Make(request, line, reason));
            }
            else
            {
                _open = (request, line);
            }

            return true;
        }

        if (reason.Success && _open is { } open)
        {
            _open = null;
            faults.Add(Make(open.Match, open.Line, reason));
            return true;
        }

        if (QueueError().Match(line.Text) is { Success: true } queue)
        {
            bool isTimeOut = queue.Groups["what"].Value.Contains("Time-out", StringComparison.OrdinalIgnoreCase);
            faults.Add(new()
            {
                Source = FaultSource.Intel,
                Kind = FaultKind.Command,
                Device = isTimeOut && Hex(queue.Groups["sid"]) is { } sid and not 0 ? PciAddress((uint)sid) : null,
                Reason = queue.Groups["what"].Value,
                Section = "VT-d specification, 6.5.2.10",
                Meaning = isTimeOut
                    ? "A device did not confirm the invalidation of its translation cache (ATS) in time."
                    : "The IOMMU stopped at a descriptor of the invalidation queue that it does not accept or cannot read.",
                Line = line.Number,
                Time = line.Time,
                Text = queue.Value,
            });
            return true;
        }

        return Companion().IsMatch(line.Text);
    }

    /// <inheritdoc/>
    public override void Flush(List<Fault> faults)
    {
        if (_open is { } open)
        {
            _open = null;
            faults.Add(Make(open.Match, open.Line, Match.Empty));
        }
    }

    private static Fault Make(Match request, in LogLine line, Match reason)
    {
        int? code = reason.Success ? CodeOf(reason.Groups["code"].Value) : null;
        bool isInterrupt = request.Groups["interrupt"].Success;
        string words = reason.Success ? reason.Groups["words"].Value.Trim() : "";
        FaultReason cause = code is { } number ? (FaultReason)number : FaultReason.None;
        IntelReason meaning = IntelReasons.Of(cause);
        string? name = FaultReasons.NameOf(cause);
        uint? pasid = Hex(request.Groups["pasid"]) is { } value && value != NoPasid ? (uint)value : null;
        ulong? index = Hex(request.Groups["index"]);
        List<FaultField> fields = [];
        if (index is { } interrupt)
        {
            fields.Add(HexField("interrupt index", interrupt));
        }

        if (words.Length > 0)
        {
            fields.Add(new("kernel's words", words));
        }

        return new()
        {
            Source = FaultSource.Intel,
            Kind = isInterrupt ? FaultKind.Interrupt : meaning.Kind,
            Access = isInterrupt
                ? FaultAccess.Interrupt
                : request.Groups["access"].Value.StartsWith("Write", StringComparison.OrdinalIgnoreCase) ? FaultAccess.Write : FaultAccess.Read,
            Device = PciAddress(request.Groups["device"].Value),
            Pasid = pasid,
            Address = isInterrupt ? null : Hex(request.Groups["address"]),
            Code = code,
            Reason = name ?? (words.Length > 0 ? words : "not given"),
            Section = meaning.Section,
            Meaning = meaning.Text,
            Fields = fields,
            Line = line.Number,
            Time = line.Time,
            Text = reason.Success && !line.Text.Contains(reason.Value, StringComparison.Ordinal)
                ? $"{line.Text[request.Index..]} {reason.Value}"
                : line.Text[request.Index..],
        };
    }

    // Decimal until Linux 5.12 ("fault reason 05", "fault reason 37"), with 0x since. Xen has hexadecimal digits alone.
    private static int CodeOf(string text) =>
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? (int)Hex(text)
        : text.StartsWith("reason ", StringComparison.Ordinal) ? (int)Hex(text.AsSpan(7))
        : int.Parse(text, CultureInfo.InvariantCulture);

    [GeneratedRegex(
        @"(?:\[?DMA (?<access>Read|Write)(?: (?:NO_PASID|PASID (?<pasid>0x[0-9a-f]+)))?\]?|\[?(?<interrupt>INTR-REMAP)\]?):? *"
        + @"Request device \[*(?<device>[0-9a-fx:]+\.[0-7])\]?(?: PASID (?<pasid>[0-9a-f]+))?,? *"
        + @"fault (?:addr (?<address>(?:0x)?[0-9a-f]+)|index (?<index>(?:0x)?[0-9a-f]+))",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Request();

    [GeneratedRegex(
        @"\[?fault reason (?<code>0x[0-9a-f]+|\d+)\] *(?<words>.*)|(?<=VT-d\].*)(?<code>reason [0-9a-f]{2}) - (?<words>.*)",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Reason();

    [GeneratedRegex(
        @"(?<what>VT-d detected (?:Invalidation Queue|Invalidation Time-out|Invalidation Completion) Error)(?:: (?:Reason|SID) (?<sid>[0-9a-f]+))?",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex QueueError();

    // Lines that come with faults and are none.
    [GeneratedRegex(@"DRHD: handling fault status reg|DMAR:? .*(?:table entries for IOVA|root entry|context entry|pasid (?:dir|table) entry|pte level|paging mode)|QI (?:HEAD|PRIOR)",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Companion();
}
