using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>Fault records as QEMU writes them, and what the driver reads in them.</summary>
public sealed class VtdFaultTests
{
    private const ulong Iova = 0x4000_0000;

    public static TheoryData<VtdTables> Kinds { get; } = [VtdTables.Legacy3, VtdTables.Legacy4, VtdTables.SecondStage, VtdTables.FirstStage];

    [Theory]
    [MemberData(nameof(Kinds))]
    [Trait("Requirement", "S4.16")]
    public void Each_fault_arrives_in_order_with_device_address_access_and_reason(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables, Devices = [LabRig.Edu, LabRig.Edu] });
        rig.NewAttachedDomain(rig.Edus[0]).ShouldMap(Iova, VtdRig.DataStart, access: Access.Read);
        Random random = new(5);
        for (int i = 0; i < 40; i++)
        {
            bool blocked = random.Next(2) == 0;
            bool write = random.Next(2) == 0;
            bool readOnly = !blocked && write && random.Next(2) == 0;
            ulong iova = readOnly
                ? Iova + ((ulong)random.Next(1024) * 4)
                : ((ulong)random.NextInt64() & 0x1f_ffff_fffcul) | (1ul << 37);
            IommuFault fault = rig.ShouldFault(
                rig.Edus[blocked ? 1 : 0], iova, blocked ? Refusal.NotAttached : readOnly ? Refusal.ReadOnly : Refusal.NotMapped, write);
            fault.Pasid.ShouldBe(Pasid.None);
            fault.Privileged.ShouldBeFalse();
            if (!blocked)
            {
                fault.Reason.ShouldBe(IommuFaultReason.NotMapped);
            }
        }

        rig.Lost.ShouldBe(0);
        rig.Driver.Statistics.Faults.ShouldBe(40);
        rig.Interrupts.ShouldBe(40);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Trait("Requirement", "S4.16")]
    public void Of_a_flood_the_first_record_arrives_the_loss_is_told_and_reporting_goes_on(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables, Devices = [LabRig.Edu, LabRig.Edu] });
        (EduDevice first, EduDevice second) = (rig.Edus[0], rig.Edus[1]);
        _ = rig.NewAttachedDomain(first);
        for (int round = 0; round < 3; round++)
        {
            rig.Faults.Clear();
            int lost = rig.Lost;

            // QEMU has one recording register. More of the same device are dropped (section 7.2.1 permits it); one of another overflows.
            for (ulong i = 0; i < 5; i++)
            {
                first.ReadMemory(new(Iova + (i << 12)), 4);
            }

            second.ReadMemory(new(Iova), 4);
            rig.HandleInterrupts();
            IommuFault fault = rig.Faults.ShouldHaveSingleItem();
            (fault.DeviceId, fault.Iova).ShouldBe((first.Id, new Iova(Iova)));
            rig.Lost.ShouldBe(lost + 1);
            rig.Driver.Statistics.FaultOverflows.ShouldBe(round + 1);

            // What comes next is heard again.
            rig.ShouldFault(first, Iova + 0x1000_0000, Refusal.NotMapped);
            rig.ShouldFault(second, Iova, Refusal.NotAttached);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Trait("Requirement", "S4.16")]
    public void Tables_that_are_damaged_fault_as_such(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables });
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, VtdRig.DataStart);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart);

        // Somebody scribbles over the root table: a reserved bit in the entry of the devices' bus.
        PhysicalAddress root = new(RootTable.Address(rig.Registers.Read64(RegisterOffset.RootTableAddress)));
        rig.Memory.Read64(root, out ulong sound).ShouldBe(MemoryStatus.Success);
        rig.Memory.Write64(root, sound | 0x10).ShouldBe(MemoryStatus.Success);
        rig.Driver.Queue.SubmitAndWait(EverythingOf(rig)).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, FaultReason.RootReserved).Reason.ShouldBe(IommuFaultReason.BadTable);
        rig.Memory.Write64(root, sound).ShouldBe(MemoryStatus.Success);
        rig.Driver.Queue.SubmitAndWait(EverythingOf(rig)).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart);
    }

    private static QueueDescriptor[] EverythingOf(VtdRig rig) => rig.IsLegacy
        ? [QueueDescriptor.AllContexts, QueueDescriptor.AllTranslations(0)]
        : [QueueDescriptor.AllContexts, QueueDescriptor.AllPasids, QueueDescriptor.AllTranslations(0)];
}
