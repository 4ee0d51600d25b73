namespace Ioasis.RiscV.Hardware;

/// <summary>A page-table entry as it was read, with what the levels above said.</summary>
/// <param name="Entry">The entry.</param>
/// <param name="Level">Its level in the table, 0 for 4 KiB leaves.</param>
/// <param name="IsGlobal">It, or an entry above it, has G.</param>
internal readonly record struct CachedEntry(ulong Entry, int Level, bool IsGlobal);

/// <summary>The entries of one stage of one address space, leaves and pointers apart, by the size and page that they stand for.</summary>
internal sealed class CachedStage
{
    private readonly Dictionary<(int SizeLog2, ulong Page), CachedEntry> _leaves = [];
    private readonly Dictionary<(int SizeLog2, ulong Page), CachedEntry> _pointers = [];
    private ulong _leafSizes;
    private ulong _pointerSizes;

    public bool TryFindLeaf(ulong address, out CachedEntry entry) => TryFind(_leaves, _leafSizes, address, out entry);

    // The smallest range first: the deepest pointer.
    public bool TryFindPointer(ulong address, out CachedEntry entry) => TryFind(_pointers, _pointerSizes, address, out entry);

    public void AddLeaf(ulong address, int sizeLog2, CachedEntry entry) => Add(_leaves, ref _leafSizes, address, sizeLog2, entry);

    public void AddPointer(ulong address, int sizeLog2, CachedEntry entry) => Add(_pointers, ref _pointerSizes, address, sizeLog2, entry);

    public int RemoveAll(bool keepGlobal)
    {
        int before = _leaves.Count;
        if (keepGlobal)
        {
            RemoveWhere(_leaves, static entry => !entry.IsGlobal);
            RemoveWhere(_pointers, static entry => !entry.IsGlobal);
        }
        else
        {
            _leaves.Clear();
            _pointers.Clear();
        }

        return before - _leaves.Count;
    }

    /// <summary>Removes what overlaps a range: leaves, and with <paramref name="nonLeaf"/> pointers too.</summary>
    public int RemoveRange(ulong address, int sizeLog2, bool nonLeaf, bool keepGlobal)
    {
        int removed = RemoveRange(_leaves, _leafSizes, address, sizeLog2, keepGlobal);
        if (nonLeaf)
        {
            _ = RemoveRange(_pointers, _pointerSizes, address, sizeLog2, keepGlobal);
        }

        return removed;
    }

    private static bool TryFind(
        Dictionary<(int SizeLog2, ulong Page), CachedEntry> entries, ulong sizes, ulong address, out CachedEntry entry)
    {
        for (; sizes != 0; sizes &= sizes - 1)
        {
            int sizeLog2 = System.Numerics.BitOperations.TrailingZeroCount(sizes);
            if (entries.TryGetValue((sizeLog2, address >> sizeLog2), out entry))
            {
                return true;
            }
        }

        entry = default;
        return false;
    }

    private static void Add(
        Dictionary<(int SizeLog2, ulong Page), CachedEntry> entries, ref ulong sizes, ulong address, int sizeLog2, CachedEntry entry)
    {
        sizes |= 1ul << sizeLog2;
        entries[(sizeLog2, address >> sizeLog2)] = entry;
    }

    private static void RemoveWhere(Dictionary<(int SizeLog2, ulong Page), CachedEntry> entries, Func<CachedEntry, bool> matches)
    {
        foreach (var (key, entry) in entries)
        {
            if (matches(entry))
            {
                entries.Remove(key);
            }
        }
    }

    private static int RemoveRange(
        Dictionary<(int SizeLog2, ulong Page), CachedEntry> entries, ulong sizes, ulong address, int sizeLog2, bool keepGlobal)
    {
        int before = entries.Count;
        if (sizeLog2 > 12 + 10)
        {
            ulong last = sizeLog2 >= 64 ? ulong.MaxValue : address + ((1ul << sizeLog2) - 1);
            foreach (var (key, entry) in entries)
            {
                ulong start = key.Page << key.SizeLog2;
                if (start <= last && start + ((1ul << key.SizeLog2) - 1) >= address && !(keepGlobal && entry.IsGlobal))
                {
                    entries.Remove(key);
                }
            }

            return before - entries.Count;
        }

        for (; sizes != 0; sizes &= sizes - 1)
        {
            int entrySize = System.Numerics.BitOperations.TrailingZeroCount(sizes);
            int pages = sizeLog2 > entrySize ? 1 << (sizeLog2 - entrySize) : 1;
            for (ulong page = address >> entrySize; pages > 0; page++, pages--)
            {
                if (entries.TryGetValue((entrySize, page), out CachedEntry entry) && !(keepGlobal && entry.IsGlobal))
                {
                    entries.Remove((entrySize, page));
                }
            }
        }

        return before - entries.Count;
    }
}

/// <summary>
/// Caches that hold whatever the specification lets them hold (section 2.8), as long as it lets them, and never more: no entry with V=0. What an
/// IODIR or IOTINVAL does not name explicitly stays. All members are called under the cache lock.
/// </summary>
internal sealed class HostileCache
{
    private readonly Dictionary<uint, DeviceContextData> _devices = [];
    private readonly Dictionary<(int Level, uint Prefix), ulong> _deviceTables = [];
    private readonly Dictionary<(uint Device, uint Process), ProcessContextData> _processes = [];
    private readonly Dictionary<(uint Device, int Level, uint Prefix), ulong> _processTables = [];
    private readonly Dictionary<SpaceKey, CachedStage> _firstStages = [];
    private readonly Dictionary<uint, CachedStage> _secondStages = [];
    private readonly Dictionary<(uint Gscid, ulong Page), (ulong Low, ulong High)> _interruptFiles = [];

    public bool TryFindDevice(uint device, out DeviceContextData data) => _devices.TryGetValue(device, out data);

    public void AddDevice(uint device, in DeviceContextData data) => _devices[device] = data;

    public bool TryFindDeviceTable(int level, uint prefix, out ulong table) => _deviceTables.TryGetValue((level, prefix), out table);

    public void AddDeviceTable(int level, uint prefix, ulong table) => _deviceTables[(level, prefix)] = table;

    public bool TryFindProcess(uint device, uint process, out ProcessContextData data) =>
        _processes.TryGetValue((device, process), out data);

    public void AddProcess(uint device, uint process, in ProcessContextData data) => _processes[(device, process)] = data;

    public bool TryFindProcessTable(uint device, int level, uint prefix, out ulong table) =>
        _processTables.TryGetValue((device, level, prefix), out table);

    public void AddProcessTable(uint device, int level, uint prefix, ulong table) => _processTables[(device, level, prefix)] = table;

    public bool TryFindInterruptFile(uint gscid, ulong page, out (ulong Low, ulong High) entry) =>
        _interruptFiles.TryGetValue((gscid, page), out entry);

    public void AddInterruptFile(uint gscid, ulong page, ulong low, ulong high) => _interruptFiles[(gscid, page)] = (low, high);

    public CachedStage FirstStage(in SpaceKey space)
    {
        if (!_firstStages.TryGetValue(space, out CachedStage? stage))
        {
            stage = new();
            _firstStages.Add(space, stage);
        }

        return stage;
    }

    public CachedStage SecondStage(uint gscid)
    {
        if (!_secondStages.TryGetValue(gscid, out CachedStage? stage))
        {
            stage = new();
            _secondStages.Add(gscid, stage);
        }

        return stage;
    }

    /// <summary>The space of global mappings of a VM, or of the host: they serve every process in it.</summary>
    public static SpaceKey GlobalSpace(in SpaceKey space) => space with { HasPscid = false, Pscid = 0 };

    /// <summary>IODIR.INVAL_DDT (section 3.1.3): of one device only its context and its process entries go.</summary>
    public void InvalidateDevices(uint? device)
    {
        if (device is not { } id)
        {
            _devices.Clear();
            _deviceTables.Clear();
            _processes.Clear();
            _processTables.Clear();
            return;
        }

        _devices.Remove(id);
        RemoveWhere(_processes, key => key.Device == id);
        RemoveWhere(_processTables, key => key.Device == id);
    }

    /// <summary>Removes everything.</summary>
    public void Clear()
    {
        InvalidateDevices(null);
        _firstStages.Clear();
        _secondStages.Clear();
        _interruptFiles.Clear();
    }

    /// <summary>IODIR.INVAL_PDT (section 3.1.3): the leaf entry only.</summary>
    public void InvalidateProcess(uint device, uint process) => _processes.Remove((device, process));

    /// <summary>IOTINVAL (sections 3.1.1, 8.2, 8.3).</summary>
    /// <returns>How many leaf entries it removed.</returns>
    public int Invalidate(in RiscVIommu.TranslationInvalidation invalidation) =>
        invalidation.SecondStage ? InvalidateSecondStages(invalidation) : InvalidateFirstStages(invalidation);

    private int InvalidateFirstStages(in RiscVIommu.TranslationInvalidation invalidation)
    {
        int removed = 0;
        foreach ((SpaceKey space, CachedStage stage) in _firstStages)
        {
            // Global mappings have a space of their own, that a PSCID does not name.
            if (space.HasGscid != invalidation.HasGscid
                || (space.HasGscid && space.Gscid != invalidation.Gscid)
                || (invalidation.HasPscid && (!space.HasPscid || space.Pscid != invalidation.Pscid)))
            {
                continue;
            }

            removed += invalidation.HasAddress
                ? stage.RemoveRange(invalidation.Address, invalidation.SizeLog2, invalidation.NonLeaf, invalidation.HasPscid)
                : stage.RemoveAll(keepGlobal: invalidation.HasPscid);
        }

        return removed;
    }

    private int InvalidateSecondStages(in RiscVIommu.TranslationInvalidation invalidation)
    {
        int removed = 0;
        bool byAddress = invalidation.HasGscid && invalidation.HasAddress;
        foreach ((uint gscid, CachedStage stage) in _secondStages)
        {
            if (!invalidation.HasGscid || gscid == invalidation.Gscid)
            {
                removed += byAddress
                    ? stage.RemoveRange(invalidation.Address, invalidation.SizeLog2, invalidation.NonLeaf, keepGlobal: false)
                    : stage.RemoveAll(keepGlobal: false);
            }
        }

        bool hasGscid = invalidation.HasGscid;
        uint wanted = invalidation.Gscid;
        ulong first = invalidation.Address >> 12;
        ulong last = invalidation.SizeLog2 >= 64 ? ulong.MaxValue : first + ((1ul << Math.Max(0, invalidation.SizeLog2 - 12)) - 1);
        RemoveWhere(
            _interruptFiles,
            key => !hasGscid || (key.Gscid == wanted && (!byAddress || (key.Page >= first && key.Page <= last))));
        return removed;
    }

    private static void RemoveWhere<TKey, TValue>(Dictionary<TKey, TValue> entries, Func<TKey, bool> matches)
        where TKey : notnull
    {
        foreach (TKey key in entries.Keys)
        {
            if (matches(key))
            {
                entries.Remove(key);
            }
        }
    }
}
