using System.Globalization;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Recorder.Tests;

/// <summary>
/// A machine's tracefs, sysfs and procfs in a folder, which behaves as the kernel does: an instance is made with what it holds,
/// is busy while it is read, and takes its switches with it; a probe is busy while it is on anywhere. Any change can be made to
/// fail.
/// </summary>
internal sealed class FakeKernel : TracingFiles, IDisposable
{
    public const int Process = 4711;
    public const long Start = 815;
    public const string Tracing = "sys/kernel/tracing";

    public static readonly string[] SymbolsOf61 =
    [
        "T iommu_map", "T iommu_map_atomic", "T iommu_map_sg", "T iommu_map_sg_atomic", "T iommu_unmap", "T iommu_unmap_fast",
        "t __iommu_attach_device", "T iommu_domain_free", "t iommu_group_show_type", "t iommu_dma_map_page", "t iommu_dma_map_sg",
        "t iommu_dma_unmap_page", "T iommu_dma_prepare_msi", "t iommu_pgsize.isra.0", "t intel_iommu_attach_device",
    ];

    private readonly string _folder;
    private readonly List<string> _changes = [];
    private FakePipe? _pipe;

    private FakeKernel(string folder)
        : base(folder)
    {
        _folder = folder;
        Add("proc/kallsyms", string.Concat(SymbolsOf61.Select(static symbol => $"ffffffff81000000 {symbol}\n")));
        Add("proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 1048576 kB\n");
        Add("proc/cmdline", "quiet intel_iommu=on systemd.hostname=vault ip=10.0.0.1::::vault:eth0");
        Add("proc/filesystems", "nodev\ttracefs\n");
        Add("proc/sys/kernel/osrelease", "6.1.0-50-amd64\n");
        Add("proc/sys/kernel/version", "#1 SMP Debian\n");
        Add("sys/devices/system/cpu/cpu0/online", "1");
        Add("sys/devices/system/cpu/cpu1/online", "1");
        Add("sys/class/iommu/dmar0/intel-iommu/cap", "d2008c22260206");
        AddProcess(Process, Start);
        Add($"{Tracing}/kprobe_events", "");
        Add($"{Tracing}/available_filter_functions", string.Concat(SymbolsOf61.Select(static symbol => symbol[2..] + "\n")));
        Add(SwitchHolders.Path, "1\n");
        Add($"{Tracing}/kprobe_profile", "");
        Add($"{Tracing}/trace_clock", "[local] global counter uptime perf mono mono_raw boot x86-tsc");
        Add($"{Tracing}/options/irq-info", "1");
        Add($"{Tracing}/options/hex", "1");
        Directory.CreateDirectory(At($"{Tracing}/instances"));
        foreach (string name in new[] { "iommu/map", "iommu/unmap", "iommu/attach_device_to_domain" })
        {
            Add($"{Tracing}/events/{name}/enable", "0");
        }

        AddGroup(0, "DMA-FQ", "0000:00:02.0");
        AddGroup(3, "DMA-FQ", "0000:00:1f.2", "0000:00:1f.3");
    }

    public static FakeKernel Create() => new(Directory.CreateTempSubdirectory("ioasis-kernel").FullName);

    /// <summary>What every change did, in order.</summary>
    public IReadOnlyList<string> Changes => _changes;

    /// <summary>Decides about a change before it is made: its number from 0, and what it is.</summary>
    public Func<int, string, Errno>? Refuse { get; set; }

    /// <summary>What the pipe gives once the recording runs.</summary>
    public string Events { get; set; } = "";

    /// <summary>Whether the pipe gives the states of groups.</summary>
    public bool TellsGroups { get; set; } = true;

    public bool Rooted { get; set; } = true;

    public override bool IsRoot => Rooted;

    public override string Architecture => Processor;

    public string Processor { get; set; } = "x86_64";

    /// <summary>Decides what the kernel says to the place of a probe.</summary>
    public Func<string, Errno> JudgePlace { get; set; } = static _ => Errno.Success;

    public TracingSession Session { get; } = new(Tracing, Process, Start);

    public void Add(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(At(path))!);
        File.WriteAllText(At(path), text);
    }

    public void Remove(string path)
    {
        if (Directory.Exists(At(path)))
        {
            Directory.Delete(At(path), recursive: true);
        }
        else
        {
            File.Delete(At(path));
        }
    }

    public void AddProcess(int process, long start) =>
        Add($"proc/{process}/stat", $"{process} (a ) b) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {start} 999");

    public void AddGroup(int group, string type, params string[] devices)
    {
        string folder = $"sys/kernel/iommu_groups/{group}";
        Add($"{folder}/type", type + "\n");
        Add($"{folder}/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n");
        foreach (string device in devices)
        {
            Add($"{folder}/devices/{device}/vendor", "0x8086\n");
            Add($"{folder}/devices/{device}/device", "0x10d3\n");
        }
    }

    /// <summary>The list of probes.</summary>
    public string[] Probes() => [.. Lines($"{Tracing}/kprobe_events")];

    /// <summary>Whether the kernel may turn probes into jumps.</summary>
    public bool IsOptimizing => TryRead(SwitchHolders.Path) is "1";

    /// <summary>Everything below tracefs, names and texts, and the switch of the kernel's that is not there.</summary>
    public string[] State() =>
    [
        .. Directory.EnumerateFileSystemEntries(At(Tracing), "*", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal)
            .Select(path => Path.GetRelativePath(At(Tracing), path) + (File.Exists(path) ? $": {File.ReadAllText(path)}" : "")),
        $"{SwitchHolders.Path}: {TryRead(SwitchHolders.Path)}",
    ];

    /// <summary>What is there and was not, and what was there and is not.</summary>
    public IEnumerable<string> ChangesSince(string[] state) =>
        State().Except(state, StringComparer.Ordinal).Concat(state.Except(State(), StringComparer.Ordinal));

    public override Errno MakeFolder(string path)
    {
        if (Allow($"mkdir {path}") is var error && error != Errno.Success)
        {
            return error;
        }

        if (Exists(path))
        {
            return Errno.Exists;
        }

        Add($"{path}/trace_clock", "[local] mono");
        Add($"{path}/buffer_size_kb", "7");
        Add($"{path}/tracing_on", "1");
        Add($"{path}/options/hex", "1");
        Add($"{path}/trace_marker", "");
        Add($"{path}/per_cpu/cpu0/stats", "entries: 5\noverrun: 2\ncommit overrun: 1\ndropped events: 0\n");
        Add($"{path}/per_cpu/cpu1/stats", "entries: 5\noverrun: 0\ncommit overrun: 0\ndropped events: 0\n");
        foreach (string system in List($"{Tracing}/events"))
        {
            foreach (string name in List($"{Tracing}/events/{system}"))
            {
                Add($"{path}/events/{system}/{name}/enable", "0");
            }
        }

        return Errno.Success;
    }

    public override Errno RemoveFolder(string path)
    {
        if (Allow($"rmdir {path}") is var error && error != Errno.Success)
        {
            return error;
        }

        if (!Exists(path))
        {
            return Errno.NoEntry;
        }

        if (_pipe is { IsOpen: true })
        {
            return Errno.Busy;
        }

        Remove(path);
        return Errno.Success;
    }

    public override Errno Write(string path, string text)
    {
        if (Allow($"{text} > {path}") is var error && error != Errno.Success)
        {
            return error;
        }

        if (path.EndsWith("kprobe_events", StringComparison.Ordinal))
        {
            return Exists(path) ? WriteProbe(path, text) : Errno.NoEntry;
        }

        if (!Exists(path))
        {
            return Errno.NoEntry;
        }

        File.WriteAllText(At(path), text);
        return Errno.Success;
    }

    public override Errno OpenPipe(string path, out ITracePipe? pipe)
    {
        pipe = null;
        if (Allow($"open {path}") is var error && error != Errno.Success)
        {
            return error;
        }

        _pipe = new(this, path[..^"/trace_pipe".Length]);
        pipe = _pipe;
        return Errno.Success;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public bool IsOn(string instance, string name) =>
        Directory.Exists(At($"{instance}/events")) && Directory.EnumerateDirectories(At($"{instance}/events"))
            .Any(system => TryRead($"{instance}/events/{Path.GetFileName(system)}/{name}/enable") is "1");

    private Errno Allow(string change)
    {
        int number = _changes.Count;
        _changes.Add(change);
        return Refuse?.Invoke(number, change) ?? Errno.Success;
    }

    private Errno WriteProbe(string path, string text)
    {
        List<string> lines = [.. File.ReadAllLines(At(path))];
        string[] name = text[2..].Split(' ')[0].Split('/');
        string[] instances = [.. List($"{Tracing}/instances").Select(static instance => $"{Tracing}/instances/{instance}"), Tracing];
        if (text.StartsWith("p:", StringComparison.Ordinal))
        {
            if (JudgePlace(text.Split(' ')[1]) is var error && error != Errno.Success)
            {
                return error;
            }

            lines.Add(text);
            foreach (string instance in instances)
            {
                Add($"{instance}/events/{name[0]}/{name[1]}/enable", "0");
            }
        }
        else
        {
            if (instances.Any(instance => TryRead($"{instance}/events/{name[0]}/{name[1]}/enable") is "1"))
            {
                return Errno.Busy;
            }

            if (lines.RemoveAll(line => line.StartsWith($"p:{name[0]}/{name[1]} ", StringComparison.Ordinal)) == 0)
            {
                return Errno.NoEntry;
            }

            foreach (string instance in instances)
            {
                Remove($"{instance}/events/{name[0]}/{name[1]}");
                if (List($"{instance}/events/{name[0]}").Count == 0)
                {
                    Remove($"{instance}/events/{name[0]}");
                }
            }
        }

        File.WriteAllText(At(path), string.Concat(lines.Select(static line => line + "\n")));
        return Errno.Success;
    }

    /// <summary>Gives the groups' states while their probe is on, and the events once the map's switch is.</summary>
    private sealed class FakePipe(FakeKernel kernel, string instance) : ITracePipe
    {
        private string _waiting = "";
        private int _position;
        private bool _hasToldGroups;
        private bool _hasToldEvents;

        public bool IsOpen { get; private set; } = true;

        public Errno TryRead(Span<byte> into, out int count)
        {
            if (!_hasToldGroups && kernel.TellsGroups && kernel.IsOn(instance, "ioasis_group"))
            {
                _waiting += GroupLine(0) + "  x-1  [000] ..... 1.000002: ioasis_attach: (f+0x0/0x1) domain=0x1 dev=\"a\"\n" + GroupLine(3);
                _hasToldGroups = true;
            }

            if (!_hasToldEvents && kernel.IsOn(instance, "map"))
            {
                _waiting += kernel.Events;
                _hasToldEvents = true;
            }

            // A part of a page at a time, as the kernel gives it; lines are cut anywhere.
            count = Math.Min(Math.Min(into.Length, 4001), _waiting.Length - _position);
            Encoding.ASCII.GetBytes(_waiting.AsSpan(_position, count), into);
            _position += count;
            return Errno.Success;
        }

        public void Dispose() => IsOpen = false;

        private static string GroupLine(int group)
        {
            ulong[] words = new ulong[ProbeCatalogue.GroupWords];
            words[18] = (ulong)group;
            words[19] = words[21] = 0xff359c4c41a89890 + ((ulong)group * 0xc0);
            string text = string.Join(',', words.Select(static word => string.Create(CultureInfo.InvariantCulture, $"0x{word:x}")));
            return $"             x-1     [001] ..... 1.000001: ioasis_group: (iommu_group_show_type+0x0/0x170) name=\"{group}\" words={{{text}}} t19=11 t20=(fault) t21=11\n";
        }
    }
}
