using System.Text.RegularExpressions;

namespace Ioasis.Explain.Lines;

/// <summary>Context and global faults of SMMUv1 and v2 and of Qualcomm's variant, decoded from their registers (IHI 0062, 16.6.5, FSR and FSYNR0).</summary>
internal sealed partial class SmmuLines : LineParser
{
    private const string Section = "Arm SMMUv2 architecture (IHI 0062), SMMU_CBn_FSR";
    private const ulong WriteBit = 1 << 4;
    private const ulong PrivilegedBit = 1 << 5;
    private const ulong InstructionBit = 1 << 6;
    private const ulong WalkBit = 1 << 10;

    private Fault? _open;

    /// <inheritdoc/>
    public override bool TryRead(in LogLine line, List<Fault> faults)
    {
        if (ContextFault().Match(line.Text) is { Success: true } context)
        {
            Flush(faults);
            _open = MakeContext(context, line);
            return true;
        }

        if (_open is { } open && Decoded().Match(line.Text) is { Success: true } decoded)
        {
            _open = open with
            {
                Requester = Hex(decoded.Groups["sid"]) is { } sid ? (uint)sid : open.Requester,
                Fields = decoded.Groups["words"].Success ? [.. open.Fields, new("kernel's words", decoded.Groups["words"].Value)] : open.Fields,
            };
            return true;
        }

        if (Unknown().Match(line.Text) is { Success: true } unknown)
        {
            faults.Add(new()
            {
                Source = FaultSource.ArmSmmu,
                Kind = FaultKind.DeviceUnknown,
                Requester = (uint?)Hex(unknown.Groups["sid"]),
                Reason = "unknown stream",
                Section = "Arm SMMUv2 architecture (IHI 0062), SMMU_sGFSR.USF",
                Meaning = "No stream of this ID is set up: the device has no iommus property (or an IORT entry) for this ID, or its driver has not attached it yet.",
                Line = line.Number,
                Time = line.Time,
                Text = unknown.Value,
            });
            return true;
        }

        if (GlobalFault().Match(line.Text) is { Success: true } global)
        {
            ulong syndrome = Hex(global.Groups["syndrome1"].ValueSpan);
            ulong status = Hex(global.Groups["status"].ValueSpan);
            faults.Add(new()
            {
                Source = FaultSource.ArmSmmu,
                Kind = (status & 2) != 0 ? FaultKind.DeviceUnknown : FaultKind.TableError,
                Requester = (uint)(syndrome & 0xffff),
                Code = (int)(uint)status,
                Reason = (status & 2) != 0 ? "unidentified stream (USF)" : "global fault",
                Section = "Arm SMMUv2 architecture (IHI 0062), SMMU_sGFSR",
                Meaning = (status & 2) != 0
                    ? "A transaction has a stream ID that no stream mapping matches."
                    : "The SMMU met a fault that belongs to no context: a configuration access, a stream that matches twice, or an external abort.",
                Fields = [HexField("GFSR", status), HexField("GFSYNR1", syndrome)],
                Line = line.Number,
                Time = line.Time,
                Text = global.Value,
            });
            return true;
        }

        return line.Text.Contains("Unexpected global fault", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public override void Flush(List<Fault> faults)
    {
        if (_open is { } open)
        {
            _open = null;
            faults.Add(open);
        }
    }

    private static Fault MakeContext(Match context, in LogLine line)
    {
        ulong status = Hex(context.Groups["fsr"].ValueSpan);
        ulong syndrome = Hex(context.Groups["fsynr"].ValueSpan);
        (FaultKind kind, string name, string meaning) = MeaningOf(status);
        List<FaultField> fields = [HexField("FSR", status), HexField("FSYNR0", syndrome), new("context bank", context.Groups["cb"].Value)];
        if ((syndrome & 3) is not 0 and var level)
        {
            fields.Add(new("level of the walk", $"{level}"));
        }

        Add((syndrome & PrivilegedBit) != 0, "privilege", "privileged");
        Add((syndrome & WalkBit) != 0, "walk", "the walk of the tables itself faulted");
        Add((status & (1ul << 31)) != 0, "more", "further faults were lost (MULTI)");
        Add((status & (1ul << 30)) != 0, "stall", "the transaction waits (SS)");
        return new()
        {
            Source = context.Groups["qcom"].Success ? FaultSource.Qualcomm : FaultSource.ArmSmmu,
            Kind = kind,
            Access = (syndrome & InstructionBit) != 0 ? FaultAccess.Execute : (syndrome & WriteBit) != 0 ? FaultAccess.Write : FaultAccess.Read,
            Requester = Hex(context.Groups["frsynra"]) is { } stream ? (uint)(stream & 0xffff) : null,
            Address = Hex(context.Groups["iova"].ValueSpan),
            Code = (int)(uint)status,
            Reason = name,
            Section = Section,
            Meaning = meaning,
            Fields = fields,
            Line = line.Number,
            Time = line.Time,
            Text = context.Value,
        };

        void Add(bool isSet, string key, string value)
        {
            if (isSet)
            {
                fields.Add(new(key, value));
            }
        }
    }

    private static (FaultKind Kind, string Name, string Meaning) MeaningOf(ulong status) => status switch
    {
        _ when (status & (1 << 1)) != 0 => (FaultKind.NotMapped, "translation fault (TF)", "The context's tables map nothing at the address."),
        _ when (status & (1 << 3)) != 0 => (FaultKind.Denied, "permission fault (PF)", "The page is mapped, and not for this access."),
        _ when (status & (1 << 2)) != 0 => (
            FaultKind.Denied, "access flag fault (AFF)", "The page is mapped, and its access flag is 0, which the hardware does not set here."),
        _ when (status & (1 << 4)) != 0 => (FaultKind.TableError, "external fault (EF)", "Memory refused the access itself, or one to a table."),
        _ when (status & (1 << 5)) != 0 => (FaultKind.CacheConflict, "TLB match conflict (TLBMCF)", "Two cached translations match the address: a missing invalidation."),
        _ when (status & (1 << 6)) != 0 => (FaultKind.CacheConflict, "TLB lock fault (TLBLKF)", "The translation cache is locked."),
        _ when (status & (1 << 7)) != 0 => (FaultKind.AddressTooWide, "address size fault (ASF)", "An address has more bits than the context allows."),
        _ when (status & (1 << 8)) != 0 => (FaultKind.RequestRefused, "unsupported upstream transaction (UUT)", "The SMMU does not support this kind of transaction."),
        _ => (FaultKind.Unknown, "no bit of FSR is set", "The register says nothing: another handler was faster, or the fault is gone."),
    };

    [GeneratedRegex(
        @"(?:(?<qcom>qcom[-_]iommu)\S* )?\S*:? ?Unhandled (?:arm-smmu )?context fault: fsr=(?<fsr>0x[0-9a-f]+), ?iova=(?<iova>0x[0-9a-f]+), ?fsynr=(?<fsynr>0x[0-9a-f]+)"
        + @"(?:, ?cbfrsynra=(?<frsynra>0x[0-9a-f]+))?(?:, ?cb ?=(?<cb>\d+))?",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex ContextFault();

    [GeneratedRegex(@"(?:FSR|FSYNR0) += [0-9a-f]{8} \[(?<words>[^\]]*)\](?:, SID=(?<sid>0x[0-9a-f]+))?", RegexOptions.CultureInvariant)]
    private static partial Regex Decoded();

    [GeneratedRegex(@"Blocked unknown Stream ID (?<sid>0x[0-9a-f]+)[^\r\n]*", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Unknown();

    [GeneratedRegex(
        @"GFSR (?<status>0x[0-9a-f]{8}), GFSYNR0 0x[0-9a-f]{8}, GFSYNR1 (?<syndrome1>0x[0-9a-f]{8})", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex GlobalFault();
}
