namespace Ioasis.Replay.Input;

/// <summary>An IOMMU of a recorded machine.</summary>
/// <param name="Name">Its name in <c>/sys/class/iommu</c>.</param>
/// <param name="Kind"><c>intel</c>, <c>amd</c>, <c>smmuv3</c>, <c>smmu</c>, <c>riscv</c>, <c>virtio</c> or <c>other</c>.</param>
internal sealed record RecordedIommu(string Name, string Kind);

/// <summary>A device of a recorded machine.</summary>
/// <param name="Name">Its name on its bus.</param>
/// <param name="Group">Its group.</param>
internal sealed record RecordedDevice(string Name, int Group)
{
    /// <summary>The IOMMU in front of it, or null.</summary>
    public string? Iommu { get; init; }

    /// <summary>PCI vendor and device, <c>8086:10d3</c>, or null.</summary>
    public string? PciId { get; init; }

    /// <summary>PCI class, <c>0x020000</c>, or null.</summary>
    public string? PciClass { get; init; }

    /// <summary>The driver that had it when the recording began, or null.</summary>
    public string? Driver { get; init; }
}

/// <summary>IOVAs that a group of a recorded machine could not use.</summary>
/// <param name="Start">First IOVA.</param>
/// <param name="Last">Last IOVA, inclusive.</param>
/// <param name="Kind">The kernel's word: <c>direct</c>, <c>direct-relaxable</c>, <c>reserved</c>, <c>msi</c>.</param>
internal readonly record struct RecordedReservedRegion(ulong Start, ulong Last, string Kind);

/// <summary>A group of a recorded machine.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Type">The type of its default domain: <c>DMA</c>, <c>DMA-FQ</c>, <c>identity</c>, <c>blocked</c>, <c>unmanaged</c>; empty if not known.</param>
internal sealed record RecordedGroup(int Id, string Type)
{
    /// <summary>Its reserved regions.</summary>
    public IReadOnlyList<RecordedReservedRegion> ReservedRegions { get; init; } = [];
}

/// <summary>The domain that a group was attached to when the recording began.</summary>
/// <param name="Address">The kernel's pointer to it, which the probes give with each map.</param>
/// <param name="Group">The group.</param>
/// <param name="Type">Its type, with the words of <see cref="RecordedGroup.Type"/>.</param>
/// <param name="IsDefault">Whether it is the group's default domain, which the kernel's own drivers use.</param>
internal sealed record RecordedDomain(ulong Address, int Group, string Type, bool IsDefault);

/// <summary>A probe that could not run some times: the events are missing.</summary>
/// <param name="Probe">Its event.</param>
/// <param name="Hits">How often its function was entered.</param>
/// <param name="Misses">How often the probe did not run.</param>
internal sealed record RecordedMiss(string Probe, long Hits, long Misses);

/// <summary>How a recording ended.</summary>
/// <param name="Reason"><c>command</c>, <c>duration</c>, <c>interrupt</c>, <c>disk-full</c> or <c>error</c>.</param>
/// <param name="Events">Events that the recorder read from the kernel, or -1.</param>
/// <param name="Status">Exit status of the command, or null.</param>
internal sealed record RecordedEnd(string Reason, long Events, int? Status);

/// <summary>
/// The machine that <c>ioasis record</c> wrote beside the events: lines that begin with <c># ioasis</c>, before the events and
/// after them. Keys and words that are not known are passed over, so that a newer recorder's files can be read.
/// </summary>
internal sealed class RecordedMachine
{
    private static ReadOnlySpan<byte> Prefix => "# ioasis "u8;

    private readonly List<RecordedIommu> _iommus = [];
    private readonly List<RecordedDevice> _devices = [];
    private readonly Dictionary<int, RecordedGroup> _groups = [];
    private readonly List<RecordedDomain> _domains = [];
    private readonly List<string> _events = [];
    private readonly List<string> _probes = [];
    private readonly List<string> _notes = [];
    private readonly Dictionary<int, long> _lost = [];
    private readonly List<RecordedMiss> _misses = [];

    /// <summary>Whether the text is a recording of <c>ioasis record</c>: its first line says so.</summary>
    public bool IsPresent { get; private set; }

    /// <summary>The version of the file's form; 1 is the one that is described in docs/record.md.</summary>
    public int Version { get; private set; }

    /// <summary>Whether the machine is complete and events follow.</summary>
    public bool HasBegun { get; private set; }

    /// <summary>The kernel's release, <c>6.1.0-50-amd64</c>; empty if not known.</summary>
    public string Kernel { get; private set; } = "";

    /// <summary>The machine's architecture, <c>x86_64</c>; empty if not known.</summary>
    public string Architecture { get; private set; } = "";

    /// <summary>The kernel's command line, without what names hosts or users; empty if not known.</summary>
    public string CommandLine { get; private set; } = "";

    /// <summary>The clock of the events, <c>mono</c>; empty if not known.</summary>
    public string Clock { get; private set; } = "";

    /// <summary>The version of the recorder; empty if not known.</summary>
    public string Tool { get; private set; } = "";

    /// <summary>When the recording began, as the recorder's clock had it (ISO 8601); empty if not known.</summary>
    public string Started { get; private set; } = "";

    /// <summary>IOMMUs.</summary>
    public IReadOnlyList<RecordedIommu> Iommus => _iommus;

    /// <summary>Devices that are in a group.</summary>
    public IReadOnlyList<RecordedDevice> Devices => _devices;

    /// <summary>Groups, by number.</summary>
    public IReadOnlyCollection<RecordedGroup> Groups => _groups.Values;

    /// <summary>The domains of the groups when the recording began.</summary>
    public IReadOnlyList<RecordedDomain> Domains => _domains;

    /// <summary>Trace events that were on, <c>iommu:map</c>.</summary>
    public IReadOnlyList<string> Events => _events;

    /// <summary>Probes that were set: event, <c>p</c>, function.</summary>
    public IReadOnlyList<string> Probes => _probes;

    /// <summary>What this kernel could not give, in words.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Events that were lost, by CPU. The kernel's own marks in the text count the same events.</summary>
    public IReadOnlyDictionary<int, long> LostEvents => _lost;

    /// <summary>Probes that did not run each time.</summary>
    public IReadOnlyList<RecordedMiss> Misses => _misses;

    /// <summary>How it ended; null for a recording that was cut off by a crash.</summary>
    public RecordedEnd? End { get; private set; }

    /// <summary>Takes a line, if it is one of the recorder's.</summary>
    /// <param name="line">A line of the text, without its end.</param>
    /// <returns>Whether it began with <c># ioasis</c>.</returns>
    public bool TryLine(ReadOnlySpan<byte> line)
    {
        if (!line.StartsWith(Prefix))
        {
            return false;
        }

        MachineLine words = new(line[Prefix.Length..]);
        string key = words.Next();
        if (key is "recording")
        {
            IsPresent = true;
            Version = (int)Math.Min(words.NextNumber() ?? 0, int.MaxValue);
        }
        else if (HasBegun)
        {
            TrailingLine(key, ref words);
        }
        else
        {
            HeaderLine(key, ref words);
        }

        return true;
    }

    private void HeaderLine(string key, ref MachineLine words)
    {
        switch (key)
        {
            case "begin":
                HasBegun = true;
                break;
            case "kernel":
                (Kernel, Architecture) = (words.Next(), words.Next());
                break;
            case "command-line":
                CommandLine = words.Rest();
                break;
            case "clock":
                Clock = words.Next();
                break;
            case "tool":
                Tool = words.Rest();
                break;
            case "started":
                Started = words.Next();
                break;
            case "iommu":
                _iommus.Add(new(words.Next(), words.Value("kind") ?? "other"));
                break;
            case "group" when words.NextInt() is { } id:
                _groups[id] = new(id, words.Value("type") ?? "") { ReservedRegions = _groups.GetValueOrDefault(id)?.ReservedRegions ?? [] };
                break;
            case "reserved" when words.NextInt() is { } id && words.TryNextRange(out ulong start, out ulong last):
                RecordedGroup group = _groups.GetValueOrDefault(id) ?? new(id, "");
                _groups[id] = group with { ReservedRegions = [.. group.ReservedRegions, new(start, last, words.Next())] };
                break;
            case "device":
                Device(ref words);
                break;
            case "domain" when words.NextAddress() is { } address && words.IntValue("group") is { } id:
                _domains.Add(new(address, id, words.Value("type") ?? "", words.Has("default")));
                break;
            case "event":
                _events.Add(words.Next());
                break;
            case "probe":
                _probes.Add(words.Rest());
                break;
            case "note":
                _notes.Add(words.Rest());
                break;
        }
    }

    private void TrailingLine(string key, ref MachineLine words)
    {
        switch (key)
        {
            case "lost" when words.IntValue("cpu") is { } cpu && words.NumberValue("events") is { } lost:
                _lost[cpu] = lost;
                break;
            case "missed" when words.Value("probe") is { } probe:
                _misses.Add(new(probe, words.NumberValue("hits") ?? 0, words.NumberValue("misses") ?? 0));
                break;
            case "end":
                End = new(words.Value("reason") ?? "", words.NumberValue("events") ?? -1, words.IntValue("status"));
                break;
            case "note":
                _notes.Add(words.Rest());
                break;
        }
    }

    private void Device(ref MachineLine words)
    {
        string name = words.Next();
        if (name.Length > 0 && words.IntValue("group") is { } group)
        {
            _devices.Add(new(name, group)
            {
                Iommu = words.Value("iommu"),
                PciId = words.Value("pci"),
                PciClass = words.Value("class"),
                Driver = words.Value("driver"),
            });
        }
    }
}
