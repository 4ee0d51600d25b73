using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>A leaf above 4 KiB, as one and split.</summary>
internal static class SuperpageChecks
{
    /// <summary>Maps a leaf over the data, or as much of it as fits, reaches it at its ends, and takes a page out of its middle.</summary>
    public static void CheckLeaf(LabRig rig, EduDevice edu, TablePagingDomain domain, ulong size)
    {
        // The lower half has room for one leaf of the largest size, at 0.
        ulong iova = size * 3 < domain.Aperture.Last ? size * 2 : 0;
        ulong target = rig.Data.Start & ~(size - 1);
        long before = domain.TableBytes;
        domain.ShouldMap(iova, target, size);
        domain.TryTranslate(new(iova), out PhysicalAddress translated, out _, out ulong leaf).ShouldBeTrue();
        translated.ShouldBe(new(target));
        leaf.ShouldBe(size);

        // Three levels of tables at most lie above it: the mapping did not fall apart into pages.
        (domain.TableBytes - before).ShouldBeLessThanOrEqualTo(3 * 4096);
        foreach (ulong address in Corners(rig, target, size))
        {
            rig.ShouldReach(edu, iova + (address - target), address);
        }

        rig.ShouldFault(edu, iova + size, Refusal.NotMapped);

        // A page out of its middle splits the leaf; the rest still leads where it did.
        ulong hole = (Math.Max(target, rig.Data.Start) + (1 << 20)) & ~(LabRig.Page - 1);
        domain.ShouldUnmap(iova + (hole - target));
        rig.ShouldFault(edu, iova + (hole - target), Refusal.NotMapped);
        rig.ShouldFault(edu, iova + (hole - target) + 0xffc, Refusal.NotMapped, write: true);
        rig.ShouldReach(edu, iova + (hole - target) - 64, hole - 64);
        rig.ShouldReach(edu, iova + (hole - target) + LabRig.Page, hole + LabRig.Page);
        foreach (ulong address in Corners(rig, target, size))
        {
            rig.ShouldReach(edu, iova + (address - target), address);
        }
    }

    private static IEnumerable<ulong> Corners(LabRig rig, ulong target, ulong size)
    {
        ulong last = Math.Min(target + (size - 1), rig.Data.Last);
        ulong first = Math.Max(target, rig.Data.Start);
        return [first, first + (LabRig.Page - 32), last - 63];
    }
}
