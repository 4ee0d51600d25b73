using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>
/// The common walk, made short: an untranslated request of a known context, 64-bit little-endian tables in this process's memory, entries with nothing
/// to update and nothing unusual. Whatever else it meets, it gives up without a trace, and the walk by the book
/// starts from the beginning. It decides nothing that the other would decide otherwise.
/// </content>
public sealed partial class RiscVIommu
{
    private const ulong EntryUpperBits = ~((1ul << 54) - 1);
    private const ulong EntryKind = PageTableEntry.ValidBit | PageTableEntry.LeafMask;
    private const ulong PointerMustBeZero = EntryUpperBits | PageTableEntry.DirtyBit | PageTableEntry.AccessedBit | PageTableEntry.UserBit;
    private const ulong BareLeaf = PageTableEntry.LeafMask | PageTableEntry.UserBit | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;

    // log2 of what a Bare second stage contributes to a size, with fctl.GXL = 0.
    private byte _bareSecondStageSizeLog2;

    /// <summary>Reads entries; remembers where the last one was, for the next is often near.</summary>
    private unsafe ref struct EntryReader(SparsePhysicalMemory memory, ulong physicalMask)
    {
        private ulong _chunkNumber = ulong.MaxValue;
        private byte* _chunk;

        /// <summary>How many entries were read.</summary>
        public int Reads;

        /// <summary>Reads an aligned doubleword, unless nothing was ever stored around it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool TryRead(ulong address, out ulong value)
        {
            const ulong Mask = (1ul << SparsePhysicalMemory.ChunkShift) - 1;
            Reads++;
            if (address >> SparsePhysicalMemory.ChunkShift != _chunkNumber && !TryMove(address))
            {
                value = 0;
                return false;
            }

            value = Volatile.Read(ref *(ulong*)(_chunk + (address & Mask)));
            return true;
        }

        private bool TryMove(ulong address)
        {
            _chunkNumber = ulong.MaxValue;
            if ((address & ~physicalMask) != 0)
            {
                return false;
            }

            _chunk = (byte*)memory.FindChunk(new(address));
            _chunkNumber = _chunk == null ? ulong.MaxValue : address >> SparsePhysicalMemory.ChunkShift;
            return _chunk != null;
        }
    }

    /// <summary>Walks.</summary>
    /// <param name="dma">The request.</param>
    /// <param name="translation">The answer.</param>
    /// <param name="faulting">
    /// The context in which there is no entry for the address (V=0), of the first stage and with no second one: a page fault, that is
    /// counted and is still to be reported. Null otherwise.
    /// </param>
    /// <returns>Whether there is an answer; if there is no fault either, the walk by the book has to find it.</returns>
    private bool TryWalkFast(in DmaRequest dma, out DmaTranslation translation, out TranslationContext? faulting)
    {
        faulting = null;
        Configuration configuration = Volatile.Read(ref _configuration);
        long sequence = Volatile.Read(ref _invalidationSequence);
        DmaFlags flags = dma.Flags;
        ulong key = dma.Device.Value;
        if ((flags & DmaFlags.PasidValid) != 0)
        {
            key |= ((ulong)(dma.Pasid.Value & Pasid.MaxValue) << 24) | TranslationContext.HasProcessBit;
        }

        ulong iova = dma.Address.Value;
        if (Injection.Current is not null || _chunks is not { } memory || _hostile is not null
            || dma.Kind != DmaKind.Untranslated || dma.Device.Value > MaxDeviceId
            || Volatile.Read(ref _activeEvents) != 0
            || configuration.BigEndian || configuration.Gxl || configuration.Mode < IommuMode.OneLevel
            || FindContext(key) is not { HasPlainTables: true } context
            || ((iova + context.RangeBias) & context.RangeMask) != 0)
        {
            translation = default;
            return false;
        }

        // What a leaf must have: the right, A, and D to write; users' pages have U, and supervisors' have not.
        bool write = (flags & DmaFlags.Write) != 0;
        ulong right = PageTableEntry.ValidBit | PageTableEntry.AccessedBit
            | (write ? PageTableEntry.ReadBit | PageTableEntry.WriteBit | PageTableEntry.DirtyBit
                : (flags & DmaFlags.Execute) != 0 ? PageTableEntry.ReadBit | PageTableEntry.ExecuteBit : PageTableEntry.ReadBit);
        const DmaFlags Supervisor = DmaFlags.PasidValid | DmaFlags.Privileged;
        bool supervisor = (flags & Supervisor) == Supervisor;
        ulong user = supervisor ? 0 : PageTableEntry.UserBit;

        EntryReader reader = new(memory, _physicalMask);
        if ((supervisor && context.SupervisorShift < 0)
            || !TryWalkFirst(ref reader, context, iova, out ulong first, out int firstLevel))
        {
            translation = default;
            return false;
        }

        if ((first & (right | PageTableEntry.UserBit)) != (right | user))
        {
            translation = default;
            if ((first & PageTableEntry.ValidBit) == 0 && context.SecondLevels == 0)
            {
                context.Counters?.CountMiss(reader.Reads);
                faulting = context;
            }

            return false;
        }

        ulong address = PageOf(first, firstLevel, iova);
        int sizeLog2 = 12 + (9 * firstLevel);
        int spanLog2 = sizeLog2;
        ulong second = BareLeaf;
        if (context.SecondLevels == 0)
        {
            sizeLog2 = Math.Min(sizeLog2, _bareSecondStageSizeLog2);
        }
        else
        {
            if (!TryWalkSecond(ref reader, context, address, right | PageTableEntry.UserBit, out second, out int secondLevel))
            {
                translation = default;
                return false;
            }

            address = PageOf(second, secondLevel, address);
            sizeLog2 = Math.Min(sizeLog2, 12 + (9 * secondLevel));
            spanLog2 = sizeLog2;
        }

        translation = new(new(address), DmaStatus.Success, (byte)sizeLog2);
        context.Counters?.CountMiss(reader.Reads);
        if (_iotlb is not null && context.Space is { } space)
        {
            FillFast(context, space, sequence, iova, address, first, second, 12 + (9 * firstLevel), spanLog2);
        }

        return true;
    }

    // A page fault of an untranslated request, as UseContext, CauseOf and Answer have it.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private DmaTranslation ReportMissingEntry(in DmaRequest dma, TranslationContext context)
    {
        Request request = MakeRequest(dma);
        request.DisableFaults = context.Device.Data.Has(DeviceTranslationControl.DisableTranslationFaultsBit);
        request.Cause = CauseOf(StageStatus.PageFault, request);
        return Conclude(request, default, translated: false);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void FillFast(
        TranslationContext context, AddressSpace space, long sequence, ulong iova, ulong address, ulong first, ulong second, int firstSpanLog2, int spanLog2)
    {
        Request request = new() { Iova = iova, Kind = DmaKind.Untranslated, FillSequence = sequence };
        Outcome outcome = new() { Address = address, SpanLog2 = spanLog2 };
        outcome.First.Pte = first;
        outcome.First.SpanLog2 = firstSpanLog2;
        outcome.Second.Pte = second;
        FillIotlb(request, space, context.Counters, outcome, context.Stage);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong PageOf(ulong entry, int level, ulong address)
    {
        ulong offset = (1ul << (12 + (9 * level))) - 1;
        return PpnField.ToAddress(entry) | (address & offset);
    }

    // The leaf of the first stage, with the rights still to be checked.
    private static bool TryWalkFirst(ref EntryReader reader, TranslationContext context, ulong iova, out ulong entry, out int level)
    {
        level = context.FirstLevels - 1;
        ulong table = context.FirstRoot;
        bool nested = context.SecondLevels != 0;
        int shift = 12 + (9 * level);
        entry = 0;
        while (true)
        {
            ulong place = table | ((iova >> shift) & 0x1ff) << 3;
            if (nested)
            {
                if (!TryWalkSecond(ref reader, context, place, context.ImplicitRight, out ulong page, out int pageLevel))
                {
                    return false;
                }

                place = PageOf(page, pageLevel, place);
            }

            if (!reader.TryRead(place, out entry))
            {
                return false;
            }

            if ((entry & EntryKind) != PageTableEntry.ValidBit)
            {
                return (entry & EntryUpperBits) == 0 && IsAlignedFast(entry, level);
            }

            if ((entry & PointerMustBeZero) != 0 || --level < 0)
            {
                return false;
            }

            table = PpnField.ToAddress(entry);
            shift -= 9;
        }
    }

    // The leaf of the second stage; it has all the rights that are asked for.
    private static bool TryWalkSecond(
        ref EntryReader reader, TranslationContext context, ulong address, ulong right, out ulong entry, out int level)
    {
        level = context.SecondLevels - 1;
        int shift = 12 + (9 * level);
        ulong index = address >> shift;
        entry = 0;
        if (index >= 1ul << 11)
        {
            return false;
        }

        ulong table = context.SecondRoot;
        while (true)
        {
            if (!reader.TryRead(table | (index << 3), out entry))
            {
                return false;
            }

            if ((entry & EntryKind) != PageTableEntry.ValidBit)
            {
                return (entry & (right | EntryUpperBits)) == right && IsAlignedFast(entry, level);
            }

            if ((entry & PointerMustBeZero) != 0 || --level < 0)
            {
                return false;
            }

            table = PpnField.ToAddress(entry);
            shift -= 9;
            index = (address >> shift) & 0x1ff;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsAlignedFast(ulong entry, int level) =>
        level == 0 || (PpnField.ToAddress(entry) & ((1ul << (12 + (9 * level))) - 1)) == 0;
}
