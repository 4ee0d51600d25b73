using Ioasis.Core;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>Root and context tables: devices on any bus, in both halves of it, each with its own.</summary>
public sealed class VtdContextTests
{
    private const ulong Iova = 0x7000_0000;

    [Theory]
    [InlineData(VtdTables.Legacy4, 1)]
    [InlineData(VtdTables.Legacy4, 0xff)]
    [InlineData(VtdTables.SecondStage, 0x80)]
    [InlineData(VtdTables.SecondStage, 0xff)]
    [InlineData(VtdTables.FirstStage, 0x7f)]
    public void A_device_is_found_on_any_bus_and_in_either_half_of_it(VtdTables tables, int bus)
    {
        // Of a bus, scalable mode has a table for devices 0 to 15 and one for the others (section 9.2).
        using VtdRig rig = new(new()
        {
            Tables = tables,
            Devices =
            [
                $"{LabRig.Edu},addr=2", $"{LabRig.Edu},addr=10", $"{LabRig.Edu},addr=1e.0,multifunction=on", $"{LabRig.Edu},addr=1e.7",
                "pcie-root-port,id=rp,addr=4", $"{LabRig.Edu},bus=rp",
            ],
            ChooseBus = _ => bus,
        });
        rig.Edus.Count.ShouldBe(5);
        rig.Edus.Select(static edu => edu.Id.Bus).Max().ShouldBe(bus);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        }

        // Each has its own page at the same address, and the right one, before and after one of them leaves.
        for (int left = 0; left < 2; left++)
        {
            for (int i = left; i < rig.Edus.Count; i++)
            {
                ulong target = VtdRig.DataStart + ((ulong)i << 12);
                if (left == 0)
                {
                    rig.NewAttachedDomain(rig.Edus[i]).ShouldMap(Iova, target);
                }

                rig.ShouldReach(rig.Edus[i], Iova, target);
                rig.ShouldFault(rig.Edus[i], Iova + LabRig.Page, Refusal.NotMapped);
            }

            rig.Devices[rig.Edus[0].Id].Group.Detach().ShouldBe(Primitives.Errno.Success);
            rig.ShouldFault(rig.Edus[0], Iova, Refusal.NotAttached);
        }
    }

    [Theory]
    [InlineData(VtdTables.Legacy4)]
    [InlineData(VtdTables.SecondStage)]
    [InlineData(VtdTables.FirstStage)]
    public void A_device_that_is_removed_from_the_core_is_cut_off_and_can_come_back(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables });
        EduDevice edu = rig.Edus[0];
        rig.NewAttachedDomain(edu).ShouldMap(Iova, VtdRig.DataStart);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart);
        rig.Devices[edu.Id].Group.Detach().ShouldBe(Primitives.Errno.Success);
        rig.Core.RemoveDevice(rig.Devices[edu.Id]);
        _ = rig.Devices.Remove(edu.Id);

        // Its context is gone; in scalable mode before, it had one that led to nothing.
        rig.ShouldFault(edu, Iova, Intel.Architecture.FaultReason.ContextNotPresent).Device.ShouldBeNull();
        IommuDevice again = rig.AddDevice(edu.Id);
        rig.Devices.Add(edu.Id, again);
        rig.NewAttachedDomain(edu).ShouldMap(Iova, VtdRig.DataStart + LabRig.Page);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart + LabRig.Page);
    }
}
