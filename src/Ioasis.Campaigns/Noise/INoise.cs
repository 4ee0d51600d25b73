using System.Globalization;

namespace Ioasis.Campaigns.Noise;

/// <summary>Something that is fed with noise.</summary>
internal interface INoise
{
    /// <summary>What it is called on the command line.</summary>
    string Name { get; }

    /// <summary>Makes everything anew and feeds it with the noise of a seed. The same seed gives the same report.</summary>
    void Run(int seed, NoiseReport report);
}

/// <summary>What was seen with some seeds.</summary>
internal sealed class NoiseReport
{
    // More of the same says nothing new.
    private const int MostFindings = 20;

    private readonly Dictionary<string, long> _counts = new(StringComparer.Ordinal);
    private readonly List<string> _findings = [];
    private NoiseDigest _digest = new();
    private int _seed;

    public IReadOnlyDictionary<string, long> Counts => _counts;

    public IReadOnlyList<string> Findings => _findings;

    public ulong Digest => _digest.Value;

    public void Begin(int seed)
    {
        _seed = seed;
        See((ulong)seed);
        Count("seeds");
    }

    public void Count(string name) => _counts[name] = _counts.GetValueOrDefault(name) + 1;

    public void See(ulong value) => _digest.Add(value);

    public void Find(string what)
    {
        if (_findings.Count < MostFindings)
        {
            _findings.Add(string.Create(CultureInfo.InvariantCulture, $"seed {_seed}: {what}"));
        }
    }
}
