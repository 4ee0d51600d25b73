using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>What all caches share: the lock of their changes, the last to be taken, and the count of invalidations.</summary>
internal sealed class CacheState
{
    /// <summary>Held while a cache changes.</summary>
    public readonly IoLock Lock = new();

    /// <summary>Moves with each invalidation, under the lock: what was read from memory before may not be put into a cache after.</summary>
    public long Sequence;
}
