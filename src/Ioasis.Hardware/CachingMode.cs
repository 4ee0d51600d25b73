namespace Ioasis.Hardware;

/// <summary>How much a model of an IOMMU caches.</summary>
public enum CachingMode
{
    /// <summary>Nothing: every request walks every table.</summary>
    None,

    /// <summary>Caches of configurable, finite geometry, as real hardware has them.</summary>
    Realistic,

    /// <summary>
    /// Everything that the specification lets an implementation hold, without limit, until it is explicitly invalidated; and
    /// what is held is used. For finding software that invalidates too little.
    /// </summary>
    Hostile,
}

/// <summary>Which entry of a full set of the IOTLB makes room for a new one.</summary>
internal enum ReplacementPolicy
{
    /// <summary>The one that came first.</summary>
    FirstInFirstOut,

    /// <summary>Any, by a pseudo-random sequence that is the same in every run.</summary>
    Random,
}
