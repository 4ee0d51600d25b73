using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// The caches of chapter 6 in the three ways of caching, and their invalidation. Contexts and PASID entries are held together in
/// realistic caching, so that either invalidation takes both: coarser than asked for, which the text allows.
/// </summary>
internal sealed class TranslationCaches
{
    // More spaces than this at a time, and all caches start over: garbage tables make them without end.
    private const int MaxSpaces = 1 << 16;

    private static readonly ContextTable<CachedContext> s_noContexts = new(0);

    private readonly CacheState _state;
    private readonly ulong _beyondMask;
    private readonly int _segment;
    private readonly bool _collectStatistics;
    private readonly ContextTable<CachedContext> _contexts;
    private readonly Dictionary<SpaceKey, Space> _spaces = [];
    private readonly Dictionary<ushort, List<Space>> _spacesByDomain = [];
    private readonly Dictionary<ushort, DeviceCounters> _counters = [];
    private ContextTable<CachedContext> _activeContexts = s_noContexts;

    public TranslationCaches(VtdIommuOptions options, CacheState state, ulong beyondMask)
    {
        _state = state;
        _beyondMask = beyondMask;
        _segment = options.Segment;
        _collectStatistics = options.CollectStatistics;
        bool realistic = options.Caching == CachingMode.Realistic && options.ContextCacheEntries > 0;
        _contexts = realistic ? new(options.ContextCacheEntries) : s_noContexts;
        Iotlb = realistic && options.IotlbEntries > 0 ? new(options.IotlbEntries, options.IotlbWays, options.IotlbReplacement) : null;
        Hostile = options.Caching == CachingMode.Hostile ? new(state, options.Capabilities.CachingMode) : null;
    }

    /// <summary>The realistic IOTLB.</summary>
    public Iotlb? Iotlb { get; }

    /// <summary>The hostile caches.</summary>
    public HostileCache? Hostile { get; }

    /// <summary>The realistic contexts while translation is enabled; else a table with nothing in it.</summary>
    public ContextTable<CachedContext> Contexts => Volatile.Read(ref _activeContexts);

    /// <summary>Whether requests are translated: only then does what is cached serve.</summary>
    public void Activate(bool enabled) => Volatile.Write(ref _activeContexts, enabled ? _contexts : s_noContexts);

    /// <summary>Finds a cached context.</summary>
    public CachedContext? Find(ulong key)
    {
        ContextTable<CachedContext> contexts = Contexts;
        CachedContext?[] slots = contexts.Slots;
        int index = contexts.IndexOf(key);
        CachedContext? found = Volatile.Read(ref slots[index]);
        if (found is null || found.Key != key)
        {
            found = Volatile.Read(ref slots[index ^ 1]);
        }

        return found is not null && found.Key == key ? found : null;
    }

    /// <summary>Remembers a context that an untranslated request met, and gives its counters.</summary>
    public CachedContext? Add(in Request request, in Context context)
    {
        if (_contexts.IsEmpty || request.Kind != Platform.DmaKind.Untranslated)
        {
            return null;
        }

        using (_state.Lock.Acquire())
        {
            if (request.FillSequence != _state.Sequence)
            {
                return null;
            }

            bool translates = context.Type != PasidTranslationType.PassThrough && Iotlb is not null;
            Space? space = translates ? SpaceOf(new(request.Key, context.DomainId, context.Pasid, context.Type)) : null;
            CachedContext cached = new(request.Key, context, space, CountersUnderLock(request.SourceId), _beyondMask);
            _contexts.Add(cached.Key, cached);
            return cached;
        }
    }

    /// <summary>Puts a translation into the realistic IOTLB.</summary>
    public void Fill(in Request request, CachedContext context, in Translation translation)
    {
        if (Iotlb is not { } iotlb || context.Space is not { } space)
        {
            return;
        }

        using (_state.Lock.Acquire())
        {
            if (request.FillSequence == _state.Sequence
                && iotlb.Insert(
                    space, request.Address, translation.SizeLog2, 0, translation.Address, TranslationValue.AttributesOf(translation)))
            {
                context.Counters?.CountEviction();
            }
        }
    }

    /// <summary>A snapshot of all counters.</summary>
    public DeviceStatistics[] Snapshot()
    {
        using (_state.Lock.Acquire())
        {
            return [.. _counters.Values.Select(counters => counters.Snapshot()).OrderBy(d => d.Device.Value)];
        }
    }

    /// <summary>Everything, of all DMA remapping caches.</summary>
    public void InvalidateAll()
    {
        using (_state.Lock.Acquire())
        {
            _state.Sequence++;
            Hostile?.Clear();
            ForgetSpaces();
        }
    }

    /// <summary>An invalidation of the context cache.</summary>
    public void Invalidate(ContextInvalidation invalidation)
    {
        using (_state.Lock.Acquire())
        {
            _state.Sequence++;
            Hostile?.InvalidateContexts(invalidation);
            _contexts.RemoveWhere(context => invalidation.Matches(
                context.SourceId, context.Context.IsLegacy ? context.Context.DomainId : null));
        }
    }

    /// <summary>An invalidation of the PASID cache.</summary>
    public void Invalidate(PasidInvalidation invalidation)
    {
        using (_state.Lock.Acquire())
        {
            _state.Sequence++;
            Hostile?.InvalidatePasids(invalidation);
            _contexts.RemoveWhere(context =>
                !context.Context.IsLegacy && invalidation.Matches(context.Context.DomainId, context.Context.Pasid));
        }
    }

    /// <summary>An invalidation of the IOTLB and of paging-structure caches.</summary>
    /// <returns>How many translations it removed.</returns>
    public int Invalidate(in TranslationInvalidation invalidation)
    {
        using (_state.Lock.Acquire())
        {
            _state.Sequence++;
            return Hostile is { } hostile ? hostile.Translations.Invalidate(invalidation)
                : Iotlb is { } iotlb ? RemoveTranslations(iotlb, invalidation)
                : 0;
        }
    }

    private int RemoveTranslations(Iotlb iotlb, in TranslationInvalidation invalidation)
    {
        int removed = 0;
        if (invalidation.IsGlobal)
        {
            foreach (Space space in _spaces.Values)
            {
                removed += iotlb.RemoveAll(space);
            }

            return removed;
        }

        if (!_spacesByDomain.TryGetValue(invalidation.DomainId, out List<Space>? spaces))
        {
            return 0;
        }

        foreach (Space space in spaces)
        {
            bool firstStage = space.Key.Type is PasidTranslationType.FirstStage or PasidTranslationType.Nested;
            if (invalidation.IsPasidBased && (space.Key.Pasid != invalidation.Pasid || (invalidation.HasRange && !firstStage)))
            {
                continue;
            }

            // A range of the second stage does not find what the first stage maps (Table 23).
            removed += !invalidation.HasRange || firstStage != invalidation.IsPasidBased
                ? iotlb.RemoveAll(space)
                : iotlb.Remove(space, invalidation.Address, invalidation.SizeLog2);
        }

        return removed;
    }

    // The following under the lock.
    private Space SpaceOf(SpaceKey key)
    {
        if (_spaces.TryGetValue(key, out Space? known))
        {
            return known;
        }

        if (_spaces.Count >= MaxSpaces)
        {
            ForgetSpaces();
        }

        Space space = new(key);
        _spaces.Add(key, space);
        if (_spacesByDomain.TryGetValue(key.DomainId, out List<Space>? list))
        {
            list.Add(space);
        }
        else
        {
            _spacesByDomain.Add(key.DomainId, [space]);
        }

        return space;
    }

    private void ForgetSpaces()
    {
        _state.Sequence++;
        foreach (Space space in _spaces.Values)
        {
            _ = Iotlb?.RemoveAll(space);
        }

        _contexts.Clear();
        _spaces.Clear();
        _spacesByDomain.Clear();
    }

    private DeviceCounters? CountersUnderLock(ushort sourceId)
    {
        if (!_collectStatistics)
        {
            return null;
        }

        if (!_counters.TryGetValue(sourceId, out DeviceCounters? counters))
        {
            counters = new(((ulong)_segment << 16) | sourceId);
            _counters.Add(sourceId, counters);
        }

        return counters;
    }
}
