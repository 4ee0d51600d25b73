using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>What devices reach as they are attached, switched and detached, under caches that forget nothing by themselves.</summary>
public class AttachTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void A_device_that_is_attached_to_nothing_faults_with_an_invalid_context()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        IommuFault fault = rig.ShouldFault(device, Iova, FaultCause.DdtEntryNotValid);
        fault.Reason.ShouldBe(IommuFaultReason.Blocked);
        fault.Device.ShouldBeSameAs(device);
        fault.Iova.ShouldBe(new Iova(Iova));
    }

    [Theory]
    [InlineData(PagingMode.Sv39)]
    [InlineData(PagingMode.Sv48)]
    [InlineData(PagingMode.Sv57)]
    public void An_attached_device_reaches_what_is_mapped_and_nothing_else(PagingMode mode)
    {
        using Rig rig = new(new() { Driver = new() { PreferredMode = mode } });
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.Mode.ShouldBe(mode);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova + 0x123, Target + 0x123);
        rig.ShouldReach(device, Iova + 0xfff, Target + 0xfff, write: true);
        rig.ShouldFault(device, Iova - 1, FaultCause.ReadPageFault).Reason.ShouldBe(IommuFaultReason.NotMapped);
        IommuFault fault = rig.ShouldFault(device, Iova + 0x1000, FaultCause.WritePageFault, write: true);
        fault.Access.ShouldBe(Access.Write);
    }

    [Fact]
    [Trait("Requirement", "S1.5")]
    [Trait("Requirement", "S4.17")]
    public void A_device_that_joins_a_group_has_its_domain_and_its_PASIDs_and_one_that_cannot_have_them_does_not_join()
    {
        using Rig rig = new();
        IommuDevice first = rig.AddDevice(0x10, pasidBits: 8, group: 5);
        RiscVPagingDomain process = rig.NewDomain(first);
        process.ShouldMap(Iova, Target);
        first.Group.AttachPasid(new(7), process).ShouldBe(Errno.Success);
        IommuDevice second = rig.AddDevice(0x18, pasidBits: 8, group: 5);
        rig.ShouldReach(second, Iova, Target, pasid: new(7));
        rig.ShouldFault(second, Iova, FaultCause.PdtEntryNotValid, pasid: new(6));

        // One without PASIDs cannot be as the others are.
        rig.Core.TryAddDevice(rig.Driver, new(0x20), "third", 5, default(IommuDeviceOptions), out _).ShouldNotBe(Errno.Success);
        first.Group.Devices.Count.ShouldBe(2);
        process.ShouldUnmap(Iova);
        first.Group.DetachPasid(new(7)).ShouldBe(Errno.Success);
        rig.ShouldFault(second, Iova, FaultCause.PdtEntryNotValid, pasid: new(7));
        process.BondCount.ShouldBe(0);
    }

    [Fact]
    public void After_an_unmap_no_DMA_reaches_the_page()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        rig.ShouldFault(device, Iova, FaultCause.WritePageFault, write: true);
    }

    [Fact]
    public void Without_the_invalidation_the_hostile_hardware_serves_the_stale_page()
    {
        CommandFilter filter = CommandFilter.LosesInvalidations();
        using Rig rig = new(new() { Registers = filter.Registers, DriverMemory = filter.Memory });
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        domain.ShouldUnmap(Iova);
        rig.ShouldReach(device, Iova, Target);
    }

    [Fact]
    [Trait("Requirement", "S4.6")]
    public void A_map_of_what_faulted_before_needs_no_invalidation()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        long before = rig.Driver.Statistics.Invalidations;
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        rig.Driver.Statistics.Invalidations.ShouldBe(before);
    }

    [Fact]
    [Trait("Requirement", "S4.10")]
    public void A_map_before_the_first_attach_works_at_the_attach()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_detached_device_reaches_nothing_though_everything_was_cached()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultCause.DdtEntryNotValid);
        domain.BondCount.ShouldBe(0);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_device_that_is_switched_sees_only_its_new_domain()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain first = rig.NewDomain(device);
        RiscVPagingDomain second = rig.NewDomain(device);
        first.ShouldMap(Iova, Target);
        first.ShouldMap(Iova + Rig.Page, Target + Rig.Page);
        second.ShouldMap(Iova, Target + 0x10_0000);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        rig.ShouldReach(device, Iova + Rig.Page, Target + Rig.Page);
        device.Group.Attach(second).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target + 0x10_0000);
        rig.ShouldFault(device, Iova + Rig.Page, FaultCause.ReadPageFault);
        first.BondCount.ShouldBe(0);
        second.BondCount.ShouldBe(1);
    }

    [Fact]
    public void An_identity_domain_passes_addresses_and_a_switch_from_it_takes_them_back()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0xdead_b000, 0xdead_b000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldFault(device, 0xdead_b000, FaultCause.ReadPageFault);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(device, 0xdead_b000, FaultCause.DdtEntryNotValid);
    }

    [Fact]
    [Trait("Requirement", "S4.1")]
    [Trait("Requirement", "S4.4")]
    [Trait("Requirement", "S4.5")]
    public void Devices_that_share_a_domain_share_a_bond_and_one_invalidation()
    {
        using Rig rig = new();
        IommuDevice[] devices = [rig.AddDevice(0x10), rig.AddDevice(0x18), rig.AddDevice(0x1_0020)];
        RiscVPagingDomain domain = rig.NewDomain(devices[0]);
        domain.ShouldMap(Iova, Target);
        foreach (IommuDevice device in devices)
        {
            device.Group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldReach(device, Iova, Target);
        }

        domain.BondCount.ShouldBe(1);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(1);
        RiscVDriverStatistics before = rig.Driver.Statistics;
        domain.ShouldUnmap(Iova);
        (rig.Driver.Statistics.FirstStageInvalidations - before.FirstStageInvalidations).ShouldBe(1);
        (rig.Driver.Statistics.Fences - before.Fences).ShouldBe(1);
        foreach (IommuDevice device in devices)
        {
            rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        }

        devices[0].Group.Detach().ShouldBe(Errno.Success);
        devices[1].Group.Detach().ShouldBe(Errno.Success);
        domain.BondCount.ShouldBe(1);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(devices[2], Iova, Target);
        devices[2].Group.Detach().ShouldBe(Errno.Success);
        domain.BondCount.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_PSCID_that_comes_back_is_clean()
    {
        using Rig rig = new(new() { Driver = new() { PscidBits = 1 } });
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain first = rig.NewDomain(device);
        RiscVPagingDomain second = rig.NewDomain(device);
        first.ShouldMap(Iova, Target);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);

        // The only PSCID is taken, also for a switch, which needs both bonds at once.
        device.Group.Attach(second).ShouldBe(Errno.NoSpace);
        rig.ShouldReach(device, Iova, Target);
        device.Group.Detach().ShouldBe(Errno.Success);
        device.Group.Attach(second).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
    }

    [Fact]
    public void Detach_and_attach_again_finds_the_mappings()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        for (int i = 0; i < 3; i++)
        {
            device.Group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldReach(device, Iova, Target);
            device.Group.Detach().ShouldBe(Errno.Success);
            rig.ShouldFault(device, Iova, FaultCause.DdtEntryNotValid);
        }
    }

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void A_removed_device_reaches_nothing_and_leaves_nothing()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        rig.Core.RemoveDevice(device);
        IommuFault fault = rig.ShouldFault(device, Iova, FaultCause.DdtEntryNotValid);
        fault.Device.ShouldBeNull();
        domain.BondCount.ShouldBe(0);
        domain.ShouldUnmap(Iova);
        rig.Core.RemoveDevice(device);
    }

    [Theory]
    [Trait("Requirement", "S4.17")]
    [InlineData(8)]
    [InlineData(17)]
    [InlineData(20)]
    public void PASIDs_of_a_device_are_attached_each_to_its_own_domain(int pasidBits)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits);
        Pasid pasid = new((1u << pasidBits) - 1);
        RiscVPagingDomain plain = rig.NewDomain(device);
        RiscVPagingDomain process = rig.NewDomain(device);
        plain.ShouldMap(Iova, Target);
        process.ShouldMap(Iova, Target + 0x10_0000);
        rig.ShouldFault(device, Iova, FaultCause.PdtEntryNotValid).Reason.ShouldBe(IommuFaultReason.Blocked);
        rig.ShouldFault(device, Iova, FaultCause.PdtEntryNotValid, pasid: pasid).Pasid.ShouldBe(pasid);
        device.Group.Attach(plain).ShouldBe(Errno.Success);
        device.Group.AttachPasid(pasid, process).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        rig.ShouldReach(device, Iova, Target + 0x10_0000, pasid: pasid);
        process.ShouldUnmap(Iova);
        rig.ShouldReach(device, Iova, Target);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault, pasid: pasid);
        process.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target, pasid: pasid);
        device.Group.DetachPasid(pasid).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultCause.PdtEntryNotValid, pasid: pasid);
        rig.ShouldReach(device, Iova, Target);
        rig.Core.RemoveDevice(device);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_PASID_is_refused_where_the_device_or_the_directory_has_none()
    {
        using Rig rig = new();
        IommuDevice plain = rig.AddDevice(0x10);
        IommuDevice small = rig.AddDevice(0x18, pasidBits: 8);
        RiscVPagingDomain domain = rig.NewDomain(plain);
        plain.Group.AttachPasid(new(1), domain).ShouldBe(Errno.NotSupported);
        small.Group.AttachPasid(new(256), domain).ShouldBe(Errno.InvalidArgument);
        domain.BondCount.ShouldBe(0);
    }

    [Fact]
    public void Two_devices_cannot_have_one_requester_ID()
    {
        using Rig rig = new();
        _ = rig.AddDevice(0x10);
        rig.Core.TryAddDevice(rig.Driver, new(0x10), "twin", null, default, out _).ShouldBe(Errno.Exists);
    }

    [Fact]
    public void Everything_is_given_back_in_the_end()
    {
        Rig rig = new();
        IommuDevice device = rig.AddDevice(0x12_3456);
        IommuDevice other = rig.AddDevice(0x10, pasidBits: 20);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target, 0x40_0000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        other.Group.AttachPasid(new(0x4_0000), domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        rig.Driver.Dispose();
        domain.BondCount.ShouldBe(0);
        rig.Hardware.Translate(new(device.Id, new(Iova)), out DmaTranslation translation);
        translation.Status.ShouldNotBe(DmaStatus.Success);
        domain.ShouldUnmap(Iova, 0x40_0000);
        domain.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Dispose();
    }
}
