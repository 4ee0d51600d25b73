using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A paging domain: a first-stage table and its bonds. It belongs to no IOMMU (S4.2): every IOMMU that can walk the table and
/// sees the same memory can be bonded to it. The root is there from the beginning (S4.10), and so is everything else that
/// maps, attaches and invalidations need (S4.11).
/// </summary>
public sealed partial class RiscVPagingDomain : PagingDomain
{
    private readonly IoPageTable _table;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly int _physicalBits;
    private readonly IoLock _bondLock = new();

    // Table pages whose invalidation failed: hardware may walk them until there is no bond.
    private readonly List<(PhysicalAddress Address, int SizeLog2)> _stranded = [];

    // Replaced, never changed: invalidators read it without a lock.
    private Bond[] _bonds = [];
    private AtsBond[] _atsBonds = [];
    private bool _disposed;

    private RiscVPagingDomain(
        IoPageTable table, IPhysicalMemory memory, IPageAllocator pages, PagingMode mode, int physicalBits)
    {
        _table = table;
        _memory = memory;
        _pages = pages;
        _physicalBits = physicalBits;
        Mode = mode;
        ulong encoded = mode switch
        {
            PagingMode.Sv39 => Iosatp.ModeSv39,
            PagingMode.Sv48 => Iosatp.ModeSv48,
            _ => Iosatp.ModeSv57,
        };
        FirstStage = (encoded << TablePointer.ModeShift) | (table.Root.Value >> 12);
    }

    /// <summary>The format of the table.</summary>
    public PagingMode Mode { get; }

    /// <summary>IOMMUs that a device is attached through.</summary>
    public int BondCount => Volatile.Read(ref _bonds).Length;

    /// <summary>The <c>fsc</c> field of a context that uses the table.</summary>
    internal ulong FirstStage { get; }

    /// <summary>Makes a domain with an empty table.</summary>
    internal static Errno TryCreate(
        RiscVIommuInstance iommu, IPageAllocator pages, PagingMode mode, int node, out RiscVPagingDomain? domain)
    {
        domain = null;
        PageTableFormat format = mode switch
        {
            PagingMode.Sv39 => PageTableFormat.Sv39,
            PagingMode.Sv48 => PageTableFormat.Sv48,
            _ => PageTableFormat.Sv57,
        };
        PageTableOptions options = new()
        {
            Napot = iommu.Options.UseNapot,
            PhysicalAddressBits = iommu.Hardware.PhysicalAddressSize,
            Node = node,
        };
        Errno error = IoPageTable.TryCreate(format, options, iommu.Memory, pages, out IoPageTable? table);
        if (error == Errno.Success)
        {
            domain = new(table!, iommu.Memory, pages, mode, iommu.Hardware.PhysicalAddressSize);
        }

        return error;
    }

    /// <summary>
    /// Makes sure that the domain is bonded to an IOMMU, for one more attachment. When it returns, invalidators see the bond.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the table; <see cref="Errno.NoSpace"/> without
    /// a PSCID.
    /// </returns>
    internal Errno Acquire(RiscVIommuInstance iommu, out Bond? bond)
    {
        bond = null;
        if (!iommu.Supports(Mode) || iommu.Hardware.PhysicalAddressSize < _physicalBits || iommu.Memory != _memory)
        {
            return Errno.InvalidArgument;
        }

        using (_bondLock.Acquire())
        {
            bond = Array.Find(_bonds, b => b.Iommu == iommu);
            if (bond is not null)
            {
                bond.Attachments++;
                return Errno.Success;
            }

            Errno error = iommu.Pscids.TryAllocate(out uint pscid);
            if (error != Errno.Success)
            {
                return error;
            }

            bond = new(this, iommu, pscid) { Attachments = 1 };
            if ((iommu.Mutations & DriverMutation.BondAfterContext) == 0)
            {
                Volatile.Write(ref _bonds, [.. _bonds, bond]);
            }
        }

        // Either an unmap that clears its entries now sees the bond, or the hardware, which cannot load the PSCID before what
        // follows this barrier, sees the cleared entries. The barrier of the unmap is in Sync.
        Interlocked.MemoryBarrier();
        return Errno.Success;
    }

    /// <summary>Makes sure that a device which caches translations is told of every unmap from now on (S4.5, S4.7).</summary>
    internal void AddAts(AtsBond bond)
    {
        using (_bondLock.Acquire())
        {
            Volatile.Write(ref _atsBonds, [.. _atsBonds, bond]);
        }

        Interlocked.MemoryBarrier();
    }

    /// <summary>The device has forgotten everything: it need not be told any more.</summary>
    internal void RemoveAts(AtsBond bond)
    {
        using (_bondLock.Acquire())
        {
            Volatile.Write(ref _atsBonds, Array.FindAll(_atsBonds, b => b != bond));
        }
    }

    /// <summary>For a mutation: publishes a bond late.</summary>
    internal void Publish(Bond bond)
    {
        using (_bondLock.Acquire())
        {
            if (!_bonds.Contains(bond))
            {
                Volatile.Write(ref _bonds, [.. _bonds, bond]);
            }
        }
    }

    /// <summary>
    /// Ends one attachment. The hardware has been switched and the PSCID flushed (S4.8): if it was the last attachment, the
    /// bond goes and the PSCID may be used again.
    /// </summary>
    internal void Release(Bond bond)
    {
        using (_bondLock.Acquire())
        {
            if (--bond.Attachments > 0)
            {
                return;
            }

            Volatile.Write(ref _bonds, Array.FindAll(_bonds, b => b != bond));
        }

        bond.Iommu.Pscids.Free(bond.Pscid);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        using (_bondLock.Acquire())
        {
            // With a bond left, hardware may still walk the table: losing the pages is the lesser evil.
            if (disposing && !_disposed && _bonds.Length == 0)
            {
                _disposed = true;
                _table.Dispose();
                foreach ((PhysicalAddress table, int sizeLog2) in _stranded)
                {
                    _pages.Free(table, sizeLog2);
                }

                _stranded.Clear();
            }
        }

        base.Dispose(disposing);
    }
}
