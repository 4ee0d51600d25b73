using System.Globalization;
using System.Text.RegularExpressions;
using Ioasis.Explain.Lines;

namespace Ioasis.Explain;

/// <summary>A range of addresses that a log names.</summary>
/// <param name="First">The first byte.</param>
/// <param name="Last">The last byte.</param>
/// <param name="Owner">What it belongs to: a PCI address, or a word.</param>
internal sealed record LogRange(ulong First, ulong Last, string Owner)
{
    /// <summary>Whether an address lies in it.</summary>
    public bool Contains(ulong address) => address >= First && address <= Last;
}

/// <summary>What a kernel's log says of its machine, where it goes back to the start: memory, PCI functions, reserved regions, options.</summary>
internal sealed partial class LogMachine
{
    private readonly List<LogRange> _memory = [];
    private readonly List<LogRange> _bars = [];
    private readonly List<LogRange> _reserved = [];
    private readonly Dictionary<string, string> _functions = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _drivers = new(StringComparer.Ordinal);

    /// <summary>Physical memory that the firmware calls usable.</summary>
    public IReadOnlyList<LogRange> Memory => _memory;

    /// <summary>Base address registers of PCI functions.</summary>
    public IReadOnlyList<LogRange> Bars => _bars;

    /// <summary>Regions that firmware or kernel keep mapped one to one (RMRR, IVMD).</summary>
    public IReadOnlyList<LogRange> Reserved => _reserved;

    /// <summary>PCI functions that the kernel found, with vendor and device <c>8086:1533</c>.</summary>
    public IReadOnlyDictionary<string, string> Functions => _functions;

    /// <summary>The kernel's command line, if it is there.</summary>
    public string? CommandLine { get; private set; }

    /// <summary>The name by which a driver spoke of a device last, or null.</summary>
    public string? DriverOf(string device) => _drivers.GetValueOrDefault(device);

    /// <summary>The kind of domain that devices get ("Translated", "Passthrough"), or null.</summary>
    public string? DefaultDomain { get; private set; }

    internal bool Read(string text)
    {
        Match match = Driver().Match(text);
        if (match.Success && match.Groups["name"].Value is not ("pci" or "pcieport" or "iommu" or "AMD-Vi"))
        {
            _drivers[match.Groups["device"].Value] = match.Groups["name"].Value;
        }

        if (Usable().Match(text) is { Success: true } usable)
        {
            Add(_memory, usable, "memory");
        }
        else if (Bar().Match(text) is { Success: true } bar)
        {
            Add(_bars, bar, bar.Groups["device"].Value);
        }
        else if (Region().Match(text) is { Success: true } region)
        {
            Add(_reserved, region, region.Groups["device"].Success ? LineParser.PciAddress(region.Groups["device"].Value) ?? "firmware" : "firmware");
        }
        else if (Function().Match(text) is { Success: true } function)
        {
            _functions[function.Groups["device"].Value] = function.Groups["id"].Value;
        }
        else if (Options().Match(text) is { Success: true } options)
        {
            CommandLine = options.Groups["text"].Value.Trim();
        }
        else if (DomainType().Match(text) is { Success: true } type)
        {
            DefaultDomain = type.Groups["type"].Value;
        }
        else
        {
            return false;
        }

        return true;
    }

    private static void Add(List<LogRange> ranges, Match match, string owner)
    {
        ulong first = LineParser.Hex(match.Groups["first"].ValueSpan);
        ulong last = LineParser.Hex(match.Groups["last"].ValueSpan);
        if (first <= last && (first | last) != 0 && !ranges.Exists(r => r.First == first && r.Last == last && string.Equals(r.Owner, owner, StringComparison.Ordinal)))
        {
            ranges.Add(new(first, last, owner));
        }
    }

    [GeneratedRegex(@"(?:^|[\]:] )(?<name>[a-zA-Z][\w-]*) (?<device>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): ", RegexOptions.CultureInvariant)]
    private static partial Regex Driver();

    [GeneratedRegex(@"BIOS-e820: \[mem (?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)\] (?:usable|System RAM)", RegexOptions.CultureInvariant)]
    private static partial Regex Usable();

    [GeneratedRegex(
        @"pci (?<device>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): (?:reg 0x\w+:?|BAR \d+:?)\s+(?:assigned )?\[mem (?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)",
        RegexOptions.CultureInvariant)]
    private static partial Regex Bar();

    [GeneratedRegex(
        @"RMRR base: (?<first>0x[0-9a-f]+) end: (?<last>0x[0-9a-f]+)|identity map for device \[?(?<device>[0-9a-f:.]+)\]? \[(?<first>0x[0-9a-f]+) - (?<last>0x[0-9a-f]+)\]",
        RegexOptions.CultureInvariant)]
    private static partial Regex Region();

    [GeneratedRegex(@"pci (?<device>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): \[(?<id>[0-9a-f]{4}:[0-9a-f]{4})\] type", RegexOptions.CultureInvariant)]
    private static partial Regex Function();

    [GeneratedRegex(@"(?:Kernel command line|Command line): (?<text>.*)", RegexOptions.CultureInvariant)]
    private static partial Regex Options();

    [GeneratedRegex(@"iommu: Default domain type: (?<type>\w+)", RegexOptions.CultureInvariant)]
    private static partial Regex DomainType();
}
