using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Linux.Discovery;

namespace Ioasis.Recorder;

/// <summary>The lines that describe the recorded machine (docs/record.md): they go before the events.</summary>
internal static class Machine
{
    /// <summary>The version of the file's form.</summary>
    public const int FormatVersion = 1;

    // Keys of the command line whose values name hosts, users or secrets.
    private static readonly string[] PrivateKeys =
        ["hostname", "host", "ip", "nfsroot", "nfsaddrs", "password", "passwd", "passphrase", "secret", "token", "key", "user", "login", "url", "ssid", "wpa", "rd.luks", "cryptdevice", "netdev"];

    /// <summary>The architecture of this machine as Linux names it.</summary>
    public static string Architecture() => RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => "x86_64",
        System.Runtime.InteropServices.Architecture.Arm64 => "aarch64",
        System.Runtime.InteropServices.Architecture.RiscV64 => "riscv64",
        var other => other.ToString().ToLowerInvariant(),
    };

    /// <summary>The machine, a line each.</summary>
    public static IEnumerable<string> Describe(
        TracingFiles files, RecordingPlan plan, IReadOnlyList<GroupDomain> domains, IReadOnlyList<string> probes, IReadOnlyList<string> notes, string version, DateTimeOffset now)
    {
        yield return Line($"recording {FormatVersion}");
        yield return Line($"tool {version}");
        yield return Line($"kernel {files.TryRead("proc/sys/kernel/osrelease") ?? "?"} {files.Architecture} {files.TryRead("proc/sys/kernel/version")}");
        yield return Line($"command-line {CommandLine(files.TryRead("proc/cmdline") ?? "")}");
        yield return Line($"clock {plan.Clock}");
        yield return Line(string.Create(CultureInfo.InvariantCulture, $"started {now.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}"));
        yield return Line(string.Create(CultureInfo.InvariantCulture, $"cpus {Environment.ProcessorCount}"));
        yield return Line(string.Create(CultureInfo.InvariantCulture, $"page-size {Environment.SystemPageSize}"));
        foreach (LinuxIommu iommu in plan.Platform.Iommus)
        {
            yield return Line($"iommu {iommu.Name} kind={Kind(iommu)}");
        }

        foreach (LinuxIommuGroup group in plan.Platform.Groups)
        {
            yield return Line(string.Create(CultureInfo.InvariantCulture, $"group {group.Number} type={group.Type}"));
            foreach (LinuxReservedRegion region in group.ReservedRegions)
            {
                yield return Line(string.Create(
                    CultureInfo.InvariantCulture, $"reserved {group.Number} 0x{region.Range.Start:x}-0x{region.Range.Last:x} {Word(region.Kind)}"));
            }

            foreach (LinuxDevice device in group.Devices)
            {
                yield return Device(group, device);
            }
        }

        foreach (GroupDomain domain in domains)
        {
            yield return Line(string.Create(
                CultureInfo.InvariantCulture, $"domain 0x{domain.Address:x} group={domain.Group} type={domain.Type}{(domain.IsDefault ? " default" : "")}"));
        }

        foreach (string name in plan.Events)
        {
            yield return Line($"event {name}");
        }

        foreach (string probe in probes)
        {
            yield return Line($"probe {probe}");
        }

        foreach (string note in notes)
        {
            yield return Line($"note {note}");
        }

        yield return Line("begin");
        yield return "# tracer: nop";
    }

    /// <summary>One line of the recorder's among the kernel's.</summary>
    public static string Line(string text) => $"# ioasis {text.ReplaceLineEndings(" ")}";

    /// <summary>The kernel's command line without the values that name hosts, users or secrets.</summary>
    public static string CommandLine(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(static word =>
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        string key = equals < 0 ? "" : word[..equals];
        return equals >= 0 && Array.Exists(PrivateKeys, part => IsPart(key, part)) ? $"{key}=…" : word;
    }));

    // systemd.hostname, rd.luks.key, ds=…;seed: a part between dots, dashes or underscores.
    private static bool IsPart(string key, string part)
    {
        int at = key.IndexOf(part, StringComparison.OrdinalIgnoreCase);
        return at >= 0 && (at == 0 || !char.IsAsciiLetterOrDigit(key[at - 1]))
            && (at + part.Length == key.Length || !char.IsAsciiLetterOrDigit(key[at + part.Length]));
    }

    private static string Device(LinuxIommuGroup group, LinuxDevice device)
    {
        string text = string.Create(CultureInfo.InvariantCulture, $"device {device.Name} group={group.Number}");
        text += device.Iommu is null ? "" : $" iommu={device.Iommu}";
        text += device.Vendor is { } vendor && device.Product is { } product
            ? string.Create(CultureInfo.InvariantCulture, $" pci={vendor:x4}:{product:x4}")
            : "";
        text += device.Class is { } kind ? string.Create(CultureInfo.InvariantCulture, $" class=0x{kind:x6}") : "";
        text += device.Driver is null ? "" : $" driver={device.Driver}";
        return Line(text);
    }

    private static string Kind(LinuxIommu iommu) => iommu.Name switch
    {
        { } name when name.StartsWith("dmar", StringComparison.Ordinal) => "intel",
        { } name when name.StartsWith("ivhd", StringComparison.Ordinal) => "amd",
        { } name when name.StartsWith("smmu3", StringComparison.Ordinal) => "smmuv3",
        { } name when name.StartsWith("smmu", StringComparison.Ordinal) => "smmu",
        { } name when name.StartsWith("riscv-iommu", StringComparison.Ordinal) => "riscv",
        { } name when name.StartsWith("virtio", StringComparison.Ordinal) => "virtio",
        _ => "other",
    };

    private static string Word(LinuxReservedRegionKind kind) => kind switch
    {
        LinuxReservedRegionKind.Direct => "direct",
        LinuxReservedRegionKind.DirectRelaxable => "direct-relaxable",
        LinuxReservedRegionKind.Reserved => "reserved",
        LinuxReservedRegionKind.Msi => "msi",
        _ => "other",
    };
}
