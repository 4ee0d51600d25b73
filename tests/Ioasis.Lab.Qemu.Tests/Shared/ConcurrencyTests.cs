using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Shared;

/// <summary>Threads of the host at once, on one IOMMU.</summary>
public abstract class ConcurrencyTests
{
    private const ulong Iova = 0x4000_0000;

    private protected abstract LabRig NewRig(LabNeeds needs);

    [Fact]
    [Trait("Requirement", "S4.11")]
    public void Maps_unmaps_attaches_and_detaches_of_many_threads_end_where_each_of_them_left_it()
    {
        using LabRig rig = NewRig(new() { Devices = [LabRig.Edu, LabRig.Edu], SmallQueue = true });
        PagingDomain domain = rig.NewAttachedDomain(rig.Edus[0]);
        IommuGroup comesAndGoes = rig.Devices[rig.Edus[1].Id].Group;
        const int threads = 4;
        Parallel.For(0, threads + 1, new ParallelOptions { MaxDegreeOfParallelism = threads + 1 }, thread =>
        {
            for (ulong round = 0; round < 30; round++)
            {
                if (thread == threads)
                {
                    comesAndGoes.Attach(domain).ShouldBe(Errno.Success);
                    comesAndGoes.Detach().ShouldBe(Errno.Success);
                    continue;
                }

                // Neighbours in the same tables, for different threads; the last round's map stays.
                ulong iova = Iova + ((ulong)thread * 3 * LabRig.Page);
                domain.ShouldMap(iova, rig.Data.Start + (((round * threads) + (ulong)thread) << 14), 2 * LabRig.Page);
                if (round < 29)
                {
                    domain.ShouldUnmap(iova, 2 * LabRig.Page);
                }
            }
        });
        comesAndGoes.Attach(domain).ShouldBe(Errno.Success);
        for (ulong thread = 0; thread < threads; thread++)
        {
            ulong iova = Iova + (thread * 3 * LabRig.Page);
            ulong target = rig.Data.Start + (((29 * threads) + thread) << 14);
            foreach (EduDevice edu in rig.Edus)
            {
                rig.ShouldReach(edu, iova, target);
                rig.ShouldReach(edu, iova + LabRig.Page, target + LabRig.Page);
                rig.ShouldFault(edu, iova + (2 * LabRig.Page), Refusal.NotMapped);
            }
        }

        rig.QueueRecoveries.ShouldBe(0);
        rig.Iommu.Usage.AddressSpaces.ShouldBe(1);
    }
}
