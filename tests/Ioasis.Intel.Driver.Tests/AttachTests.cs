using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>What a device reaches through what it is attached to, in each mode and by each kind of table.</summary>
public sealed class AttachTests
{
    private const ulong Iova = 0x12_3456_7000;
    private const ulong Memory = 0x4000_0000;

    public static TheoryData<string> Kinds { get; } = ["scalable", "first stage", "legacy", "caching mode", "legacy caching mode", "no ranges"];

    internal static RigOptions OptionsOf(string kind) => kind switch
    {
        "scalable" => new(),
        "first stage" => RigOptions.FirstStage,
        "legacy" => RigOptions.Legacy,
        "caching mode" => new RigOptions().With(capability: Capability.CachingModeBit),
        "legacy caching mode" => RigOptions.Legacy.With(capability: Capability.CachingModeBit),
        _ => new RigOptions().With(withoutCapability: Capability.PageSelectiveBit),
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void DMA_reaches_what_is_mapped_and_nothing_after_the_unmap(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain domain = rig.Attached(device);
        rig.Dma(device, Iova).Status.ShouldNotBe(DmaStatus.Success);
        domain.ShouldMap(Iova, Memory, 3 * Rig.Page);
        rig.ShouldReach(device, Iova + 0x123, Memory + 0x123);
        rig.ShouldReach(device, Iova + 0x2ff8, Memory + 0x2ff8, write: true);
        domain.ShouldUnmap(Iova, 2 * Rig.Page);
        rig.ShouldReach(device, Iova + 0x2ff8, Memory + 0x2ff8, write: true);
        rig.Dma(device, Iova).Status.ShouldNotBe(DmaStatus.Success);
        IommuFault fault = rig.ShouldFault(device, Iova, kind switch
        {
            "first stage" => FaultReason.FirstStageNotPresent,
            "legacy" or "legacy caching mode" => FaultReason.ReadDenied,
            _ => FaultReason.SecondStageNotPresent,
        });
        fault.Device.ShouldBeSameAs(device);
        fault.Access.ShouldBe(Access.Read);
        fault.Reason.ShouldBe(IommuFaultReason.NotMapped);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_mapping_of_less_access_permits_no_more(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(Iova, Memory, access: Access.Read);
        rig.ShouldReach(device, Iova, Memory);
        IommuFault fault = rig.ShouldFault(
            device, Iova, rig.Driver.IsScalable ? FaultReason.ScalableWriteDenied : FaultReason.WriteDenied, write: true);
        fault.Access.ShouldBe(Access.Write);
        fault.Pasid.ShouldBe(Pasid.None);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Large_leaves_are_used_split_and_forgotten(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain domain = rig.Attached(device);
        const ulong huge = 1ul << 30;
        domain.ShouldMap(huge, huge * 8, 2 * huge);
        rig.ShouldReach(device, huge + 0x1234_5678, (huge * 8) + 0x1234_5678);
        domain.ShouldUnmap(huge + 0x1234_5000);
        rig.Dma(device, huge + 0x1234_5678).Status.ShouldNotBe(DmaStatus.Success);
        rig.ShouldReach(device, huge + 0x1234_6000, (huge * 8) + 0x1234_6000);
        rig.ShouldReach(device, (2 * huge) + 0x77, (huge * 9) + 0x77);
        domain.ShouldUnmap(2 * huge, huge);
        rig.Dma(device, 2 * huge).Status.ShouldNotBe(DmaStatus.Success);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_switch_leaves_nothing_of_the_old_domain(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain first = rig.Attached(device);
        first.ShouldMap(Iova, Memory);
        rig.ShouldReach(device, Iova, Memory);
        VtdPagingDomain second = rig.NewDomain(device);
        second.ShouldMap(Iova, Memory + 0x10_0000);
        device.Group.Attach(second).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Memory + 0x10_0000);
        first.BondCount.ShouldBe(0);

        // The domain-ID of the first may be the next one's: nothing may be left under it.
        device.Group.Attach(first).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Memory);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, rig.Driver.IsScalable ? FaultReason.PasidEntryNotPresent : FaultReason.ContextNotPresent)
            .Reason.ShouldBe(IommuFaultReason.Blocked);
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("legacy")]
    [InlineData("caching mode")]
    public void An_identity_domain_passes_addresses_unchanged(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110);
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x1234_5678, 0x1234_5678, write: true);
        VtdPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.Dma(device, 0x1234_5678).Status.ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    public void Without_pass_through_an_identity_domain_is_refused_and_nothing_changes()
    {
        using Rig rig = new(new RigOptions().With(withoutExtended: ExtendedCapability.PassThroughBit));
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(Iova, Memory);
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.NotSupported);
        rig.ShouldReach(device, Iova, Memory);
        rig.Log.ToString().ShouldContain("ECAP_REG.PT");
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("caching mode")]
    public void PASIDs_of_a_device_have_domains_of_their_own(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        IommuDevice device = rig.AddDevice(0x0110, pasidBits: 20);
        VtdPagingDomain own = rig.Attached(device);
        own.ShouldMap(Iova, Memory);
        VtdPagingDomain shared = rig.NewDomain(device);
        shared.ShouldMap(Iova, Memory + 0x1000);
        Pasid low = new(5);
        Pasid high = new(0xf_fffe);
        device.Group.AttachPasid(low, shared).ShouldBe(Errno.Success);
        device.Group.AttachPasid(high, shared).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Memory);
        rig.ShouldReach(device, Iova, Memory + 0x1000, pasid: low);
        rig.ShouldReach(device, Iova, Memory + 0x1000, pasid: high);
        shared.ShouldUnmap(Iova);
        rig.Dma(device, Iova, pasid: low).Status.ShouldNotBe(DmaStatus.Success);
        rig.Dma(device, Iova, pasid: high).Status.ShouldNotBe(DmaStatus.Success);
        rig.ShouldReach(device, Iova, Memory);
        shared.ShouldMap(Iova, Memory + 0x2000);
        device.Group.DetachPasid(low).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultReason.PasidEntryNotPresent, pasid: low).Pasid.ShouldBe(low);
        rig.ShouldReach(device, Iova, Memory + 0x2000, pasid: high);
    }

    [Fact]
    public void In_legacy_mode_there_are_no_PASIDs()
    {
        using Rig rig = new(RigOptions.Legacy);
        IommuDevice device = rig.AddDevice(0x0110, pasidBits: 20);
        rig.Driver.Capabilities.PasidBits.ShouldBe(0);
        device.Group.AttachPasid(new(5), rig.NewDomain(device)).ShouldNotBe(Errno.Success);
    }

    [Fact]
    public void A_device_of_another_segment_is_refused_with_the_reason()
    {
        using Rig rig = new(new RigOptions { Driver = new() { Segment = 2 }, Hardware = new() { Segment = 2 } });
        rig.Core.TryAddDevice(rig.Driver, new(0x0110), "other", null, default, out _).ShouldBe(Errno.NoDeviceOrAddress);
        rig.Log.ToString().ShouldContain("segment");
        rig.Core.TryAddDevice(rig.Driver, new(0x2_0110), "mine", null, default, out IommuDevice? device).ShouldBe(Errno.Success);
        VtdPagingDomain domain = rig.Attached(device!);
        domain.ShouldMap(Iova, Memory);
        rig.ShouldReach(device!, Iova, Memory);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Everything_is_given_back_when_all_is_disposed(string kind)
    {
        using Rig rig = new(OptionsOf(kind));
        long before = rig.Pages.AllocatedBytes;
        IommuDevice device = rig.AddDevice(0x0110, pasidBits: rig.Driver.Capabilities.PasidBits);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(Iova, Memory, 1ul << 22);
        rig.ShouldReach(device, Iova, Memory);
        device.Group.Detach().ShouldBe(Errno.Success);
        domain.Dispose();
        rig.Driver.Statistics.DomainIdsInUse.ShouldBe(1);
        rig.Core.RemoveDevice(device);

        // The context table of the bus stays.
        rig.Pages.AllocatedBytes.ShouldBe(before + 4096);
        rig.Driver.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }
}
