using System.Globalization;
using System.Text.RegularExpressions;
using Ioasis.Explain.Meaning;
using Ioasis.RiscV.Architecture;

namespace Ioasis.Explain.Lines;

/// <summary>Faults of the RISC-V IOMMU and of virtio-iommu: one line each.</summary>
internal sealed partial class OtherLines : LineParser
{
    private const string RiscVSection = "RISC-V IOMMU specification, 4.2";

    /// <inheritdoc/>
    public override bool TryRead(in LogLine line, List<Fault> faults)
    {
        if (RiscVFault().Match(line.Text) is { Success: true } riscv)
        {
            faults.Add(MakeRiscV(riscv, line));
            return true;
        }

        if (VirtioFault().Match(line.Text) is { Success: true } virtio)
        {
            faults.Add(MakeVirtio(virtio, line));
            return true;
        }

        return false;
    }

    private static Fault MakeRiscV(Match match, in LogLine line)
    {
        FaultCause cause = (FaultCause)int.Parse(match.Groups["cause"].ValueSpan, CultureInfo.InvariantCulture);
        uint device = (uint)Hex(match.Groups["device"].ValueSpan);
        ulong second = Hex(match.Groups["iotval2"].ValueSpan);
        (FaultKind kind, FaultAccess access, string name, string meaning) = MeaningOf(cause);
        bool isGuest = cause is FaultCause.InstructionGuestPageFault or FaultCause.ReadGuestPageFault or FaultCause.WriteGuestPageFault;
        List<FaultField> fields = [];
        if (isGuest)
        {
            fields.Add(HexField("guest physical address", second & ~3ul));
            if ((second & FaultRecord.ImplicitBit) != 0)
            {
                fields.Add(new("walk", "the second stage refused an access of the first stage's walk"));
            }
        }

        bool hasAddress = cause is <= FaultCause.WriteGuestPageFault or (>= FaultCause.MsiPteLoadAccessFault and <= FaultCause.MrifAccessFault);
        return new()
        {
            Source = FaultSource.RiscV,
            Kind = kind,
            Access = access,
            Device = PciAddress(device),
            Requester = device,
            Address = hasAddress || Hex(match.Groups["iotval"].ValueSpan) != 0 ? Hex(match.Groups["iotval"].ValueSpan) : null,
            Code = (int)cause,
            Reason = name,
            Section = RiscVSection,
            Meaning = meaning,
            Fields = fields,
            Line = line.Number,
            Time = line.Time,
            Text = match.Value,
        };
    }

    private static Fault MakeVirtio(Match match, in LogLine line)
    {
        uint endpoint = uint.Parse(match.Groups["endpoint"].ValueSpan, CultureInfo.InvariantCulture);
        string flags = match.Groups["flags"].Value;
        string reason = match.Groups["reason"].Value;
        return new()
        {
            Source = FaultSource.Virtio,
            Kind = reason switch { "domain" => FaultKind.DeviceUnknown, "page" => FaultKind.NotMappedOrDenied, _ => FaultKind.Unknown },
            Access = flags.Contains('W', StringComparison.Ordinal) ? FaultAccess.Write
                : flags.Contains('X', StringComparison.Ordinal) ? FaultAccess.Execute
                : flags.Contains('R', StringComparison.Ordinal) ? FaultAccess.Read : FaultAccess.Unknown,
            Device = PciAddress(endpoint),
            Requester = endpoint,
            Pasid = match.Groups["pasid"].Success ? uint.Parse(match.Groups["pasid"].ValueSpan, CultureInfo.InvariantCulture) : null,
            Address = Hex(match.Groups["address"]),
            Reason = reason + " fault",
            Section = "virtio specification 1.3, 5.13.6.9",
            Meaning = reason switch
            {
                "domain" => "The endpoint is attached to no domain.",
                "page" => "The domain maps nothing at the address, or not for this access.",
                _ => "The device gives no reason.",
            },
            Line = line.Number,
            Time = line.Time,
            Text = match.Value,
        };
    }

    private static (FaultKind Kind, FaultAccess Access, string Name, string Meaning) MeaningOf(FaultCause cause) => cause switch
    {
        FaultCause.InstructionPageFault => Page(FaultAccess.Execute, cause),
        FaultCause.ReadPageFault => Page(FaultAccess.Read, cause),
        FaultCause.WritePageFault => Page(FaultAccess.Write, cause),
        FaultCause.InstructionGuestPageFault => Page(FaultAccess.Execute, cause),
        FaultCause.ReadGuestPageFault => Page(FaultAccess.Read, cause),
        FaultCause.WriteGuestPageFault => Page(FaultAccess.Write, cause),
        FaultCause.InstructionAccessFault => Memory(FaultAccess.Execute, cause),
        FaultCause.ReadAccessFault => Memory(FaultAccess.Read, cause),
        FaultCause.WriteAccessFault => Memory(FaultAccess.Write, cause),
        FaultCause.AllInboundDisallowed => (
            FaultKind.DeviceUnknown, FaultAccess.Unknown, FaultCauses.NameOf(cause)!, "The IOMMU is off (ddtp.iommu_mode is Off) and lets nothing through."),
        FaultCause.DdtEntryNotValid => (
            FaultKind.DeviceUnknown, FaultAccess.Unknown, FaultCauses.NameOf(cause)!, "The device directory has no entry for this device: no driver has given it a domain."),
        FaultCause.TransactionTypeDisallowed => (
            FaultKind.RequestRefused, FaultAccess.Unknown, FaultCauses.NameOf(cause)!,
            "The device may not make this type of request: a PASID, a translation request, a page request, or an address with more bits than its mode has."),
        FaultCause.PdtEntryNotValid => (FaultKind.PasidUnknown, FaultAccess.Unknown, "PDT entry not valid", "The process directory has no entry for the request's process (PASID)."),
        FaultCause.MsiPteLoadAccessFault or FaultCause.MsiPteNotValid or FaultCause.MsiPteMisconfigured or FaultCause.MrifAccessFault
            or FaultCause.MsiPtDataCorruption or FaultCause.MrifDataCorruption => (
            FaultKind.Interrupt, FaultAccess.Interrupt, EnumWords.Of(cause), "An interrupt message of the device could not be delivered: its entry of the MSI table."),
        FaultCause.MsiWriteAccessFault => (
            FaultKind.Interrupt, FaultAccess.Interrupt, EnumWords.Of(cause), "The IOMMU could not send an interrupt of its own."),
        _ when Enum.IsDefined(cause) => (FaultKind.TableError, FaultAccess.Unknown, EnumWords.Of(cause), "A table of the IOMMU is malformed, damaged, or cannot be read."),
        _ => (FaultKind.Unknown, FaultAccess.Unknown, $"cause {(int)cause}", "The specification leaves this number to implementations."),
    };

    private static (FaultKind Kind, FaultAccess Access, string Name, string Meaning) Page(FaultAccess access, FaultCause cause) => (
        FaultKind.NotMappedOrDenied, access, FaultCauses.NameOf(cause)!,
        "The tables map nothing at the address, or not for this access (an access or dirty flag that hardware does not set counts as that too).");

    private static (FaultKind Kind, FaultAccess Access, string Name, string Meaning) Memory(FaultAccess access, FaultCause cause) => (
        FaultKind.TableError, access, FaultCauses.NameOf(cause)!, "Memory itself, or a rule of the platform (PMP, PMA), refused an access to the page or to one of its tables.");

    [GeneratedRegex(
        @"Fault (?<cause>\d+) devid: (?<device>0x[0-9a-f]+) iotval: (?<iotval>[0-9a-f]+) iotval2: (?<iotval2>[0-9a-f]+)", RegexOptions.CultureInvariant)]
    private static partial Regex RiscVFault();

    [GeneratedRegex(
        @"\b(?<reason>domain|page|unknown) fault from EP (?<endpoint>\d+)(?: PASID (?<pasid>\d+))?(?: at (?<address>0x[0-9a-f]+|0) \[(?<flags>[RWX]*)\])?",
        RegexOptions.CultureInvariant)]
    private static partial Regex VirtioFault();
}
