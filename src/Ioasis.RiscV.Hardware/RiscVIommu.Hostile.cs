using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Where walks meet the hostile caches: what is cached is used, and what is read is cached.</content>
public sealed partial class RiscVIommu
{
    private bool LocateDeviceHostile(HostileCache hostile, Configuration configuration, ref Request request, out DeviceContextData device)
    {
        bool known;
        using (_cacheLock.Acquire())
        {
            known = hostile.TryFindDevice(request.DeviceId, out device);
        }

        if (!known)
        {
            return WalkDeviceDirectory(configuration, ref request, out device);
        }

        return !IsMisconfigured(configuration, device) || Fail(ref request, FaultCause.DdtEntryMisconfigured);
    }

    private bool LocateProcess(
        Configuration configuration, ref Request request, in DeviceContextData device, out ProcessContextData process)
    {
        if (_hostile is { } hostile)
        {
            bool known;
            using (_cacheLock.Acquire())
            {
                known = hostile.TryFindProcess(request.DeviceId, request.ProcessId, out process);
            }

            if (known)
            {
                return !IsMisconfigured(device, process) || Fail(ref request, FaultCause.PdtEntryMisconfigured);
            }
        }

        return WalkProcessDirectory(configuration, ref request, device, out process);
    }

    // A walk of the device directory starts below the deepest entry that is cached.
    private void StartDeviceWalk(in Request request, ref int level, ref ulong table)
    {
        if (_hostile is not { } hostile)
        {
            return;
        }

        using (_cacheLock.Acquire())
        {
            for (int deep = 1; deep <= level; deep++)
            {
                if (hostile.TryFindDeviceTable(deep, DevicePrefix(request.DeviceId, deep), out ulong cached))
                {
                    level = deep - 1;
                    table = cached;
                    return;
                }
            }
        }
    }

    private uint DevicePrefix(uint deviceId, int level) => deviceId >> ((_capabilities.MsiFlat ? 6 : 7) + ((level - 1) * 9));

    private static uint ProcessPrefix(uint processId, int level) => processId >> (8 + ((level - 1) * 9));

    private void StartProcessWalk(in Request request, ref int level, ref ulong table)
    {
        if (_hostile is not { } hostile)
        {
            return;
        }

        using (_cacheLock.Acquire())
        {
            for (int deep = 1; deep <= level; deep++)
            {
                if (hostile.TryFindProcessTable(request.DeviceId, deep, ProcessPrefix(request.ProcessId, deep), out ulong cached))
                {
                    level = deep - 1;
                    table = cached;
                    return;
                }
            }
        }
    }

    // A page-table walk starts at a cached leaf, or below the deepest pointer that is cached.
    private void StartWalk(in SpaceKey space, bool isFirstStage, ulong address, ref int level, ref ulong table, out WalkStart start)
    {
        start = default;
        if (_hostile is not { } hostile)
        {
            return;
        }

        using (_cacheLock.Acquire())
        {
            CachedStage stage = isFirstStage ? hostile.FirstStage(space) : hostile.SecondStage(space.Gscid);
            if (stage.TryFindLeaf(address, out CachedEntry leaf)
                || (isFirstStage && hostile.FirstStage(HostileCache.GlobalSpace(space)).TryFindLeaf(address, out leaf)))
            {
                start = new() { HasLeaf = true, Leaf = leaf.Entry, IsGlobal = leaf.IsGlobal };
                level = leaf.Level;
            }
            else if (stage.TryFindPointer(address, out CachedEntry pointer))
            {
                start.IsGlobal = pointer.IsGlobal;
                level = pointer.Level - 1;
                table = PpnField.ToAddress(pointer.Entry);
            }
        }
    }

    /// <summary>What a cache gave to a page-table walk.</summary>
    private struct WalkStart
    {
        public bool HasLeaf;
        public ulong Leaf;
        public bool IsGlobal;
    }

    // What was read goes to the cache, unless an invalidation came in between.
    private void RememberEntry(
        in Request request, in SpaceKey space, bool isFirstStage, ulong address, ulong entry, int level, in Scheme scheme, bool isGlobal)
    {
        if (_hostile is not { } hostile)
        {
            return;
        }

        using (_cacheLock.Acquire())
        {
            if (request.FillSequence != _invalidationSequence)
            {
                return;
            }

            CachedEntry cached = new(entry, level, isGlobal);
            int size = scheme.LevelShift(level);
            bool isLeaf = (entry & (PageTableEntry.ReadBit | PageTableEntry.ExecuteBit)) != 0;
            if (!isLeaf)
            {
                (isFirstStage ? hostile.FirstStage(space) : hostile.SecondStage(space.Gscid)).AddPointer(address, size, cached);
                return;
            }

            if (!LeavesLeaves(request))
            {
                // What is held may be older than the A and D that the request just set: it goes.
                _ = (isFirstStage ? hostile.FirstStage(space) : hostile.SecondStage(space.Gscid))
                    .RemoveRange(address & ~0xffful, 12, nonLeaf: false, keepGlobal: false);
                if (isFirstStage)
                {
                    _ = hostile.FirstStage(HostileCache.GlobalSpace(space)).RemoveRange(address & ~0xffful, 12, nonLeaf: false, keepGlobal: false);
                }

                return;
            }

            if ((entry & PageTableEntry.NapotBit) != 0)
            {
                size = 16;
            }

            CachedStage stage = !isFirstStage ? hostile.SecondStage(space.Gscid)
                : hostile.FirstStage(isGlobal ? HostileCache.GlobalSpace(space) : space);

            // What is cached already has to follow an update of A and D in any case.
            if (LeavesLeaves(request) || stage.TryFindLeaf(address, out _))
            {
                stage.AddLeaf(address, size, cached);
            }
        }
    }

    private bool LeavesLeaves(in Request request) => request.Kind != DmaKind.TranslationRequest
        || (Options.Deviations & ReferenceDeviations.AtsFillsNoCache) == 0;

    private void RememberDevice(in Request request, in DeviceContextData device)
    {
        if (_hostile is { } hostile)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    hostile.AddDevice(request.DeviceId, device);
                }
            }
        }
    }

    private void RememberDeviceTable(in Request request, int level, ulong table)
    {
        if (_hostile is { } hostile)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    hostile.AddDeviceTable(level, DevicePrefix(request.DeviceId, level), table);
                }
            }
        }
    }

    private void RememberProcess(in Request request, in ProcessContextData process)
    {
        if (_hostile is { } hostile)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    hostile.AddProcess(request.DeviceId, request.ProcessId, process);
                }
            }
        }
    }

    private void RememberProcessTable(in Request request, int level, ulong table)
    {
        if (_hostile is { } hostile)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    hostile.AddProcessTable(request.DeviceId, level, ProcessPrefix(request.ProcessId, level), table);
                }
            }
        }
    }

    // An MSI PTE from the cache, or from memory to the cache.
    private MemoryStatus ReadInterruptFile(
        Configuration configuration, ref Request request, in DeviceContextData device, ulong page, ulong entryAddress, Span<ulong> entry)
    {
        if (_hostile is { } hostile)
        {
            using (_cacheLock.Acquire())
            {
                if (hostile.TryFindInterruptFile(device.Gscid, page, out (ulong Low, ulong High) cached))
                {
                    entry[0] = cached.Low;
                    entry[1] = cached.High;
                    return MemoryStatus.Success;
                }
            }
        }

        request.MemoryReads++;
        MemoryStatus status = ReadDoublewords(entryAddress, configuration.BigEndian, entry);
        if (_hostile is { } cache && LeavesLeaves(request) && status == MemoryStatus.Success && (entry[0] & MsiPageTableEntry.ValidBit) != 0)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    cache.AddInterruptFile(device.Gscid, page, entry[0], entry[1]);
                }
            }
        }

        return status;
    }
}
