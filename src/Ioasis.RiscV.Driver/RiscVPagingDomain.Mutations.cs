using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>Mistakes made on purpose: see <see cref="DriverMutation"/>.</content>
public sealed partial class RiscVPagingDomain
{
    private bool _rootIsMade;

    /// <summary>The first stage for a context; another one than everybody's if a mutation lost its race.</summary>
    internal ulong PointerFor(DriverMutation mutations)
    {
        if ((mutations & DriverMutation.RootMadeByAttach) == 0 || _rootIsMade
            || !_pages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress root))
        {
            return Pointer;
        }

        if (_rootIsMade)
        {
            // Somebody else was faster: the context gets a root that no map will ever find.
            return (Pointer & ~TablePointer.PpnMask) | (root.Value >> 12);
        }

        _rootIsMade = true;
        _pages.Free(root, 12);
        return Pointer;
    }

    // Mutations are those of the first IOMMU that is bonded.
    private bool IsMutated(DriverMutation mutation)
    {
        Bond[] bonds = Bonds.Bonds;
        return bonds.Length > 0 && (bonds[0].Iommu.Mutations & mutation) != 0;
    }

    private void FreeTables(in InvalidationGather gather)
    {
        foreach ((PhysicalAddress table, int sizeLog2) in gather.FreedTables)
        {
            _pages.Free(table, sizeLog2);
        }
    }
}
