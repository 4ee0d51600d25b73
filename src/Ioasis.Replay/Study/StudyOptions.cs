namespace Ioasis.Replay.Study;

/// <summary>Size and associativity of a cache.</summary>
/// <param name="Entries">Entries, 1 to 65,536.</param>
/// <param name="Ways">Entries of a set, a divisor of <paramref name="Entries"/> that leaves a power of two of sets, at most 64.</param>
internal readonly record struct CacheGeometry(int Entries, int Ways)
{
    /// <summary>The most ways that are simulated.</summary>
    public const int MostWays = 64;

    /// <summary>Whether it can be simulated.</summary>
    public bool IsValid => Entries is >= 1 and <= StudyOptions.LargestSize && Ways is >= 1 and <= MostWays
        && Entries % Ways == 0 && int.IsPow2(Entries / Ways);

    /// <summary>As <c>64x4</c>.</summary>
    public override string ToString() => FormattableString.Invariant($"{Entries}x{Ways}");
}

/// <summary>When devices use mappings of a recording that has no accesses of its own.</summary>
internal enum AssumedUse
{
    /// <summary>Each page once after its map, and once before its unmap.</summary>
    MapAndUnmap,

    /// <summary>Each page once after its map.</summary>
    Map,

    /// <summary>Each page once before its unmap.</summary>
    Unmap,
}

/// <summary>What operations cost, in nanoseconds: the model by which strict and lazy invalidation are compared.</summary>
/// <param name="Command">A command in the invalidation queue.</param>
/// <param name="Wait">Waiting for the queue to complete: a fence and the round trip to the IOMMU.</param>
/// <param name="Read">A memory access of a walk.</param>
internal readonly record struct StudyCosts(double Command, double Wait, double Read)
{
    /// <summary>The defaults: orders of magnitude of a server of today, not a measurement.</summary>
    public static StudyCosts Default { get; } = new(50, 500, 80);
}

/// <summary>What a study looks at.</summary>
internal sealed record StudyOptions
{
    /// <summary>The largest IOTLB that the hit ratio is known for.</summary>
    public const int LargestSize = 1 << 16;

    /// <summary>How the recording is read.</summary>
    public ReplayOptions Reading { get; init; } = new();

    /// <summary>When devices use the mappings, where the recording does not tell.</summary>
    public AssumedUse Use { get; init; }

    /// <summary>Geometries that are simulated with each replacement.</summary>
    public IReadOnlyList<CacheGeometry> Geometries { get; init; } = [new(64, 4), new(256, 8), new(1024, 8)];

    /// <summary>Entries of the IOTLB behind which walks are counted, fully associative.</summary>
    public int WalkedIotlb { get; init; } = 64;

    /// <summary>What operations cost.</summary>
    public StudyCosts Costs { get; init; } = StudyCosts.Default;

    /// <summary>Unmaps that wait at most for one flush when invalidation is lazy.</summary>
    public int LazyCapacity { get; init; } = 256;

    /// <summary>How long an unmap waits at most for its flush, in nanoseconds of the recording's clock.</summary>
    public long LazyLimitNs { get; init; } = 10_000_000;
}
