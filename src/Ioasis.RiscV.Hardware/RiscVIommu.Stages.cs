using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>
/// The walks of page tables: "Virtual Address Translation Process" and "Two-Stage Address Translation" of the Privileged
/// specification, as the process to translate an IOVA uses them (section 2.3, steps 17 and 19).
/// </content>
public sealed partial class RiscVIommu
{
    // Somebody else who changes a PTE between our read and our compare-and-swap makes us look again, but not forever.
    private const int MaxRetries = 256;

    /// <summary>How the second stage is accessed.</summary>
    private struct SecondStageAccess
    {
        public bool IsRead;
        public bool IsWrite;
        public bool IsExecute;
        public bool CheckPermissions;

        /// <summary>The access reads a PTE of the first stage.</summary>
        public bool IsImplicit;
    }

    /// <summary>A page-table scheme: Sv39 and its like.</summary>
    /// <param name="Levels">Levels of tables.</param>
    /// <param name="LevelBits">Index bits of a level.</param>
    /// <param name="RootExtraBits">Index bits that the root has more: 2 in the second stage.</param>
    /// <param name="EntrySizeLog2">log2 of the bytes of an entry.</param>
    private readonly record struct Scheme(int Levels, int LevelBits, int RootExtraBits, int EntrySizeLog2)
    {
        public int AddressBits => 12 + (Levels * LevelBits) + RootExtraBits;

        public int LevelShift(int level) => 12 + (level * LevelBits);

        public ulong EntryOffset(ulong address, int level)
        {
            int bits = level == Levels - 1 ? LevelBits + RootExtraBits : LevelBits;
            return ((address >> LevelShift(level)) & ((1ul << bits) - 1)) << EntrySizeLog2;
        }
    }

    private static Scheme FirstStageScheme(int mode, bool sxl) =>
        sxl ? new(2, 10, 0, 2) : new(3 + mode - Iosatp.ModeSv39, 9, 0, 3);

    private static Scheme SecondStageScheme(int mode, bool gxl) =>
        gxl ? new(2, 10, 2, 2) : new(3 + mode - Iohgatp.ModeSv39x4, 9, 2, 3);

    // The size that a Bare stage contributes is that of the widest scheme that could be used instead (section 2.6 leaves it open).
    private static ulong BareSize(bool sv48, bool sv39, bool sv32, bool narrow, ulong size, ulong? sizeSv32)
    {
        if (sv48 || (sv39 && !narrow))
        {
            return size;
        }

        return sv32 && narrow ? sizeSv32 ?? size : 4096;
    }

    /// <summary>Translates an IOVA to a guest physical address (step 17).</summary>
    private StageStatus WalkFirstStage(
        Configuration configuration, ref Request request, in DeviceContextData device, in FirstStage stage, out Leaf leaf)
    {
        leaf = default;
        bool sxl = device.Has(DeviceTranslationControl.SxlBit);
        if (stage.IsBare)
        {
            ulong size = BareSize(
                _capabilities.Sv57 || _capabilities.Sv48, _capabilities.Sv39, _capabilities.Sv32, sxl,
                Options.BareFirstStageSize, Options.BareFirstStageSizeSv32);
            leaf.SizeLog2 = (int)ulong.Log2(size);
            leaf.SpanLog2 = 63;
            leaf.WasDirty = true;
            leaf.Address = request.Iova;
            leaf.Pte = PageTableEntry.LeafMask | PageTableEntry.UserBit | PageTableEntry.GlobalBit
                | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;
            return StageStatus.Success;
        }

        Scheme scheme = FirstStageScheme(TablePointer.Mode(stage.Iosatp), sxl);
        if (!IsInFirstStageRange(request.Iova, scheme.AddressBits, sxl))
        {
            return StageStatus.PageFault;
        }

        bool bigEndian = device.Has(DeviceTranslationControl.FirstStageBigEndianBit);
        ulong table = TablePointer.Address(stage.Iosatp);
        SpaceKey space = new(request.HasGscid, request.Gscid, request.HasPscid, request.Pscid);
        int level = scheme.Levels - 1;
        StartWalk(space, isFirstStage: true, request.Iova, ref level, ref table, out WalkStart start);
        if (start.HasLeaf)
        {
            // A cached leaf answers, unless its A or D would have to be set in memory.
            ulong missing = MissingBits(start.Leaf, request.IsWrite);
            if (!IsFirstStagePermitted(request, stage, start.Leaf)
                || (missing != 0 && !device.Has(DeviceTranslationControl.FirstStageAdUpdateBit)))
            {
                return StageStatus.PageFault;
            }

            if (missing == 0)
            {
                leaf = MakeLeaf(start.Leaf | (start.IsGlobal ? PageTableEntry.GlobalBit : 0), request.Iova, level, scheme);
                leaf.WasDirty = true;
                return StageStatus.Success;
            }

            level = scheme.Levels - 1;
            start = default;
        }

        ulong global = start.IsGlobal ? PageTableEntry.GlobalBit : 0;
        int retries = 0;
        while (level >= 0)
        {
            // The address of the entry, through the second stage if there is one.
            ulong entryAddress = table + scheme.EntryOffset(request.Iova, level);
            ulong guestAddress = entryAddress;
            bool entryWritable = true;
            if (device.HasSecondStage)
            {
                SecondStageAccess access = new() { IsRead = true, CheckPermissions = true, IsImplicit = true };
                StageStatus status = WalkSecondStage(configuration, ref request, device, guestAddress, access, out Leaf entryLeaf);
                if (status != StageStatus.Success)
                {
                    request.Iotval2 = status == StageStatus.GuestPageFault ? (guestAddress & ~3ul) | FaultRecord.ImplicitBit : 0;
                    return status;
                }

                entryAddress = entryLeaf.Address;
                entryWritable = entryLeaf.Has(PageTableEntry.WriteBit);
            }

            if ((entryAddress & ~_physicalMask) == 0)
            {
                CountEvent(request, HpmEvent.FirstStageWalk);
            }

            MemoryStatus read = ReadEntry(ref request, entryAddress, bigEndian, scheme.EntrySizeLog2, out ulong entry);
            if (read != MemoryStatus.Success)
            {
                return ToStageStatus(read);
            }

            if (IsReserved(entry) || (level != 0 && (entry & PageTableEntry.NapotBit) != 0))
            {
                return StageStatus.PageFault;
            }

            if ((entry & (PageTableEntry.ReadBit | PageTableEntry.ExecuteBit)) == 0)
            {
                if (IsReservedPointer(entry))
                {
                    return StageStatus.PageFault;
                }

                global |= entry & PageTableEntry.GlobalBit;
                RememberEntry(request, space, isFirstStage: true, request.Iova, entry, level, scheme, global != 0);
                table = PpnField.ToAddress(entry);
                level--;
                continue;
            }

            if (!IsAligned(entry, level, scheme))
            {
                return StageStatus.PageFault;
            }

            bool isGlobal = ((global | entry) & PageTableEntry.GlobalBit) != 0;
            RememberEntry(request, space, isFirstStage: true, request.Iova, entry, level, scheme, isGlobal);
            if (!IsFirstStagePermitted(request, stage, entry))
            {
                return StageStatus.PageFault;
            }

            ulong update = MissingBits(entry, request.IsWrite);
            if (update != 0)
            {
                if (!device.Has(DeviceTranslationControl.FirstStageAdUpdateBit))
                {
                    return StageStatus.PageFault;
                }

                if (!entryWritable)
                {
                    request.Iotval2 = (guestAddress & ~3ul) | FaultRecord.ImplicitBit | FaultRecord.ImplicitWriteBit;
                    return StageStatus.GuestPageFault;
                }

                CountEvent(request, HpmEvent.FirstStageWalk);
                MemoryStatus updated = UpdateEntry(entryAddress, bigEndian, scheme.EntrySizeLog2, entry, update, out bool changed);
                if (updated != MemoryStatus.Success)
                {
                    return ToStageStatus(updated);
                }

                if (changed)
                {
                    if (++retries > MaxRetries)
                    {
                        return StageStatus.PageFault;
                    }

                    continue;
                }

                entry |= update;
                RememberEntry(request, space, isFirstStage: true, request.Iova, entry, level, scheme, isGlobal);
            }

            leaf = MakeLeaf(entry | global, request.Iova, level, scheme);
            leaf.WasDirty = (update & PageTableEntry.DirtyBit) == 0;
            return StageStatus.Success;
        }

        return StageStatus.PageFault;
    }

    /// <summary>Translates a guest physical address to a physical one (step 19, and the implicit accesses of step 17).</summary>
    private StageStatus WalkSecondStage(
        Configuration configuration, ref Request request, in DeviceContextData device, ulong address, SecondStageAccess access, out Leaf leaf)
    {
        leaf = default;
        int mode = TablePointer.Mode(device.Iohgatp);
        if (mode == Iohgatp.ModeBare)
        {
            ulong size = BareSize(
                _capabilities.Sv57x4 || _capabilities.Sv48x4, _capabilities.Sv39x4, _capabilities.Sv32x4, configuration.Gxl,
                Options.BareSecondStageSize, Options.BareSecondStageSizeSv32);
            leaf.SizeLog2 = (int)ulong.Log2(size);
            leaf.SpanLog2 = 63;
            leaf.WasDirty = true;
            leaf.Address = (Options.Deviations & ReferenceDeviations.BareAddress56Bits) != 0 ? address & ((1ul << 56) - 1) : address;
            leaf.Pte = PageTableEntry.LeafMask | PageTableEntry.UserBit | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;
            return StageStatus.Success;
        }

        Scheme scheme = SecondStageScheme(mode, configuration.Gxl);

        // With SXL a guest has 34 bits of address whatever the scheme (section 2.1.3.1).
        int addressBits = device.Has(DeviceTranslationControl.SxlBit) ? 34 : scheme.AddressBits;
        if (address >> addressBits != 0)
        {
            return StageStatus.GuestPageFault;
        }

        ulong table = TablePointer.Address(device.Iohgatp);
        bool bigEndian = configuration.BigEndian;

        // An implicit access that may have to update a first-stage PTE counts as a store.
        bool stores = access.IsWrite || (access.IsImplicit && device.Has(DeviceTranslationControl.FirstStageAdUpdateBit));
        SpaceKey space = new(HasGscid: true, device.Gscid, HasPscid: false, 0);
        int level = scheme.Levels - 1;
        StartWalk(space, isFirstStage: false, address, ref level, ref table, out WalkStart start);
        if (start.HasLeaf)
        {
            ulong missing = MissingBits(start.Leaf, stores);
            if (!IsSecondStagePermitted(access, start.Leaf)
                || (missing != 0 && !device.Has(DeviceTranslationControl.SecondStageAdUpdateBit)))
            {
                return StageStatus.GuestPageFault;
            }

            if (missing == 0)
            {
                leaf = MakeLeaf(start.Leaf, address, level, scheme);
                leaf.WasDirty = true;
                return StageStatus.Success;
            }

            level = scheme.Levels - 1;
        }

        int retries = 0;
        while (level >= 0)
        {
            CountEvent(request, HpmEvent.SecondStageWalk);
            ulong entryAddress = table + scheme.EntryOffset(address, level);
            MemoryStatus read = ReadEntry(ref request, entryAddress, bigEndian, scheme.EntrySizeLog2, out ulong entry);
            if (read != MemoryStatus.Success)
            {
                return ToStageStatus(read);
            }

            if (IsReserved(entry) || (level != 0 && (entry & PageTableEntry.NapotBit) != 0))
            {
                return StageStatus.GuestPageFault;
            }

            if ((entry & (PageTableEntry.ReadBit | PageTableEntry.ExecuteBit)) == 0)
            {
                if (IsReservedPointer(entry))
                {
                    return StageStatus.GuestPageFault;
                }

                RememberEntry(request, space, isFirstStage: false, address, entry, level, scheme, isGlobal: false);
                table = PpnField.ToAddress(entry);
                level--;
                continue;
            }

            if (!IsAligned(entry, level, scheme))
            {
                return StageStatus.GuestPageFault;
            }

            RememberEntry(request, space, isFirstStage: false, address, entry, level, scheme, isGlobal: false);
            if (!IsSecondStagePermitted(access, entry))
            {
                return StageStatus.GuestPageFault;
            }

            ulong update = MissingBits(entry, stores);
            if (update != 0)
            {
                if (!device.Has(DeviceTranslationControl.SecondStageAdUpdateBit))
                {
                    return StageStatus.GuestPageFault;
                }

                if (access.IsImplicit && (Options.Deviations & ReferenceDeviations.ImplicitReadSetsDirty) != 0)
                {
                    update = MissingBits(entry, stores: true);
                }

                CountEvent(request, HpmEvent.SecondStageWalk);
                MemoryStatus updated = UpdateEntry(entryAddress, bigEndian, scheme.EntrySizeLog2, entry, update, out bool changed);
                if (updated != MemoryStatus.Success)
                {
                    return ToStageStatus(updated);
                }

                if (changed)
                {
                    if (++retries > MaxRetries)
                    {
                        return StageStatus.GuestPageFault;
                    }

                    continue;
                }

                entry |= update;
                RememberEntry(request, space, isFirstStage: false, address, entry, level, scheme, isGlobal: false);
            }

            leaf = MakeLeaf(entry, address, level, scheme);
            leaf.WasDirty = (update & PageTableEntry.DirtyBit) == 0;
            return StageStatus.Success;
        }

        return StageStatus.GuestPageFault;
    }
}
