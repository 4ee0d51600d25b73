using System.Numerics;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>A cached paging-structure entry that leads to a table (section 6.2.5): the table in host memory, and the rights down to it.</summary>
/// <param name="Table">The table that it leads to.</param>
/// <param name="Level">The level of the entries in that table: 1 for leaves of 4 KiB.</param>
/// <param name="Read">All entries down to it have R (second stage), or U/S (first stage).</param>
/// <param name="Write">All entries down to it have W, or R/W.</param>
/// <param name="Fault">Caching mode: the entry faults so (second stage only).</param>
internal readonly record struct StructureEntry(ulong Table, int Level, bool Read, bool Write, FaultReason Fault = FaultReason.None);

/// <summary>A cached translation (section 6.2.4).</summary>
internal readonly record struct TranslationEntry(
    PasidTranslationType Type, bool IsLegacy, ushort DomainId, uint Pasid, Translation Translation, FaultReason Fault, bool FaultDisable);

/// <summary>
/// The hostile paging-structure caches and IOTLB: nothing is evicted, and what is there is used before any table. All members take the cache
/// lock but those of the invalidations, which are called under it.
/// </summary>
internal sealed class HostileTranslations(CacheState state, bool cachingMode)
{
    // By the size of what they are for and its number; the sizes that there are, as a bit set.
    private readonly Dictionary<(ushort DomainId, uint Pasid, int SizeLog2, ulong Number), StructureEntry> _firstStages = [];
    private readonly Dictionary<(ushort DomainId, int SizeLog2, ulong Number), StructureEntry> _secondStages = [];
    private readonly Dictionary<(ulong Requester, int SizeLog2, ulong Number), TranslationEntry> _translations = [];
    private ulong _translationSizes;

    /// <summary>Whether entries that fault are held.</summary>
    public bool CachingMode => cachingMode;

    /// <summary>The deepest first-stage entry for an address.</summary>
    public bool TryFindFirstStage(in Context context, ulong address, out StructureEntry entry)
    {
        using (state.Lock.Acquire())
        {
            for (int size = 21; size < 12 + (9 * context.FirstLevels); size += 9)
            {
                if (_firstStages.TryGetValue((context.DomainId, context.Pasid, size, address >> size), out entry))
                {
                    return true;
                }
            }
        }

        entry = default;
        return false;
    }

    public void AddFirstStage(in Request request, in Context context, ulong address, int sizeLog2, in StructureEntry entry)
    {
        using (state.Lock.Acquire())
        {
            if (request.FillSequence == state.Sequence)
            {
                _firstStages[(context.DomainId, context.Pasid, sizeLog2, address >> sizeLog2)] = entry;
            }
        }
    }

    /// <summary>The deepest second-stage entry for an address; in nested translation also of a first-stage table's.</summary>
    public bool TryFindSecondStage(in Context context, ulong address, out StructureEntry entry)
    {
        using (state.Lock.Acquire())
        {
            for (int size = 12; size < 12 + (9 * context.SecondLevels); size += 9)
            {
                if (_secondStages.TryGetValue((context.DomainId, size, address >> size), out entry))
                {
                    return true;
                }
            }
        }

        entry = default;
        return false;
    }

    public void AddSecondStage(in Request request, in Context context, ulong address, int sizeLog2, in StructureEntry entry)
    {
        using (state.Lock.Acquire())
        {
            if (request.FillSequence == state.Sequence && (entry.Fault == FaultReason.None || cachingMode))
            {
                _secondStages[(context.DomainId, sizeLog2, address >> sizeLog2)] = entry;
            }
        }
    }

    /// <summary>Finds a translation: by requester, PASID and address alone (Table 17).</summary>
    public bool TryFind(in Request request, out TranslationEntry entry)
    {
        using (state.Lock.Acquire())
        {
            for (ulong sizes = _translationSizes; sizes != 0; sizes &= sizes - 1)
            {
                int size = BitOperations.TrailingZeroCount(sizes);
                if (_translations.TryGetValue((request.Key, size, request.Address >> size), out entry))
                {
                    return true;
                }
            }
        }

        entry = default;
        return false;
    }

    public void Add(in Request request, in Context context, ulong address, in Translation translation)
    {
        TranslationEntry entry = new(
            context.Type, context.IsLegacy, context.DomainId, context.Pasid, translation, FaultReason.None, context.FaultDisable);
        Add(request, address, translation.SizeLog2, entry);
    }

    /// <summary>Adds a translation that faults, in caching mode; of first stages nothing that faults is held (section 6.2.4.1).</summary>
    public void AddFault(in Request request, in Context context, FaultReason fault)
    {
        if (cachingMode && !context.HasFirstStage)
        {
            Add(request, request.Address, 12, new(
                context.Type, context.IsLegacy, context.DomainId, context.Pasid, default, fault, context.FaultDisable));
        }
    }

    private void Add(in Request request, ulong address, int sizeLog2, in TranslationEntry entry)
    {
        using (state.Lock.Acquire())
        {
            if (request.FillSequence == state.Sequence)
            {
                _translationSizes |= 1ul << sizeLog2;
                _translations[(request.Key, sizeLog2, address >> sizeLog2)] = entry;
            }
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _firstStages.Clear();
        _secondStages.Clear();
        _translations.Clear();
        _translationSizes = 0;
    }

    /// <summary>An invalidation by a descriptor or a register.</summary>
    /// <returns>How many translations it removed.</returns>
    public int Invalidate(in TranslationInvalidation invalidation)
    {
        foreach (var key in _firstStages.Keys)
        {
            if (invalidation.MatchesFirstStage(key.DomainId, key.Pasid, key.Number << key.SizeLog2, key.SizeLog2))
            {
                _firstStages.Remove(key);
            }
        }

        foreach (var key in _secondStages.Keys)
        {
            if (invalidation.MatchesSecondStage(key.DomainId, key.Number << key.SizeLog2, key.SizeLog2))
            {
                _secondStages.Remove(key);
            }
        }

        int before = _translations.Count;
        foreach (var (key, entry) in _translations)
        {
            if (invalidation.MatchesTranslation(entry.Type, entry.DomainId, entry.Pasid, key.Number << key.SizeLog2, key.SizeLog2))
            {
                _translations.Remove(key);
            }
        }

        return before - _translations.Count;
    }
}
