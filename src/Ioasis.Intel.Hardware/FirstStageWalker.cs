using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>The leaf that a first-stage walk ended at.</summary>
internal struct FirstStageLeaf
{
    /// <summary>The translated address: a guest's with nesting.</summary>
    public ulong Address;

    /// <summary>log2 of the bytes of its page.</summary>
    public int SizeLog2;

    /// <summary>R/W of all entries.</summary>
    public bool Write;

    /// <summary>U/S of all entries.</summary>
    public bool User;
    public bool IsDirty;

    /// <summary>Where the leaf is in host memory, what was there, and whether flags may be written there.</summary>
    public ulong Place;
    public ulong Entry;
    public bool PlaceIsWritable;

    /// <summary>R/W and U/S of the entries above the leaf.</summary>
    public bool TableWrite;
    public bool TableUser;
}

/// <summary>
/// Walks first-stage tables (sections 3.6, 9.7); with nesting, the tables are behind the second stage (section 3.8).
/// </summary>
internal sealed class FirstStageWalker
{
    private readonly HostMemory _memory;
    private readonly SecondStageWalker _second;
    private readonly HostileTranslations? _hostile;
    private readonly bool _has1GiB;
    private readonly ulong _beyond;

    public FirstStageWalker(VtdIommuOptions options, HostMemory memory, SecondStageWalker second, HostileTranslations? hostile)
    {
        _memory = memory;
        _second = second;
        _hostile = hostile;
        _has1GiB = options.Capabilities.FirstStage1GiB;
        _beyond = memory.BeyondMask & FirstStageEntry.AddressMask;
    }

    /// <summary>Walks to the leaf for a canonical address. A is set in the entries above it; the leaf's own flags are the caller's.</summary>
    public bool TryWalk(ref Request request, in Context context, out FirstStageLeaf leaf)
    {
        leaf = default;
        ulong address = request.Address;
        int level = context.FirstLevels;
        ulong table = context.FirstRoot;
        bool isHostTable = context.Type == PasidTranslationType.FirstStage;
        bool write = true;
        bool user = true;
        if (_hostile is { } cache && cache.TryFindFirstStage(context, address, out StructureEntry known))
        {
            (level, table, user, write) = (known.Level, known.Table, known.Read, known.Write);
            isHostTable = true;
            if (!user && !request.Supervisor)
            {
                return request.Fail(FaultReason.UserDenied);
            }
        }

        for (int attempt = 0; ; attempt++)
        {
            int shift = 12 + (9 * (level - 1));
            ulong place = table | (((address >> shift) & 0x1ff) << 3);
            bool placeIsWritable = true;
            if (!isHostTable && !TryFindPlace(ref request, context, level, ref place, out placeIsWritable))
            {
                return false;
            }

            request.MemoryReads++;
            if (!_memory.TryRead(place, out ulong entry))
            {
                return request.Fail(level == context.FirstLevels ? FaultReason.FirstStageRootAccess : FaultReason.FirstStageAccess);
            }

            if (!TryCheck(ref request, context, entry, level, out bool isLeaf))
            {
                return false;
            }

            if (isLeaf)
            {
                leaf.TableWrite = write;
                leaf.TableUser = user;
                leaf.Write = write && (entry & FirstStageEntry.WriteBit) != 0;
                leaf.User = user && (entry & FirstStageEntry.UserBit) != 0;
                leaf.IsDirty = (entry & FirstStageEntry.DirtyBit) != 0;
                ulong offset = (1ul << shift) - 1;
                leaf.Address = (entry & FirstStageEntry.AddressMask & ~offset) | (address & offset);
                leaf.SizeLog2 = shift;
                leaf.Place = place;
                leaf.Entry = entry;
                leaf.PlaceIsWritable = placeIsWritable;
                return true;
            }

            switch (TrySetFlags(ref request, context, place, placeIsWritable, entry, AccessedFlags(context)))
            {
                case Update.Failed:
                    return false;
                case Update.Changed when attempt < SecondStageWalker.MaxAttempts:
                    continue;
                case Update.Changed:
                    return request.Fail(FaultReason.FirstStageUpdateFailed);
            }

            write &= (entry & FirstStageEntry.WriteBit) != 0;
            user &= (entry & FirstStageEntry.UserBit) != 0;
            table = entry & FirstStageEntry.AddressMask;
            level--;
            isHostTable = context.Type == PasidTranslationType.FirstStage;
            Remember(ref request, context, address, shift, table, level, user, write);
        }
    }

    /// <summary>A, and EA with EAFE.</summary>
    public static ulong AccessedFlags(in Context context) =>
        FirstStageEntry.AccessedBit | (context.ExtendedAccessed ? FirstStageEntry.ExtendedAccessedBit : 0);

    /// <summary>Sets flags of an entry, if they are not set.</summary>
    public Update TrySetFlags(ref Request request, in Context context, ulong place, bool placeIsWritable, ulong entry, ulong flags)
    {
        if ((entry & flags) == flags)
        {
            return Update.Done;
        }

        FaultReason refused = !placeIsWritable ? FaultReason.FirstStageUpdateDenied
            : !context.WalkSnoop ? FaultReason.FirstStageUpdateNotSnooped
            : FaultReason.None;
        if (refused != FaultReason.None || !_memory.TryExchange(place, entry, entry | flags, out ulong observed))
        {
            request.Fault = refused != FaultReason.None ? refused : FaultReason.FirstStageUpdateFailed;
            return Update.Failed;
        }

        return observed == entry ? Update.Done : Update.Changed;
    }

    /// <summary>What of an entry is reserved, and whether it maps a page.</summary>
    public ulong ReservedOf(ulong entry, int level, out bool isLeaf)
    {
        isLeaf = level == 1;
        if (level == 1)
        {
            return _beyond;
        }

        isLeaf = (entry & FirstStageEntry.PageSizeBit) != 0 && (level == 2 || (level == 3 && _has1GiB));
        return _beyond | (isLeaf
            ? ((1ul << (12 + (9 * (level - 1)))) - 1) & FirstStageEntry.AddressMask & ~FirstStageEntry.LargePagePatBit
            : FirstStageEntry.PageSizeBit);
    }

    private bool TryCheck(ref Request request, in Context context, ulong entry, int level, out bool isLeaf)
    {
        isLeaf = false;
        if ((entry & FirstStageEntry.PresentBit) == 0)
        {
            return request.Fail(FaultReason.FirstStageNotPresent);
        }

        if ((entry & ReservedOf(entry, level, out isLeaf)) != 0)
        {
            return request.Fail(FaultReason.FirstStageReserved);
        }

        if (context.Type == PasidTranslationType.Nested && (entry & FirstStageEntry.AddressMask) >= context.SecondLimit)
        {
            return request.Fail(FaultReason.FirstStageAddressBeyondWidth);
        }

        return request.Supervisor || (entry & FirstStageEntry.UserBit) != 0 || request.Fail(FaultReason.UserDenied);
    }

    // Where a first-stage entry is in host memory: its guest address through the second stage (section 3.8.1).
    private bool TryFindPlace(ref Request request, in Context context, int level, ref ulong place, out bool isWritable)
    {
        isWritable = false;
        for (int attempt = 0; ; attempt++)
        {
            if (!_second.TryWalk(ref request, context, place, out SecondStageLeaf leaf))
            {
                return false;
            }

            isWritable = leaf.Write;
            if (!leaf.Read)
            {
                return request.Fail(level == context.FirstLevels ? FaultReason.FirstStageRootReadDenied : FaultReason.FirstStageReadDenied);
            }

            // With flags in the second stage a table's page needs both rights, and may be written to at any time: it is dirty.
            if (context.SecondDirty && !leaf.Write)
            {
                return request.Fail(FaultReason.FirstStageUpdateDenied);
            }

            Update update = leaf.Write ? _second.TrySetDirty(ref request, context, ref leaf) : Update.Done;
            if (update == Update.Done)
            {
                place = leaf.Address;
                return true;
            }

            if (update == Update.Failed || attempt >= SecondStageWalker.MaxAttempts)
            {
                return update == Update.Failed ? false : request.Fail(FaultReason.SecondStageUpdateFailed);
            }
        }
    }

    // A table that the second stage lets be read is held by its host address (section 6.2.5, nested entries).
    private void Remember(
        ref Request request, in Context context, ulong address, int shift, ulong table, int level, bool user, bool write)
    {
        if (_hostile is not { } hostile)
        {
            return;
        }

        if (context.Type == PasidTranslationType.Nested)
        {
            Request probe = request;
            if (!TryFindPlace(ref probe, context, level, ref table, out bool isWritable) || !isWritable)
            {
                return;
            }
        }

        hostile.AddFirstStage(request, context, address, shift, new(table, level, user, write));
    }
}
