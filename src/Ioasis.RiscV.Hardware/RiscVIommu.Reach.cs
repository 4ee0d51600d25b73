using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>What a device could reach, for an embedder whose device cannot ask for each access.</content>
public sealed partial class RiscVIommu
{
    // Tables that point to each other in a circle, or a table that is its own child, have an end.
    private const int MostReachedTables = 4096;
    private const int MostReachedRanges = 1 << 16;
    private const int EntriesOfTable = 512;

    /// <summary>
    /// Lists what untranslated requests of a device without a process would reach by the tables that are in memory now, in the order of IOVAs, as far as these
    /// are not negative. Nothing is cached, counted, recorded or updated. A cached translation may say otherwise until it is invalidated.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="ranges">Gets them, one for each leaf: 65,536 at most, of 4,096 tables.</param>
    /// <returns>
    /// False if nothing limits what it reaches: <c>ddtp.iommu_mode</c> is Bare, or both of its stages are (sections 2.1.3 and 5.5). True otherwise, also where a device reaches nothing.
    /// Tables that are not of 64-bit little-endian entries of the first stage alone are not listed.
    /// </returns>
    public bool TryListReach(DeviceId device, ICollection<ReachedRange> ranges)
    {
        ArgumentNullException.ThrowIfNull(ranges);
        Configuration configuration = Volatile.Read(ref _configuration);
        if (configuration.Mode == IommuMode.Bare)
        {
            return false;
        }

        if (!TryReadContext(configuration, device, out DeviceContextData context) || context.HasSecondStage)
        {
            return true;
        }

        // With a process directory, requests without a process have no first stage, unless process 0 is theirs (section 2.3, steps 9 to 13).
        bool isBare = TablePointer.Mode(context.FirstStageContext) == Iosatp.ModeBare
            || (context.Has(DeviceTranslationControl.PdtValidBit) && !context.Has(DeviceTranslationControl.DefaultProcessBit));
        if (isBare)
        {
            return false;
        }

        const ulong Unlisted = DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.SxlBit | DeviceTranslationControl.FirstStageBigEndianBit;
        if (!context.Has(Unlisted))
        {
            Scheme scheme = FirstStageScheme(TablePointer.Mode(context.FirstStageContext), sxl: false);
            int tables = 0;
            AddTable(
                TablePointer.Address(context.FirstStageContext), scheme.Levels - 1, 0, context.Has(DeviceTranslationControl.FirstStageAdUpdateBit), scheme, ref tables, ranges);
        }

        return true;
    }

    // As WalkDeviceDirectory, without a trace.
    private bool TryReadContext(Configuration configuration, DeviceId device, out DeviceContextData context)
    {
        context = default;
        uint id = DeviceIdOf(device);
        if (configuration.Mode == IommuMode.Off || IsTooWide(configuration, id))
        {
            return false;
        }

        ulong table = configuration.DirectoryRoot;
        for (int level = (int)configuration.Mode - (int)IommuMode.OneLevel; level > 0; level--)
        {
            ulong address = table + ((ulong)DeviceDirectoryIndex.At(id, level, _capabilities.MsiFlat) * DirectoryEntry.Size);
            if (ReadDoubleword(address, configuration.BigEndian, out ulong entry) != MemoryStatus.Success
                || (entry & (DirectoryEntry.ValidBit | DirectoryEntry.ReservedMask)) != DirectoryEntry.ValidBit)
            {
                return false;
            }

            table = PpnField.ToAddress(entry);
        }

        Span<ulong> words = stackalloc ulong[8];
        words.Clear();
        int size = _capabilities.MsiFlat ? 8 : 4;
        if (ReadDoublewords(
            table + ((ulong)DeviceDirectoryIndex.At(id, 0, _capabilities.MsiFlat) * (ulong)size * sizeof(ulong)), configuration.BigEndian, words[..size]) != MemoryStatus.Success)
        {
            return false;
        }

        context = new(words);
        return context.Has(DeviceTranslationControl.ValidBit) && !IsMisconfigured(configuration, context);
    }

    private void AddTable(ulong table, int level, ulong start, bool updates, Scheme scheme, ref int tables, ICollection<ReachedRange> ranges)
    {
        ulong[] entries = new ulong[EntriesOfTable];
        if (++tables > MostReachedTables || (table & ~_physicalMask) != 0
            || _memory.Read(new(table), MemoryMarshal.AsBytes(entries.AsSpan())) != MemoryStatus.Success)
        {
            return;
        }

        // The upper half of the root has IOVAs whose upper bits are all set.
        int count = level == scheme.Levels - 1 ? EntriesOfTable / 2 : EntriesOfTable;
        for (int i = 0; i < count && ranges.Count < MostReachedRanges; i++)
        {
            ulong entry = BitConverter.IsLittleEndian ? entries[i] : BinaryPrimitives.ReverseEndianness(entries[i]);
            ulong iova = start + ((ulong)i << scheme.LevelShift(level));
            if (IsReserved(entry) || (level != 0 && (entry & PageTableEntry.NapotBit) != 0))
            {
                continue;
            }

            if ((entry & (PageTableEntry.ReadBit | PageTableEntry.ExecuteBit)) == 0)
            {
                if (level > 0 && !IsReservedPointer(entry))
                {
                    AddTable(PpnField.ToAddress(entry), level - 1, iova, updates, scheme, ref tables, ranges);
                }

                continue;
            }

            const ulong Readable = PageTableEntry.ReadBit | PageTableEntry.UserBit;
            if (IsAligned(entry, level, scheme) && (entry & Readable) == Readable && (updates || (entry & PageTableEntry.AccessedBit) != 0))
            {
                bool isWritable = (entry & PageTableEntry.WriteBit) != 0 && (updates || (entry & PageTableEntry.DirtyBit) != 0);
                ranges.Add(new(
                    new(iova), 1ul << scheme.LevelShift(level), new(MakeLeaf(entry, iova, level, scheme).Address), isWritable ? Access.ReadWrite : Access.Read));
            }
        }
    }
}
