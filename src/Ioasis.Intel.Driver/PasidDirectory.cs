using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The PASID directory of one device in scalable mode, and the tables that it leads to (sections 9.5, 9.6). A directory entry goes from
/// absent to present once and never changes again.
/// </summary>
internal sealed class PasidDirectory
{
    private const int PageLog2 = 12;

    // A directory has 2^(PDTS+7) entries of 8 bytes, each for 64 PASIDs.
    private const int SmallestBits = PasidDirectoryEntry.PasidShift + 7;

    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly IoLock _lock = new();
    private readonly List<PhysicalAddress> _tables = [];
    private readonly PhysicalAddress _directory;
    private readonly int _bytesLog2;
    private readonly int _node;

    private PasidDirectory(IPhysicalMemory memory, IPageAllocator pages, int node, PhysicalAddress directory, int bits, int bytesLog2)
    {
        _memory = memory;
        _pages = pages;
        _node = node;
        _directory = directory;
        _bytesLog2 = bytesLog2;
        Bits = bits;
    }

    /// <summary>Bits of PASID that it covers.</summary>
    public int Bits { get; }

    /// <summary>The first doubleword of a scalable-mode context entry, but for the bits that permit things.</summary>
    public ulong Pointer => _directory.Value | ((ulong)(Bits - SmallestBits) << ScalableContextEntry.DirectorySizeShift);

    /// <summary>Allocates an empty directory for a number of PASID bits.</summary>
    public static Errno TryCreate(IPhysicalMemory memory, IPageAllocator pages, int node, int pasidBits, out PasidDirectory? directory)
    {
        int bits = Math.Max(pasidBits, SmallestBits);
        int bytesLog2 = Math.Max(PageLog2, bits - PasidDirectoryEntry.PasidShift + 3);
        bool allocated = pages.TryAllocate(bytesLog2, node, out PhysicalAddress start);
        directory = allocated ? new(memory, pages, node, start, bits, bytesLog2) : null;
        return allocated ? Errno.Success : Errno.OutOfMemory;
    }

    /// <summary>The place of a PASID's entry, with the table that it is in.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoDeviceOrAddress"/> if the directory does not cover the PASID; <see cref="Errno.OutOfMemory"/>;
    /// <see cref="Errno.IoError"/> if the memory of a table does not answer.
    /// </returns>
    public Errno TryGetEntry(uint pasid, out PhysicalAddress entry)
    {
        entry = default;
        if (pasid >> Bits != 0)
        {
            return Errno.NoDeviceOrAddress;
        }

        PhysicalAddress at = _directory + ((ulong)(pasid >> PasidDirectoryEntry.PasidShift) * PasidDirectoryEntry.Size);
        using (_lock.Acquire())
        {
            if (_memory.Read64(at, out ulong value) != MemoryStatus.Success)
            {
                return Errno.IoError;
            }

            if ((value & PasidDirectoryEntry.PresentBit) == 0)
            {
                if (!_pages.TryAllocate(PageLog2, _node, out PhysicalAddress table))
                {
                    return Errno.OutOfMemory;
                }

                value = table.Value | PasidDirectoryEntry.PresentBit;
                if (_memory.Write64(at, value) != MemoryStatus.Success)
                {
                    _pages.Free(table, PageLog2);
                    return Errno.IoError;
                }

                _tables.Add(table);
            }

            ulong index = pasid & ((1u << PasidDirectoryEntry.PasidShift) - 1);
            entry = new((value & ~0xffful) + (index * PasidTableEntry.Size));
            return Errno.Success;
        }
    }

    /// <summary>Frees every table; the hardware no longer uses them.</summary>
    public void Free()
    {
        using (_lock.Acquire())
        {
            foreach (PhysicalAddress table in _tables)
            {
                _pages.Free(table, PageLog2);
            }

            _tables.Clear();
            _pages.Free(_directory, _bytesLog2);
        }
    }
}
