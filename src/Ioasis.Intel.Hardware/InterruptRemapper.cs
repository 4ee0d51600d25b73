using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// Interrupt remapping (chapter 5): from a store to the interrupt address range to a message for a processor, through the interrupt entry cache or
/// the table in memory. Takes the cache lock to fill the cache, and no other.
/// </summary>
internal sealed class InterruptRemapper(VtdIommuOptions options, HostMemory memory, IMsiSink? sink, CacheState state)
{
    private readonly bool _requiresExtendedMode = options.ExtendedCapabilities.Has(ExtendedCapability.ExtendedInterruptModeRequiredBit);
    private readonly bool _requiresRemapping = options.ExtendedCapabilities.Has(ExtendedCapability.InterruptRemappingRequiredBit);
    private readonly bool _caches = options.Caching != CachingMode.None;
    private readonly bool _cachesFaults = options.Caching == CachingMode.Hostile && options.Capabilities.CachingMode;

    // One place an index, as many as a table can have; made when the first entry comes. Changed under the cache lock, read without.
    private CachedEntry?[] _entries = [];

    private sealed record CachedEntry(ulong Low, ulong High);

    /// <summary>Takes an interrupt request of a device.</summary>
    /// <param name="configuration">The registers.</param>
    /// <param name="sourceId">The requester.</param>
    /// <param name="address">In the interrupt address range.</param>
    /// <param name="data">What is stored.</param>
    /// <param name="fault">Why it was refused.</param>
    /// <param name="index">The index of the entry, if it got that far.</param>
    /// <param name="report">Whether the fault is to be reported.</param>
    /// <returns>Whether it was let through.</returns>
    public bool TryDeliver(
        Configuration configuration, ushort sourceId, ulong address, uint data, out FaultReason fault, out uint index, out bool report)
    {
        index = 0;
        report = true;
        fault = Refuse(configuration, (uint)address);
        if (fault != FaultReason.None)
        {
            return false;
        }

        bool isRemapped = configuration.InterruptRemappingEnabled && ((uint)address & InterruptAddress.RemappableBit) != 0;
        if (!isRemapped)
        {
            return Send(address, data, out fault);
        }

        fault = Remap(configuration, sourceId, (uint)address, data, ref index, out ulong entry, out report);
        if (fault != FaultReason.None)
        {
            return false;
        }

        bool extended = (configuration.InterruptTable & InterruptTable.ExtendedModeBit) != 0;
        uint destination = (uint)(entry >> InterruptEntry.DestinationShift);
        destination = extended ? destination : (destination >> 8) & 0xff;
        ulong message = InterruptAddress.First | ((ulong)(destination & 0xff) << InterruptAddress.DestinationShift)
            | ((ulong)(destination >> 8) << 40)
            | ((entry & InterruptEntry.RedirectionHintBit) != 0 ? InterruptAddress.RedirectionHintBit : 0)
            | ((entry & InterruptEntry.LogicalDestinationBit) != 0 ? InterruptAddress.LogicalDestinationBit : 0);

        // "The 'Trigger Mode Level' field on the system bus is always set to asserted" (section 5.1.4).
        uint value = ((uint)(entry >> InterruptEntry.VectorShift) & 0xff)
            | (((uint)(entry >> InterruptEntry.DeliveryModeShift) & 7) << InterruptAddress.DataDeliveryModeShift)
            | InterruptAddress.DataAssertedBit
            | ((entry & InterruptEntry.LevelTriggerBit) != 0 ? InterruptAddress.DataLevelTriggerBit : 0);
        return Send(message, value, out fault);
    }

    /// <summary>An invalidation of the interrupt entry cache (section 6.5.2.8).</summary>
    /// <param name="index">The first index; null: all.</param>
    /// <param name="mask">log2 of the indexes.</param>
    public void Invalidate(uint? index, int mask)
    {
        using (state.Lock.Acquire())
        {
            state.Sequence++;
            uint first = index is { } start ? start >> mask << mask : 0;
            ulong count = index is null ? ulong.MaxValue : 1ul << mask;
            for (uint i = first; i < _entries.Length && i - first < count; i++)
            {
                Volatile.Write(ref _entries[i], null);
            }
        }
    }

    private FaultReason Refuse(Configuration configuration, uint address)
    {
        if (!configuration.InterruptRemappingEnabled)
        {
            return _requiresRemapping ? FaultReason.InterruptRemappingRequired : FaultReason.None;
        }

        bool extended = (configuration.InterruptTable & InterruptTable.ExtendedModeBit) != 0;
        return _requiresExtendedMode && !extended ? FaultReason.ExtendedInterruptModeRequired
            : (address & InterruptAddress.RemappableBit) == 0 && (extended || !configuration.CompatibilityInterrupts)
                ? FaultReason.CompatibilityInterruptBlocked
            : FaultReason.None;
    }

    private FaultReason Remap(
        Configuration configuration, ushort sourceId, uint address, uint data, ref uint index, out ulong entry, out bool report)
    {
        entry = 0;
        report = true;
        bool hasSubhandle = (address & InterruptAddress.SubhandleBit) != 0;
        if (hasSubhandle && data >> 16 != 0)
        {
            return FaultReason.InterruptRequestReserved;
        }

        index = InterruptAddress.Handle(address) + (hasSubhandle ? data & 0xffff : 0);
        ulong place = InterruptTable.Address(configuration.InterruptTable) + ((ulong)index * InterruptEntry.Size);
        if (index >= InterruptTable.EntryCount(configuration.InterruptTable) || (place & memory.BeyondMask) != 0)
        {
            return FaultReason.InterruptIndexBeyondTable;
        }

        if (!TryRead(place, index, out entry, out ulong high, out long sequence, out bool cached))
        {
            return FaultReason.InterruptEntryAccess;
        }

        report = (entry & InterruptEntry.FaultDisableBit) == 0;
        FaultReason fault = Check(configuration, sourceId, entry, high);
        if (!cached && _caches && (fault == FaultReason.None || _cachesFaults))
        {
            using (state.Lock.Acquire())
            {
                if (sequence == state.Sequence)
                {
                    Keep(index, new(entry, high));
                }
            }
        }

        return fault;
    }

    private bool TryRead(ulong place, uint index, out ulong low, out ulong high, out long sequence, out bool cached)
    {
        sequence = Volatile.Read(ref state.Sequence);
        cached = false;
        CachedEntry?[] entries = Volatile.Read(ref _entries);
        if (index < entries.Length && Volatile.Read(ref entries[index]) is { } known)
        {
            (low, high) = (known.Low, known.High);
            cached = true;
            return true;
        }

        return memory.TryReadPair(place, out low, out high);
    }

    private void Keep(uint index, CachedEntry entry)
    {
        if (_entries.Length == 0)
        {
            Volatile.Write(ref _entries, new CachedEntry?[1 << 16]);
        }

        Volatile.Write(ref _entries[index], entry);
    }

    // In the order of section 5.1.4: present, the requester, then the fields.
    private static FaultReason Check(Configuration configuration, ushort sourceId, ulong low, ulong high)
    {
        if ((low & InterruptEntry.PresentBit) == 0)
        {
            return FaultReason.InterruptEntryNotPresent;
        }

        var validation = (SourceValidation)((high >> InterruptEntry.HighValidationShift) & 3);
        if (validation == SourceValidation.Reserved)
        {
            return FaultReason.InterruptEntryReserved;
        }

        if (!IsSource(sourceId, (ushort)high, validation, (int)(high >> InterruptEntry.HighQualifierShift) & 3))
        {
            return FaultReason.InterruptSourceDenied;
        }

        ulong reserved = InterruptEntry.ReservedMask | InterruptEntry.PostedBit;
        if ((configuration.InterruptTable & InterruptTable.ExtendedModeBit) == 0)
        {
            reserved |= InterruptEntry.XapicReservedMask;
        }

        uint mode = (uint)(low >> InterruptEntry.DeliveryModeShift) & 7;
        return (low & reserved) != 0 || (high & InterruptEntry.HighReservedMask) != 0 || mode is 3 or 6
            ? FaultReason.InterruptEntryReserved
            : FaultReason.None;
    }

    private static bool IsSource(ushort sourceId, ushort allowed, SourceValidation validation, int qualifier)
    {
        // SQ: bit 2, bits 2:1, bits 2:0 do not count.
        uint ignored = qualifier switch { 0 => 0u, 1 => 4u, 2 => 6u, _ => 7u };
        int bus = sourceId >> 8;
        return validation switch
        {
            SourceValidation.Requester => ((uint)(sourceId ^ allowed) & ~ignored) == 0,
            SourceValidation.Bus => bus >= allowed >> 8 && bus <= (allowed & 0xff),
            _ => true,
        };
    }

    // Nobody answers at the address: there is no fault for that.
    private bool Send(ulong address, uint data, out FaultReason fault)
    {
        fault = FaultReason.None;
        return sink is null || sink.Send(new(address), data) == MemoryStatus.Success;
    }
}
