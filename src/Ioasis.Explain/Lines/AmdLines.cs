using System.Text.RegularExpressions;

namespace Ioasis.Explain.Lines;

/// <summary>Events of AMD's IOMMU as Linux prints them from 2.6 to 7, with the device inside the brackets or before "AMD-Vi:".</summary>
internal sealed partial class AmdLines : LineParser
{
    private const string Events = "AMD I/O Virtualization Technology specification, 2.5";

    // Flags of an event are bits 63:48 of its first eight bytes (2.5.3, IO_PAGE_FAULT).
    private const ulong GuestFlag = 1 << 0;
    private const ulong NoExecuteFlag = 1 << 1;
    private const ulong UserFlag = 1 << 2;
    private const ulong InterruptFlag = 1 << 3;
    private const ulong PresentFlag = 1 << 4;
    private const ulong WriteFlag = 1 << 5;
    private const ulong PermissionFlag = 1 << 6;
    private const ulong ReservedFlag = 1 << 7;
    private const ulong TranslationFlag = 1 << 8;

    /// <inheritdoc/>
    public override bool TryRead(in LogLine line, List<Fault> faults)
    {
        if (Event().Match(line.Text) is { Success: true } logged)
        {
            faults.Add(Make(logged, line));
            return true;
        }

        if (!TimedOut().IsMatch(line.Text))
        {
            return false;
        }

        faults.Add(new()
        {
            Source = FaultSource.Amd,
            Kind = FaultKind.Command,
            Reason = "completion-wait timed out",
            Section = Events,
            Meaning = "The IOMMU did not confirm a command in time: a device that does not answer the invalidation of its translation cache, or an IOMMU that has stopped.",
            Line = line.Number,
            Time = line.Time,
            Text = line.Text[line.Text.IndexOf("AMD-Vi", StringComparison.Ordinal)..],
        });
        return true;
    }

    private static Fault Make(Match logged, in LogLine line)
    {
        string name = logged.Groups["name"].Value;
        Dictionary<string, string> values = new(StringComparer.Ordinal);
        foreach (Match field in Field().Matches(logged.Groups["fields"].Value))
        {
            _ = values.TryAdd(field.Groups["key"].Value, field.Groups["value"].Value);
        }

        ulong flags = values.TryGetValue("flags", out string? text) ? Hex(text) : 0;
        (FaultKind kind, string section, string meaning) = MeaningOf(name, flags);
        string? device = values.TryGetValue("device", out string? inside) ? PciAddress(inside)
            : logged.Groups["before"].Success ? PciAddress(logged.Groups["before"].Value) : null;
        bool isPage = name is "IO_PAGE_FAULT" or "INVALID_DEVICE_REQUEST";
        List<FaultField> fields = [.. values.Where(static v => v.Key is not ("device" or "address" or "pasid" or "flags"))
            .Select(static v => new FaultField(v.Key, v.Value))];
        if (values.ContainsKey("flags"))
        {
            fields.Add(new("flags", name is "IO_PAGE_FAULT" ? $"0x{flags:x4}: {FlagsOf(flags)}" : $"0x{flags:x4}"));
        }

        return new()
        {
            Source = FaultSource.Amd,
            Kind = kind,
            Access = !isPage ? FaultAccess.Unknown
                : (flags & InterruptFlag) != 0 ? FaultAccess.Interrupt
                : (flags & TranslationFlag) != 0 ? FaultAccess.TranslationRequest
                : name is "INVALID_DEVICE_REQUEST" ? FaultAccess.Unknown
                : (flags & WriteFlag) != 0 ? FaultAccess.Write : FaultAccess.Read,
            Device = device,
            Pasid = values.TryGetValue("pasid", out string? pasid) && (Hex(pasid) is not 0 and var number) ? (uint)number : null,
            Address = values.TryGetValue("address", out string? address) ? Hex(address)
                : values.TryGetValue("gpa", out address) || values.TryGetValue("spa", out address) ? Hex(address) : null,
            Reason = name,
            Section = section,
            Meaning = meaning,
            Fields = fields,
            Line = line.Number,
            Time = line.Time,
            Text = logged.Value.Trim(),
        };
    }

    private static (FaultKind Kind, string Section, string Meaning) MeaningOf(string name, ulong flags) => name switch
    {
        "IO_PAGE_FAULT" when (flags & InterruptFlag) != 0 => (
            FaultKind.Interrupt, Events + ".3", "An interrupt message was refused: its entry of the interrupt table is not there, or is not for it."),
        "IO_PAGE_FAULT" when (flags & PresentFlag) == 0 => (FaultKind.NotMapped, Events + ".3", "The device's tables map nothing at the address."),
        "IO_PAGE_FAULT" when (flags & ReservedFlag) != 0 => (
            FaultKind.TableError, Events + ".3", "An entry of the device's tables has bits that must be 0."),
        "IO_PAGE_FAULT" => (FaultKind.Denied, Events + ".3", "The page is mapped, and not for this access."),
        "ILLEGAL_DEV_TABLE_ENTRY" => (FaultKind.TableError, Events + ".2", "The device's entry of the device table is malformed."),
        "DEV_TAB_HARDWARE_ERROR" => (FaultKind.TableError, Events + ".4", "The device table cannot be read."),
        "PAGE_TAB_HARDWARE_ERROR" => (FaultKind.TableError, Events + ".5", "A page table cannot be read."),
        "ILLEGAL_COMMAND_ERROR" => (FaultKind.Command, Events + ".6", "The kernel gave the IOMMU a command that it does not have."),
        "COMMAND_HARDWARE_ERROR" => (FaultKind.Command, Events + ".7", "The IOMMU cannot read its command buffer."),
        "IOTLB_INV_TIMEOUT" => (FaultKind.Command, Events + ".8", "A device did not confirm the invalidation of its translation cache (ATS) in time."),
        "INVALID_DEVICE_REQUEST" => (
            FaultKind.RequestRefused, Events + ".9", "The device may not make this type of request: a PASID, a translation request or an address that its entry does not allow."),
        "INVALID_PPR_REQUEST" => (FaultKind.RequestRefused, Events + ".10", "A page request of the device is malformed, or the device may make none."),
        "EVENT_COUNTER_ZERO" => (FaultKind.Unknown, Events + ".11", "A performance counter has run over: no fault."),
        "RMP_PAGE_FAULT" => (
            FaultKind.Denied, Events + ".13", "The page belongs to a confidential guest, or to nobody, in the reverse map (SEV-SNP)."),
        "RMP_HW_ERROR" => (FaultKind.TableError, Events + ".14", "The reverse map (SEV-SNP) cannot be read."),
        _ => (FaultKind.Unknown, Events, "The specification has no event of this name."),
    };

    private static string FlagsOf(ulong flags)
    {
        List<string> words = [(flags & PresentFlag) != 0 ? "present" : "not present"];
        words.Add((flags & InterruptFlag) != 0 ? "interrupt" : (flags & TranslationFlag) != 0 ? "translation request" : (flags & WriteFlag) != 0 ? "write" : "read");
        Add(PermissionFlag, "no permission");
        Add(ReservedFlag, "reserved bits set");
        Add(GuestFlag, "guest address (PASID)");
        Add(UserFlag, "user");
        Add(NoExecuteFlag, "execute");
        return string.Join(", ", words);

        void Add(ulong flag, string word)
        {
            if ((flags & flag) != 0)
            {
                words.Add(word);
            }
        }
    }

    [GeneratedRegex(
        @"(?:(?<before>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): )?AMD-Vi: Event logged \[(?<name>[A-Z_]+)(?<fields>[^\]\r\n]*(?:\[\d\]=[^\]\r\n]*)*)\]?",
        RegexOptions.CultureInvariant)]
    private static partial Regex Event();

    [GeneratedRegex(@"(?<key>[a-z_]+(?:\[\d\])?)=(?<value>[^ \]]+)", RegexOptions.CultureInvariant)]
    private static partial Regex Field();

    [GeneratedRegex(@"AMD-Vi: .*[Cc]ompletion-[Ww]ait loop timed out", RegexOptions.CultureInvariant)]
    private static partial Regex TimedOut();
}
