using System.Numerics;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A flat MSI page table (section 2.1.2.5, 2.3.3; AIA specification, "MSI address translation"): an entry for each interrupt file
/// that the devices of a guest may write to. It belongs to a second stage and is complete from the beginning; entries that are
/// not valid are not cached (section 6.3.8).
/// </summary>
internal sealed class MsiPageTable
{
    private const int MaxFilesLog2 = 16;

    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly PhysicalAddress _table;
    private readonly int _sizeLog2;
    private readonly IoLock _lock = new();

    private MsiPageTable(
        IPhysicalMemory memory,
        IPageAllocator pages,
        PhysicalAddress table,
        int sizeLog2,
        InterruptFileAddresses files,
        bool allowsResidentFiles)
    {
        _memory = memory;
        _pages = pages;
        _table = table;
        _sizeLog2 = sizeLog2;
        Files = files;
        AllowsResidentFiles = allowsResidentFiles;
    }

    /// <summary>Where the interrupt files are.</summary>
    public InterruptFileAddresses Files { get; }

    /// <summary>The <c>msiptp</c> field.</summary>
    public ulong Pointer => ((ulong)Msiptp.ModeFlat << TablePointer.ModeShift) | (_table.Value >> 12);

    /// <summary>Whether entries may lead to memory-resident interrupt files, which not every IOMMU can write.</summary>
    public bool AllowsResidentFiles { get; }

    /// <summary>Makes an empty table.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for addresses beyond <paramref name="guestBits"/> or more than 2^16 files;
    /// <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    public static Errno TryCreate(
        IPhysicalMemory memory,
        IPageAllocator pages,
        int node,
        InterruptFileAddresses files,
        int guestBits,
        bool allowsResidentFiles,
        out MsiPageTable? table)
    {
        table = null;
        ulong beyond = ~((1ul << (guestBits - 12)) - 1);
        int filesLog2 = BitOperations.PopCount(files.Mask);
        if (((files.Pattern | files.Mask) & beyond) != 0 || filesLog2 > MaxFilesLog2)
        {
            return Errno.InvalidArgument;
        }

        int sizeLog2 = Math.Max(12, filesLog2 + BitOperations.Log2(MsiPageTableEntry.Size));
        if (!pages.TryAllocate(sizeLog2, node, out PhysicalAddress root))
        {
            return Errno.OutOfMemory;
        }

        table = new(memory, pages, root, sizeLog2, files, allowsResidentFiles);
        return Errno.Success;
    }

    /// <summary>Makes an entry that leads to an interrupt file (basic mode).</summary>
    public Errno Map(Iova iova, PhysicalAddress interruptFile) => Write(
        iova,
        MsiPageTableEntry.ValidBit | ((ulong)MsiPageTableEntry.ModeBasic << MsiPageTableEntry.ModeShift)
            | PpnField.FromAddress(interruptFile.Value),
        0);

    /// <summary>Makes an entry that leads to a memory-resident interrupt file (MRIF mode).</summary>
    public Errno MapResident(Iova iova, PhysicalAddress memory, PhysicalAddress notice, uint noticeIdentity) => Write(
        iova,
        MsiPageTableEntry.ValidBit | ((ulong)MsiPageTableEntry.ModeMrif << MsiPageTableEntry.ModeShift)
            | ((memory.Value >> 9) << MsiPageTableEntry.MrifAddressShift),
        PpnField.FromAddress(notice.Value) | (noticeIdentity & MsiPageTableEntry.NoticeIdLowMask)
            | ((ulong)(noticeIdentity >> 10) << MsiPageTableEntry.NoticeId10Shift));

    /// <summary>Makes an entry invalid; the IOMMUs have to be told.</summary>
    /// <param name="iova">Its address.</param>
    /// <param name="low">What the first half was: 0 if there was nothing.</param>
    public Errno Clear(Iova iova, out ulong low)
    {
        using (_lock.Acquire())
        {
            PhysicalAddress at = At(iova);
            return _memory.Read64(at, out low) == MemoryStatus.Success && _memory.Write64(at, 0) == MemoryStatus.Success
                ? Errno.Success
                : Errno.IoError;
        }
    }

    /// <summary>Undoes <see cref="Clear"/>.</summary>
    public void Restore(Iova iova, ulong low) => _ = _memory.Write64(At(iova), low);

    /// <summary>Gives the memory back; the hardware no longer uses it.</summary>
    public void Free() => _pages.Free(_table, _sizeLog2);

    private PhysicalAddress At(Iova iova) => _table + (Files.IndexOf(iova) * MsiPageTableEntry.Size);

    // V is written last: the hardware reads the two halves in any order (section 2.3.3), but none of an invalid entry.
    private Errno Write(Iova iova, ulong low, ulong high)
    {
        using (_lock.Acquire())
        {
            PhysicalAddress at = At(iova);
            if (_memory.Read64(at, out ulong present) != MemoryStatus.Success)
            {
                return Errno.IoError;
            }

            if ((present & MsiPageTableEntry.ValidBit) != 0)
            {
                return Errno.AddressInUse;
            }

            bool written = _memory.Write64(at + 8, high) == MemoryStatus.Success
                && _memory.Write64(at, low) == MemoryStatus.Success;
            return written ? Errno.Success : Errno.IoError;
        }
    }
}
