using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Threads of the host at once, on one IOMMU.</summary>
public class ConcurrencyTests
{
    private const ulong Iova = 0x4000_0000;

    [Fact]
    [Trait("Requirement", "S4.11")]
    public void Maps_unmaps_attaches_and_detaches_of_many_threads_end_where_each_of_them_left_it()
    {
        using QemuRig rig = new(new()
        {
            Devices = [QemuRig.Edu, QemuRig.Edu],
            Driver = new() { CommandQueueSizeLog2 = 4, UseNapot = false },
        });
        RiscVPagingDomain domain = rig.NewAttachedDomain(rig.Edus[0]);
        Core.IommuGroup comesAndGoes = rig.Devices[rig.Edus[1].Id].Group;
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
                ulong iova = Iova + ((ulong)thread * 3 * QemuRig.Page);
                domain.ShouldMap(iova, QemuRig.DataStart + (((round * threads) + (ulong)thread) << 14), 2 * QemuRig.Page);
                if (round < 29)
                {
                    domain.ShouldUnmap(iova, 2 * QemuRig.Page);
                }
            }
        });
        comesAndGoes.Attach(domain).ShouldBe(Errno.Success);
        for (ulong thread = 0; thread < threads; thread++)
        {
            ulong iova = Iova + (thread * 3 * QemuRig.Page);
            ulong target = QemuRig.DataStart + (((29 * threads) + thread) << 14);
            foreach (EduDevice edu in rig.Edus)
            {
                rig.ShouldReach(edu, iova, target);
                rig.ShouldReach(edu, iova + QemuRig.Page, target + QemuRig.Page);
                rig.ShouldFault(edu, iova + (2 * QemuRig.Page), FaultCause.ReadPageFault);
            }
        }

        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        domain.BondCount.ShouldBe(1);
    }
}
