using System.Text.RegularExpressions;

namespace Ioasis.Explain.Lines;

/// <summary>Events of SMMUv3: the four raw doublewords of a record (IHI 0070, 7.3), and the lines that newer kernels print decoded.</summary>
internal sealed partial class SmmuV3Lines : LineParser
{
    private const string Section = "Arm SMMUv3 architecture (IHI 0070), 7.3";
    private const int Doublewords = 4;
    private readonly ulong[] _words = new ulong[Doublewords];
    private int _count = -1;
    private LogLine _first;
    private Fault? _open;

    /// <inheritdoc/>
    public override bool TryRead(in LogLine line, List<Fault> faults)
    {
        if (Header().Match(line.Text) is { Success: true } header)
        {
            Flush(faults);
            _first = line with { Text = header.Value };
            _count = 0;
            _words[0] = Hex(header.Groups["id"].ValueSpan);
            return true;
        }

        if (_count is >= 0 and < Doublewords && Raw().Match(line.Text) is { Success: true } raw)
        {
            _words[_count++] = Hex(raw.Groups["word"].ValueSpan);
            if (_count == Doublewords)
            {
                _open = Decode(_words, _first);
                _count = -1;
            }

            return true;
        }

        if (Decoded().Match(line.Text) is { Success: true } decoded)
        {
            ReadDecoded(decoded, line, faults);
            return true;
        }

        if (_open is { } open && Attributes().Match(line.Text) is { Success: true } attributes)
        {
            _open = open with
            {
                Access = attributes.Groups["inst"].Value is "inst" ? FaultAccess.Execute
                    : attributes.Groups["rw"].Value is "write" ? FaultAccess.Write : FaultAccess.Read,
                Fields = [.. open.Fields.Where(static f => f.Name is not ("privilege" or "stage" or "class")),
                    new("privilege", attributes.Groups["priv"].Value is "priv" ? "privileged" : "unprivileged"),
                    new("stage", attributes.Groups["stage"].Value is "s2" ? "2" : "1"), new("class", attributes.Groups["class"].Value)],
            };
            return true;
        }

        if (CommandError().Match(line.Text) is { Success: true } command)
        {
            faults.Add(new()
            {
                Source = FaultSource.ArmSmmuV3,
                Kind = FaultKind.Command,
                Reason = command.Groups["why"].Success ? command.Groups["why"].Value : "command not confirmed",
                Section = "Arm SMMUv3 architecture (IHI 0070), 4.1.2 and 6.3.28",
                Meaning = "The SMMU refused a command, could not read it, or did not confirm it in time.",
                Line = line.Number,
                Time = line.Time,
                Text = command.Value,
            });
            return true;
        }

        return false;
    }

    /// <inheritdoc/>
    public override void Flush(List<Fault> faults)
    {
        if (_count >= 0)
        {
            // The log was cut: the event's number is all there is.
            _open ??= Named((int)_words[0], _first) with { Fields = [new("record", $"only {_count} of {Doublewords} doublewords are in the log")] };
            _count = -1;
        }

        if (_open is { } open)
        {
            _open = null;
            faults.Add(open);
        }
    }

    private void ReadDecoded(Match decoded, in LogLine line, List<Fault> faults)
    {
        string client = decoded.Groups["client"].Value;
        string? device = client.StartsWith('(') ? null : PciAddress(client) ?? client;
        uint stream = (uint)Hex(decoded.Groups["sid"].ValueSpan);
        uint? substream = Hex(decoded.Groups["ssid"]) is { } ssid and not 0 ? (uint)ssid : null;
        if (_open is { } raw && raw.Requester == stream)
        {
            // It follows the raw record of the same event.
            _open = raw with { Device = device };
            return;
        }

        Flush(faults);
        _open = Named(IdOf(decoded.Groups["name"].Value), line with { Text = decoded.Value }) with
        {
            Device = device,
            Requester = stream,
            Pasid = substream,
            Address = Hex(decoded.Groups["iova"]),
            Fields = Hex(decoded.Groups["ipa"]) is { } ipa and not 0 ? [HexField("IPA", ipa)] : [],
        };
    }

    private static Fault Decode(ReadOnlySpan<ulong> words, in LogLine line)
    {
        int id = (int)(words[0] & 0xff);
        bool hasSubstream = (words[0] & (1ul << 11)) != 0;
        bool isPage = id is 0x01 or 0x07 or (>= 0x0b and <= 0x13) or 0x20;
        List<FaultField> fields = [];
        if (id is >= 0x10 and <= 0x13)
        {
            fields.Add(new("privilege", (words[1] & (1ul << 33)) != 0 ? "privileged" : "unprivileged"));
            fields.Add(new("stage", (words[1] & (1ul << 39)) != 0 ? "2" : "1"));
            fields.Add(new("class", ((words[1] >> 40) & 3) switch { 0 => "CD fetch", 1 => "translation table walk", 2 => "input address", _ => "reserved" }));
            if ((words[1] & (1ul << 31)) != 0)
            {
                fields.Add(new("stall", "the transaction waits"));
            }

            if ((words[3] & 0x000f_ffff_ffff_f000) is not 0 and var ipa && (words[1] & (1ul << 39)) != 0)
            {
                fields.Add(HexField("IPA", ipa));
            }
        }

        return Named(id, line) with
        {
            Requester = (uint)(words[0] >> 32),
            Pasid = hasSubstream ? (uint)(words[0] >> 12) & 0xf_ffff : null,
            Address = isPage ? words[2] : null,
            Access = id is not (0x01 or (>= 0x10 and <= 0x13) or 0x07) ? FaultAccess.Unknown
                : (words[1] & (1ul << 34)) != 0 ? FaultAccess.Execute
                : (words[1] & (1ul << 35)) != 0 ? FaultAccess.Read : FaultAccess.Write,
            Fields = fields,
        };
    }

    private static Fault Named(int id, in LogLine line)
    {
        (FaultKind kind, string name, string meaning) = MeaningOf(id);
        return new()
        {
            Source = FaultSource.ArmSmmuV3,
            Kind = kind,
            Code = id,
            Reason = name,
            Section = Section,
            Meaning = meaning,
            Line = line.Number,
            Time = line.Time,
            Text = line.Text,
        };
    }

    private static int IdOf(string name)
    {
        for (int id = 1; id < 0x26; id++)
        {
            if (string.Equals(MeaningOf(id).Name, name, StringComparison.Ordinal))
            {
                return id;
            }
        }

        return 0;
    }

    private static (FaultKind Kind, string Name, string Meaning) MeaningOf(int id) => id switch
    {
        0x01 => (FaultKind.RequestRefused, "F_UUT", "The SMMU does not support this kind of transaction."),
        0x02 => (FaultKind.DeviceUnknown, "C_BAD_STREAMID", "The stream ID is beyond the stream table: the device is not described to the kernel, or with a wrong ID."),
        0x03 => (FaultKind.TableError, "F_STE_FETCH", "The stream table cannot be read."),
        0x04 => (FaultKind.DeviceUnknown, "C_BAD_STE", "The stream table's entry is not valid: the device has no domain, or the entry is malformed."),
        0x05 => (FaultKind.RequestRefused, "F_BAD_ATS_TREQ", "The device asked for a translation (ATS), which is not enabled for it."),
        0x06 => (FaultKind.DeviceUnknown, "F_STREAM_DISABLED", "A transaction without substream came to a stream whose entry does not allow one."),
        0x07 => (FaultKind.RequestRefused, "F_TRANSL_FORBIDDEN", "The device says that its address is translated (ATS), which its stream may not."),
        0x08 => (FaultKind.PasidUnknown, "C_BAD_SUBSTREAMID", "The substream ID (PASID) is not one of the stream's."),
        0x09 => (FaultKind.TableError, "F_CD_FETCH", "A context descriptor cannot be read."),
        0x0a => (FaultKind.PasidUnknown, "C_BAD_CD", "The context descriptor is not valid: no address space for this PASID, or a malformed one."),
        0x0b => (FaultKind.TableError, "F_WALK_EABT", "Memory refused an access to a translation table."),
        0x10 => (FaultKind.NotMapped, "F_TRANSLATION", "The tables map nothing at the address."),
        0x11 => (FaultKind.AddressTooWide, "F_ADDR_SIZE", "An address has more bits than the SMMU or its tables allow."),
        0x12 => (FaultKind.Denied, "F_ACCESS", "The page is mapped, and its access flag is 0, which the hardware does not set here."),
        0x13 => (FaultKind.Denied, "F_PERMISSION", "The page is mapped, and not for this access."),
        0x20 => (FaultKind.CacheConflict, "F_TLB_CONFLICT", "Two cached translations match the address: a missing invalidation."),
        0x21 => (FaultKind.CacheConflict, "F_CFG_CONFLICT", "Two cached configurations match the stream: a missing invalidation."),
        0x24 => (FaultKind.NotMapped, "E_PAGE_REQUEST", "A hint that a page will be asked for: no fault."),
        0x25 => (FaultKind.TableError, "F_VMS_FETCH", "The structure of a virtual machine cannot be read."),
        _ => (FaultKind.Unknown, $"event 0x{id:x2}", "The specification has no event of this number."),
    };

    [GeneratedRegex(@"event (?<id>0x[0-9a-f]{2}) received:", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Header();

    [GeneratedRegex(@"(?:^|:|\s)\s*(?<word>0x[0-9a-f]{16})\s*$", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Raw();

    [GeneratedRegex(
        @"event: (?<name>[A-Z_]+) client: (?<client>\(unassigned sid\)|\S+) sid: (?<sid>0x[0-9a-f]+|0) ssid: (?<ssid>0x[0-9a-f]+|0)"
        + @"(?: iova: (?<iova>0x[0-9a-f]+|0) ipa: (?<ipa>0x[0-9a-f]+|0)| fetch_addr: (?<fetch>0x[0-9a-f]+|0))?",
        RegexOptions.CultureInvariant)]
    private static partial Regex Decoded();

    [GeneratedRegex(
        @"\b(?<priv>priv|unpriv) (?<inst>inst|data) (?<rw>read|write) (?<stage>s1|s2) ""(?<class>[^""]*)""", RegexOptions.CultureInvariant)]
    private static partial Regex Attributes();

    [GeneratedRegex(@"CMDQ error \(cons 0x[0-9a-f]+\): (?<why>.+)|CMD_SYNC timeout at 0x[0-9a-f]+|CMDQ timeout", RegexOptions.CultureInvariant)]
    private static partial Regex CommandError();
}
