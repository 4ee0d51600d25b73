using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// Caches that hold whatever chapter 6 lets them hold, as long as it lets them: the context cache, the PASID cache, and
/// in <see cref="HostileTranslations"/> the paging-structure caches and the IOTLB. Entries that fault are held only in caching mode (section 6.1). What
/// an invalidation does not name stays. Tags are those of Table 17.
/// </summary>
internal sealed class HostileCache(CacheState state, bool cachingMode)
{
    private readonly record struct ContextTag(ContextWords Words, ushort? DomainId);

    private readonly record struct PasidTag(PasidWords Words, ushort DomainId);

    private readonly Dictionary<ushort, ContextTag> _contexts = [];
    private readonly Dictionary<(ushort SourceId, uint Pasid), PasidTag> _pasids = [];

    /// <summary>The caches of translations.</summary>
    public HostileTranslations Translations { get; } = new(state, cachingMode);

    public bool TryFindContext(ushort sourceId, bool scalable, out ContextWords words)
    {
        using (state.Lock.Acquire())
        {
            bool found = _contexts.TryGetValue(sourceId, out ContextTag tag) && tag.Words.IsScalable == scalable;
            words = tag.Words;
            return found;
        }
    }

    /// <summary>Adds an entry that does not fault; in legacy mode it is tagged with its domain (section 6.2.1).</summary>
    public void AddContext(in Request request, in ContextWords words, ushort? domainId)
    {
        using (state.Lock.Acquire())
        {
            if (request.FillSequence == state.Sequence)
            {
                _contexts[request.SourceId] = new(words, domainId);
            }
        }
    }

    /// <summary>Adds an entry that faults, in caching mode; in legacy mode it is tagged with domain 0 (section 6.2.2).</summary>
    public void AddFaultyContext(in Request request, in ContextWords words)
    {
        if (cachingMode)
        {
            AddContext(request, words, words.IsScalable ? null : (ushort)0);
        }
    }

    public bool TryFindPasid(ushort sourceId, uint pasid, out PasidWords words)
    {
        using (state.Lock.Acquire())
        {
            bool found = _pasids.TryGetValue((sourceId, pasid), out PasidTag tag);
            words = tag.Words;
            return found;
        }
    }

    public void AddPasid(in Request request, uint pasid, in PasidWords words) => AddPasid(request, pasid, words, (ushort)words.Second);

    /// <summary>Adds an entry that faults, in caching mode, tagged with domain 0 (section 6.2.3).</summary>
    public void AddFaultyPasid(in Request request, uint pasid, in PasidWords words)
    {
        if (cachingMode)
        {
            AddPasid(request, pasid, words, 0);
        }
    }

    private void AddPasid(in Request request, uint pasid, in PasidWords words, ushort domainId)
    {
        using (state.Lock.Acquire())
        {
            if (request.FillSequence == state.Sequence)
            {
                _pasids[(request.SourceId, pasid)] = new(words, domainId);
            }
        }
    }

    // The following under the cache lock.

    /// <summary>Everything.</summary>
    public void Clear()
    {
        _contexts.Clear();
        _pasids.Clear();
        Translations.Clear();
    }

    /// <summary>An invalidation of the context cache (section 6.5.2.1). Entries without domain match any.</summary>
    public void InvalidateContexts(in ContextInvalidation invalidation)
    {
        foreach ((ushort sourceId, ContextTag tag) in _contexts)
        {
            if (invalidation.Matches(sourceId, tag.DomainId))
            {
                _contexts.Remove(sourceId);
            }
        }
    }

    /// <summary>An invalidation of the PASID cache (section 6.5.2.2).</summary>
    public void InvalidatePasids(in PasidInvalidation invalidation)
    {
        foreach (((ushort sourceId, uint pasid), PasidTag tag) in _pasids)
        {
            if (invalidation.Matches(tag.DomainId, pasid))
            {
                _pasids.Remove((sourceId, pasid));
            }
        }
    }
}

/// <summary>An invalidation of the context cache.</summary>
internal readonly record struct ContextInvalidation(InvalidationGranularity Granularity, ushort DomainId, ushort SourceId, int FunctionMask)
{
    /// <summary>Whether an entry is meant; without a domain tag, the domain does not count (section 6.5.2.1).</summary>
    public bool Matches(ushort sourceId, ushort? domainId)
    {
        // Table 21: masks bit 2, bits 2:1, bits 2:0.
        uint ignored = FunctionMask switch { 0 => 0u, 1 => 4u, 2 => 6u, _ => 7u };
        return Granularity switch
        {
            InvalidationGranularity.Domain => domainId is null || domainId == DomainId,
            InvalidationGranularity.Selective => ((sourceId ^ SourceId) & ~ignored & 0xffff) == 0 && (domainId is null || domainId == DomainId),
            _ => true,
        };
    }
}

/// <summary>An invalidation of the PASID cache.</summary>
internal readonly record struct PasidInvalidation(PasidCacheGranularity Granularity, ushort DomainId, uint Pasid)
{
    /// <summary>Whether an entry is meant.</summary>
    public bool Matches(ushort domainId, uint pasid) => Granularity switch
    {
        PasidCacheGranularity.Domain => domainId == DomainId,
        PasidCacheGranularity.Pasid => domainId == DomainId && pasid == Pasid,
        _ => true,
    };
}

/// <summary>
/// An invalidation of the IOTLB and of paging-structure caches, by an IOTLB descriptor (section 6.5.2.3, Table 23) or a PASID-based one (section
/// 6.5.2.4, Table 24).
/// </summary>
internal readonly record struct TranslationInvalidation
{
    /// <summary>PASID-based: first-stage and nested mappings of one PASID, or all of them.</summary>
    public bool IsPasidBased { get; init; }

    /// <summary>Everything, not PASID-based.</summary>
    public bool IsGlobal { get; init; }

    public ushort DomainId { get; init; }

    public uint Pasid { get; init; }

    /// <summary>A range only, <see cref="Address"/> and <see cref="SizeLog2"/>.</summary>
    public bool HasRange { get; init; }

    /// <summary>IH: entries that lead to tables were not changed.</summary>
    public bool LeavesOnly { get; init; }

    /// <summary>First byte of the range.</summary>
    public ulong Address { get; init; }

    /// <summary>log2 of the bytes of the range, 12 to 64.</summary>
    public int SizeLog2 { get; init; }

    /// <summary>The range that an address and its mask name (Table 22).</summary>
    public static TranslationInvalidation WithRange(in TranslationInvalidation invalidation, ulong address, int mask)
    {
        int size = Math.Min(64, 12 + mask);
        return invalidation with
        {
            HasRange = true,
            SizeLog2 = size,
            Address = size == 64 ? 0 : address & ~((1ul << size) - 1),
        };
    }

    /// <summary>Whether a range of 2^<paramref name="sizeLog2"/> bytes around an address overlaps that of the invalidation.</summary>
    public bool Overlaps(ulong address, int sizeLog2)
    {
        int size = Math.Max(sizeLog2, SizeLog2);
        return size >= 64 || (address ^ Address) >> size == 0;
    }

    /// <summary>Whether an IOTLB entry is meant.</summary>
    /// <param name="type">What made it; in legacy mode <see cref="PasidTranslationType.SecondStage"/> or <see cref="PasidTranslationType.PassThrough"/>.</param>
    /// <param name="domainId">Its domain.</param>
    /// <param name="pasid">Its PASID.</param>
    /// <param name="address">Any address in it.</param>
    /// <param name="sizeLog2">log2 of its bytes.</param>
    public bool MatchesTranslation(PasidTranslationType type, ushort domainId, uint pasid, ulong address, int sizeLog2)
    {
        if (IsGlobal)
        {
            return true;
        }

        bool firstStage = type is PasidTranslationType.FirstStage or PasidTranslationType.Nested;
        return domainId == DomainId
            && (IsPasidBased
                ? pasid == Pasid && (!HasRange || (firstStage && Overlaps(address, sizeLog2)))
                : !HasRange || firstStage || Overlaps(address, sizeLog2));
    }

    /// <summary>Whether a first-stage paging structure is meant.</summary>
    public bool MatchesFirstStage(ushort domainId, uint pasid, ulong address, int sizeLog2) =>
        IsGlobal
        || (domainId == DomainId
            && (!IsPasidBased || (pasid == Pasid && (!HasRange || (!LeavesOnly && Overlaps(address, sizeLog2))))));

    /// <summary>Whether a second-stage paging structure is meant.</summary>
    public bool MatchesSecondStage(ushort domainId, ulong address, int sizeLog2) =>
        IsGlobal
        || (!IsPasidBased && domainId == DomainId && (!HasRange || (!LeavesOnly && Overlaps(address, sizeLog2))));
}
