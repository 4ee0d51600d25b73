using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Fault records that QEMU writes: their order, what they say, and what happens when there are too many.</summary>
public class FaultQueueTests
{
    private const ulong Iova = 0x4000_0000;

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Faults_are_reported_in_order_with_device_address_access_and_cause()
    {
        using QemuRig rig = new(new() { Devices = [QemuRig.Edu, QemuRig.Edu] });
        RiscVPagingDomain domain = rig.NewAttachedDomain(rig.Edus[0]);
        domain.ShouldMap(Iova, QemuRig.DataStart, access: Access.Read);
        List<(DeviceId Device, ulong Iova, Access Access, FaultCause Cause)> expected = [];
        Random random = new(5);
        for (int i = 0; i < 40; i++)
        {
            bool blocked = random.Next(2) == 0;
            bool write = random.Next(2) == 0;
            EduDevice edu = rig.Edus[blocked ? 1 : 0];
            ulong iova = write && random.Next(2) == 0
                ? Iova + ((ulong)random.Next(1024) * 4)
                : ((ulong)random.NextInt64() & 0x7fff_ffff_fffcul) | (1ul << 45);
            if (write)
            {
                edu.WriteMemory(new(iova), 4);
            }
            else
            {
                edu.ReadMemory(new(iova), 4);
            }

            expected.Add((
                edu.Id, iova, write ? Access.Write : Access.Read,
                blocked ? FaultCause.DdtEntryNotValid : write ? FaultCause.WritePageFault : FaultCause.ReadPageFault));
            if (random.Next(8) == 0)
            {
                rig.HandleInterrupts();
            }
        }

        rig.HandleInterrupts();
        rig.Faults.Select(static f => (f.DeviceId, f.Iova.Value, f.Access, (FaultCause)f.Cause)).ShouldBe(expected);
        rig.Faults.ShouldAllBe(f => f.Reason == (f.DeviceId == rig.Edus[1].Id ? IommuFaultReason.Blocked : IommuFaultReason.NotMapped)
            && f.Pasid == Pasid.None && !f.Privileged && f.Device == rig.Devices[f.DeviceId]);
        rig.Lost.ShouldBe(0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(5)]
    [Trait("Requirement", "S4.16")]
    public void Of_a_flood_the_first_records_arrive_the_loss_is_told_and_reporting_goes_on(int sizeLog2)
    {
        using QemuRig rig = new(new() { Driver = new() { FaultQueueSizeLog2 = sizeLog2 } });
        EduDevice edu = rig.Edus[0];
        rig.NewAttachedDomain(edu);
        int room = (1 << sizeLog2) - 1;
        for (int round = 0; round < 3; round++)
        {
            rig.Faults.Clear();
            int lost = rig.Lost;
            for (int i = 0; i < room + 5; i++)
            {
                edu.ReadMemory(new(Iova + ((ulong)i << 12)), 4);
            }

            rig.HandleInterrupts();
            rig.Faults.Select(static f => f.Iova.Value).ShouldBe(Enumerable.Range(0, room).Select(static i => Iova + ((ulong)i << 12)));
            rig.Lost.ShouldBe(lost + 1);
            rig.Driver.Statistics.FaultOverflows.ShouldBe(round + 1);

            // What comes next is heard again.
            rig.ShouldFault(edu, Iova + 0x1000_0000, FaultCause.ReadPageFault);
        }
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Tables_that_lie_outside_of_memory_fault_as_such()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        rig.NewAttachedDomain(edu).ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);

        // Somebody scribbles over the directory: every device's entry now leads to where nothing answers.
        ulong root = PpnField.ToAddress(rig.Registers.Read64(RegisterOffset.DeviceDirectoryTablePointer));
        rig.Memory.Write64(new(root), PpnField.FromAddress(0x10_0000_0000_0000) | 1).ShouldBe(Platform.MemoryStatus.Success);
        rig.Driver.Commands.SubmitAndWait([Command.InvalidateDeviceDirectory(null)]).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryLoadAccessFault).Reason.ShouldBe(IommuFaultReason.BadTable);
    }
}
