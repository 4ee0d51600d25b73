using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>A queue of commands with QEMU at the other end: around its end, and through its errors.</summary>
internal static class QueueChecks
{
    private const ulong Iova = 0x4000_0000;

    /// <summary>Unmaps so often that the queue goes round.</summary>
    public static void GoesRound(LabRig rig, int unmaps)
    {
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        for (ulong i = 0; i < (ulong)unmaps; i++)
        {
            domain.ShouldMap(Iova, rig.Data.Start + (i << 12), (1 + (i % 3)) << 12);
            if (i % 10 == 0)
            {
                rig.ShouldReach(edu, Iova, rig.Data.Start + (i << 12), 4);
            }

            domain.ShouldUnmap(Iova, (1 + (i % 3)) << 12);
        }

        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        rig.QueueRecoveries.ShouldBe(0);
        rig.Waits.ShouldBeGreaterThan(unmaps);
    }

    /// <summary>Has the next command be refused a few times: the driver must not take it for done.</summary>
    public static void GoesOnAfterRefusal(LabRig rig, SpoiltCommands spoilt, int times, string says)
    {
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        spoilt.Left = times;
        domain.ShouldUnmap(Iova);
        spoilt.Left.ShouldBe(0);
        rig.QueueRecoveries.ShouldBe(times);
        rig.QueueFailures.ShouldBe(0);
        rig.LogText.ShouldContain(says);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        domain.ShouldMap(Iova, rig.Data.Start + LabRig.Page);
        rig.ShouldReach(edu, Iova, rig.Data.Start + LabRig.Page);
    }

    /// <summary>Has every command be refused: the page is not given back until the memory is sound and the driver has waited.</summary>
    public static void GivesNoPageBackWhileBroken(LabRig rig, SpoiltCommands spoilt, SettableClock clock, TimeSpan timeout)
    {
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        spoilt.Left = int.MaxValue;
        InvalidationGather gather = default;
        domain.Unmap(new(Iova), LabRig.Page, ref gather).ShouldBe(LabRig.Page);
        domain.Sync(ref gather).ShouldBe(Errno.IoError);

        // And that was the truth: the device still gets there.
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        rig.QueueFailures.ShouldBeGreaterThan(0);

        // When the memory is sound again, so is everything, once the driver has waited long enough to try.
        spoilt.Left = 0;
        domain.Sync(ref gather).ShouldBe(Errno.IoError);
        clock.Advance(timeout);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
    }
}
