namespace Ioasis.Recorder;

/// <summary>
/// Which functions this kernel has under which names, as <c>/proc/kallsyms</c> lists them, and which of them begin with a call of
/// the function tracer's, as <c>available_filter_functions</c> does.
/// </summary>
internal sealed class KernelSymbols
{
    private readonly Dictionary<string, string?> _probeNames = new(StringComparer.Ordinal);

    private readonly HashSet<string> _traced = new(StringComparer.Ordinal);

    private KernelSymbols()
    {
    }

    /// <summary>Looks for functions by name.</summary>
    public static KernelSymbols Find(TracingFiles files, string tracing, IEnumerable<string> names)
    {
        HashSet<string> wanted = new(names, StringComparer.Ordinal);
        KernelSymbols symbols = new();
        foreach (string line in files.Lines("proc/kallsyms"))
        {
            // ffffffff81a2c3d0 T iommu_map            or, in a module:    ffffffffc0a41230 t arm_smmu_attach_dev	[arm_smmu_v3]
            int kind = line.IndexOf(' ', StringComparison.Ordinal) + 1;
            if (kind == 0 || kind + 2 >= line.Length || line[kind] is not ('t' or 'T' or 'w' or 'W'))
            {
                continue;
            }

            int end = line.IndexOf('\t', kind);
            string name = end < 0 ? line[(kind + 2)..].TrimEnd() : line[(kind + 2)..end];
            if (!wanted.Contains(name))
            {
                continue;
            }

            int module = line.IndexOf('[', kind);
            string probe = module < 0 ? name : $"{line[(module + 1)..].TrimEnd(']', ' ')}:{name}";

            // The kernel does not set a probe on one of two functions of a name (and the older ones set it on either).
            symbols._probeNames[name] = symbols._probeNames.ContainsKey(name) ? null : probe;
        }

        foreach (string line in files.Lines($"{tracing}/available_filter_functions"))
        {
            // iommu_map                               or, in a module:    arm_smmu_attach_dev [arm_smmu_v3]
            int end = line.IndexOf(' ', StringComparison.Ordinal);
            string name = end < 0 ? line : line[..end];
            if (wanted.Contains(name))
            {
                symbols._traced.Add(name);
            }
        }

        return symbols;
    }

    /// <summary>What a probe on this function says as its place; null if there is no such function, or more than one.</summary>
    public string? ProbeName(string function) => _probeNames.GetValueOrDefault(function);

    /// <summary>Whether the function begins with the function tracer's call, through which a probe at its entry is served.</summary>
    public bool IsTraced(string function) => _traced.Contains(function);

    /// <summary>Whether there is exactly one such function.</summary>
    public bool Has(string function) => ProbeName(function) is not null;
}
