using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>The leaf that a second-stage walk ended at.</summary>
internal struct SecondStageLeaf
{
    /// <summary>The translated address.</summary>
    public ulong Address;

    /// <summary>log2 of the bytes of its page.</summary>
    public int SizeLog2;
    public bool Read;
    public bool Write;
    public bool Snoop;

    /// <summary>D is set, or nobody wants it (SSADE is 0).</summary>
    public bool IsDirty;

    /// <summary>Where the leaf is in memory, and what was there: for <see cref="SecondStageWalker.TrySetDirty"/>.</summary>
    public ulong Place;
    public ulong Entry;

    /// <summary>The rights of the entries above the leaf.</summary>
    public bool TableRead;
    public bool TableWrite;
}

/// <summary>Walks second-stage tables (sections 3.7, 9.8), for requests and for what first-stage tables refer to (section 3.8).</summary>
internal sealed class SecondStageWalker
{
    /// <summary>How often an update of a flag is tried while somebody else changes the entry.</summary>
    public const int MaxAttempts = 64;

    private readonly HostMemory _memory;
    private readonly HostileTranslations? _hostile;
    private readonly Capability _cap;
    private readonly ulong _reserved;
    private readonly ulong _noSnoopControl;

    public SecondStageWalker(VtdIommuOptions options, HostMemory memory, HostileTranslations? hostile)
    {
        _memory = memory;
        _hostile = hostile;
        _cap = options.Capabilities;
        _reserved = (memory.BeyondMask & SecondStageEntry.AddressMask) | SecondStageEntry.IoWriteBit;
        _noSnoopControl = options.ExtendedCapabilities.Has(ExtendedCapability.SnoopControlBit) ? 0 : SecondStageEntry.SnoopBit;
    }

    /// <summary>
    /// Walks to the leaf for an address below the context's limit. Whether its rights suffice is the caller's to say; a walk without any right
    /// ends as a fault in scalable mode, and in legacy mode as a leaf without rights.
    /// </summary>
    public bool TryWalk(ref Request request, in Context context, ulong address, out SecondStageLeaf leaf)
    {
        leaf = new() { SizeLog2 = 12 };
        int level = context.SecondLevels;
        ulong table = context.SecondRoot;
        bool read = true;
        bool write = true;
        if (_hostile is { } cache && cache.TryFindSecondStage(context, address, out StructureEntry known))
        {
            if (known.Fault != FaultReason.None)
            {
                return EndWithoutRights(ref request, known.Fault);
            }

            (level, table, read, write) = (known.Level, known.Table, known.Read, known.Write);
        }

        for (int attempt = 0; ; attempt++)
        {
            int shift = 12 + (9 * (level - 1));
            ulong place = table | (((address >> shift) & 0x1ff) << 3);
            request.MemoryReads++;
            if (!_memory.TryRead(place, out ulong entry))
            {
                return request.Fail(AccessFault(context, level));
            }

            FaultReason invalid = Check(context, entry, level, out bool isLeaf);
            if (invalid != FaultReason.None)
            {
                _hostile?.AddSecondStage(request, context, address, shift, new(0, 0, false, false, invalid));
                return EndWithoutRights(ref request, invalid);
            }

            // A is set before the entry is used (section 3.7.2).
            if (context.SecondDirty && (entry & SecondStageEntry.AccessedBit) == 0)
            {
                Update update = TryUpdate(ref request, context, place, entry, entry | SecondStageEntry.AccessedBit);
                if (update == Update.Failed || (update == Update.Changed && attempt >= MaxAttempts))
                {
                    return request.Fault != FaultReason.None ? false : request.Fail(FaultReason.SecondStageUpdateFailed);
                }

                if (update == Update.Changed)
                {
                    continue;
                }

                entry |= SecondStageEntry.AccessedBit;
            }

            bool tableRead = read;
            bool tableWrite = write;
            read &= (entry & SecondStageEntry.ReadBit) != 0;
            write &= (entry & SecondStageEntry.WriteBit) != 0;
            if (isLeaf)
            {
                ulong offset = (1ul << shift) - 1;
                leaf.Address = (entry & SecondStageEntry.AddressMask & ~offset) | (address & offset);
                leaf.SizeLog2 = shift;
                leaf.Read = read;
                leaf.Write = write;
                leaf.TableRead = tableRead;
                leaf.TableWrite = tableWrite;
                leaf.Snoop = (entry & SecondStageEntry.SnoopBit) != 0;
                leaf.IsDirty = !context.SecondDirty || (entry & SecondStageEntry.DirtyBit) != 0;
                leaf.Place = place;
                leaf.Entry = entry;
                return context.IsLegacy || read || write || request.Fail(FaultReason.SecondStageNotPresent);
            }

            table = entry & SecondStageEntry.AddressMask;
            level--;
            _hostile?.AddSecondStage(request, context, address, shift, new(table, level, read, write));
        }
    }

    /// <summary>Whether an entry can be used, and whether it maps a page.</summary>
    public FaultReason Check(in Context context, ulong entry, int level, out bool isLeaf)
    {
        isLeaf = level == 1;
        if ((entry & (SecondStageEntry.ReadBit | SecondStageEntry.WriteBit)) == 0)
        {
            // Legacy mode has no fault of its own for this: it is a lack of the right that is asked for (LGN.2, LGN.3).
            return context.IsLegacy ? FaultReason.ReadDenied : FaultReason.SecondStageNotPresent;
        }

        ulong reserved = _reserved;
        if (level > 1)
        {
            bool large = (entry & SecondStageEntry.PageSizeBit) != 0;
            bool supported = level == 2 ? _cap.SecondStage2MiB : level == 3 && _cap.SecondStage1GiB;
            isLeaf = large && supported;
            reserved |= isLeaf ? ((1ul << (12 + (9 * (level - 1)))) - 1) & SecondStageEntry.AddressMask
                : SecondStageEntry.SnoopBit | SecondStageEntry.PageSizeBit;
        }

        reserved |= _noSnoopControl;
        return (entry & reserved) == 0 ? FaultReason.None
            : context.IsLegacy ? FaultReason.PagingEntryReserved : FaultReason.SecondStageReserved;
    }

    /// <summary>Sets D of a leaf that was walked to just now.</summary>
    /// <returns>Done, failed with the fault noted, or changed meanwhile: walk again.</returns>
    public Update TrySetDirty(ref Request request, in Context context, ref SecondStageLeaf leaf)
    {
        if (leaf.IsDirty)
        {
            return Update.Done;
        }

        Update update = TryUpdate(ref request, context, leaf.Place, leaf.Entry, leaf.Entry | SecondStageEntry.AccessedBit | SecondStageEntry.DirtyBit);
        leaf.IsDirty = update == Update.Done;
        return update;
    }

    private Update TryUpdate(ref Request request, in Context context, ulong place, ulong entry, ulong desired)
    {
        if (!context.WalkSnoop)
        {
            request.Fault = FaultReason.SecondStageUpdateNotSnooped;
            return Update.Failed;
        }

        if (!_memory.TryExchange(place, entry, desired, out ulong observed))
        {
            request.Fault = FaultReason.SecondStageUpdateFailed;
            return Update.Failed;
        }

        return observed == entry ? Update.Done : Update.Changed;
    }

    private static FaultReason AccessFault(in Context context, int level) =>
        context.IsLegacy
            ? level == context.SecondLevels ? FaultReason.ContextInvalid : FaultReason.PagingEntryAccess
            : level == context.SecondLevels ? FaultReason.SecondStageRootAccess : FaultReason.SecondStageAccess;

    // In legacy mode an entry without rights is a leaf without rights.
    private static bool EndWithoutRights(ref Request request, FaultReason fault) =>
        fault == FaultReason.ReadDenied || request.Fail(fault);
}

/// <summary>How the update of a flag in a paging entry ended.</summary>
internal enum Update
{
    /// <summary>It is set.</summary>
    Done,

    /// <summary>The entry is not what it was.</summary>
    Changed,

    /// <summary>It cannot be set; the fault is noted.</summary>
    Failed,
}
