using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>Taking the IOMMU over: as it comes out of reset, as somebody else left it, and where it lacks what we need.</summary>
public sealed class VtdProbeTests
{
    private const ulong Iova = 0x7000_0000;

    [Theory]
    [InlineData(VtdTables.Legacy3)]
    [InlineData(VtdTables.Legacy4)]
    [InlineData(VtdTables.SecondStage)]
    [InlineData(VtdTables.FirstStage)]
    public void The_driver_sees_what_the_registers_say(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables, Iommu = rigOptionsOf(tables) });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        Capability capability = new(rig.Registers.Read64(RegisterOffset.Capability));
        ExtendedCapability extended = new(rig.Registers.Read64(RegisterOffset.ExtendedCapability));
        (rig.Driver.CapabilityRegister, rig.Driver.ExtendedCapabilityRegister).ShouldBe((capability.Value, extended.Value));
        rig.Driver.IsScalable.ShouldBe(!rig.IsLegacy);
        rig.Driver.Capabilities.PasidBits.ShouldBe(tables == VtdTables.FirstStage ? 16 : 0);
        rig.Driver.Capabilities.ProcessFormats.Count.ShouldBe(tables == VtdTables.FirstStage ? 1 : 0);
        rig.Driver.Capabilities.Nesting.ShouldBeFalse();
        rig.Driver.TryAllocatePagingDomain(
            rig.Devices[rig.Edus[0].Id], new() { DirtyTracking = true }, out PagingDomain? domain).ShouldBe(Errno.NotSupported);
        domain.ShouldBeNull();

        static string rigOptionsOf(VtdTables tables) => tables == VtdTables.FirstStage ? ",pasid-bits=16" : "";
    }

    [Theory]
    [InlineData(VtdTables.Legacy4, ",dma-translation=off", "3, 4 or 5 levels")]
    [InlineData(VtdTables.SecondStage, ",scalable-mode=off", "scalable mode")]
    public void An_IOMMU_that_lacks_what_we_need_is_refused_with_its_name_for_it(VtdTables tables, string properties, string says)
    {
        using VtdRig rig = new(new() { Tables = tables, Iommu = properties });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.LogText.ShouldContain(says);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [InlineData(VtdTables.Legacy4, ",intremap=off")]
    [InlineData(VtdTables.Legacy4, ",caching-mode=on")]
    [InlineData(VtdTables.Legacy4, ",device-iotlb=on,snoop-control=on")]
    [InlineData(VtdTables.SecondStage, ",caching-mode=on,snoop-control=on")]
    [InlineData(VtdTables.SecondStage, ",intremap=off")]
    [InlineData(VtdTables.FirstStage, ",snoop-control=on,pasid-bits=20")]
    public void An_IOMMU_with_more_or_less_than_usual_still_translates(VtdTables tables, string properties)
    {
        using VtdRig rig = new(new() { Tables = tables, Iommu = properties });
        EduDevice edu = rig.Edus[0];
        rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, VtdRig.DataStart);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        domain.ShouldMap(Iova, VtdRig.DataStart + LabRig.Page);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart + LabRig.Page);
    }

    [Theory]
    [InlineData(VtdTables.Legacy4, VtdMode.Legacy)]
    [InlineData(VtdTables.SecondStage, VtdMode.Scalable)]
    [InlineData(VtdTables.SecondStage, VtdMode.Legacy)]
    [InlineData(VtdTables.FirstStage, VtdMode.Scalable)]
    public void An_IOMMU_that_another_driver_left_running_forgets_its_tables_and_what_it_cached(VtdTables tables, VtdMode left)
    {
        using VtdRig rig = new(new()
        {
            Tables = tables,
            BeforeProbe = rig =>
            {
                VtdIommuInstance.TryProbe(
                    rig.Registers, rig.Memory, rig.Pages, rig.DriverOptions with { Mode = left }, out VtdIommuInstance? gone)
                    .ShouldBe(Errno.Success, rig.LogText);
                AbandonedDriver.UseAndLeave(rig, gone!);
                (rig.Registers.Read32(RegisterOffset.FaultStatus) & FaultStatus.PendingBit).ShouldNotBe(0u);
                _ = rig.Machine.TakeEvents();
            },
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        AbandonedDriver.ShouldBeForgotten(rig);
    }

    [Theory]
    [InlineData(VtdTables.Legacy4)]
    [InlineData(VtdTables.SecondStage)]
    [InlineData(VtdTables.FirstStage)]
    public void An_IOMMU_that_is_given_back_is_off_and_all_its_memory_is_free(VtdTables tables)
    {
        using VtdRig rig = new(new() { Tables = tables });
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, VtdRig.DataStart);
        rig.ShouldReach(edu, Iova, VtdRig.DataStart);
        rig.Driver.Dispose();
        domain.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Registers.Read32(RegisterOffset.GlobalStatus).ShouldBe(
            rig.Registers.Read32(RegisterOffset.GlobalStatus) & GlobalControl.SetRootTableBit);

        // QEMU cannot abort DMA (section 3.4.4): it passes, as before the IOMMU was taken over.
        new ExtendedCapability(rig.Registers.Read64(RegisterOffset.ExtendedCapability)).Has(ExtendedCapability.AbortDmaBit).ShouldBeFalse();
        byte[] noise = LabRig.Noise(7, 64);
        rig.Memory.Write(new(VtdRig.DataStart), noise);
        edu.ReadMemory(new(VtdRig.DataStart), 64);
        edu.WriteMemory(new(VtdRig.DataStart + 0x100), 64);
        rig.Memory.ReadBytes(new(VtdRig.DataStart + 0x100), 64).ShouldBe(noise);
    }
}
