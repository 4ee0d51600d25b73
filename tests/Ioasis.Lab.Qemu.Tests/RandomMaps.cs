using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Pages that come, go and come back at random, and devices that must reach exactly those that are there.</summary>
internal static class RandomMaps
{
    /// <summary>Maps before the first attach, so that the root is the domain's from the beginning; then maps and unmaps.</summary>
    public static void Check(LabRig rig, int seed)
    {
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewDomain(rig.Devices[edu.Id]);
        Random random = new(seed);
        SortedDictionary<ulong, ulong> pages = [];
        RandomlyMap(rig, domain, random, pages, 24);
        rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        for (int round = 0; round < 6; round++)
        {
            CheckAtRandom(rig, edu, random, pages, 12);

            // Half of it goes, other pages come, and some of the gone ones come back to another place.
            foreach (ulong gone in pages.Keys.Where(_ => random.Next(2) == 0).ToArray())
            {
                domain.ShouldUnmap(gone);
                pages.Remove(gone);
                if (random.Next(4) == 0)
                {
                    rig.ShouldFault(edu, gone + ((ulong)random.Next(1023) * 4), Refusal.NotMapped);
                }
            }

            RandomlyMap(rig, domain, random, pages, 12);
        }
    }

    private static void RandomlyMap(
        LabRig rig, PagingDomain domain, Random random, SortedDictionary<ulong, ulong> pages, int count)
    {
        ulong top = domain.Aperture.Last;
        for (int i = 0; i < count; i++)
        {
            // Close together, and anywhere; runs of a few pages, so that neighbours are mapped and not.
            ulong page = random.Next(2) == 0
                ? (ulong)random.Next(0, 64) << 12
                : ((ulong)random.NextInt64() & top) & ~(LabRig.Page - 1);
            ulong target = rig.Data.Start + ((ulong)random.Next(0, 32 * 1024) << 12);
            int run = random.Next(1, 5);
            for (int n = 0; n < run; n++, page += LabRig.Page, target += LabRig.Page)
            {
                if (page <= top && target <= rig.Data.Last && pages.TryAdd(page, target))
                {
                    domain.ShouldMap(page, target);
                }
            }
        }
    }

    private static void CheckAtRandom(
        LabRig rig, EduDevice edu, Random random, SortedDictionary<ulong, ulong> pages, int count)
    {
        ulong[] all = [.. pages.Keys];
        for (int i = 0; i < count; i++)
        {
            ulong page = all[random.Next(all.Length)];
            int offset = random.Next(0, 4096);
            rig.ShouldReach(edu, page + (ulong)offset, pages[page] + (ulong)offset, random.Next(1, 4097 - offset));
        }

        ulong near = all[random.Next(all.Length)] + LabRig.Page;
        if (!pages.ContainsKey(near))
        {
            rig.ShouldFault(edu, near, Refusal.NotMapped, write: true);
        }
    }
}
