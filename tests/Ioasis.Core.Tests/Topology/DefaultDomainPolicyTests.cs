using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Core.Tests.Topology;

/// <summary>What a group starts with: the administrator's wish, the devices' needs, and trust.</summary>
public class DefaultDomainPolicyTests
{
    [Theory]
    [InlineData(DefaultDomainKind.Lazy)]
    [InlineData(DefaultDomainKind.Identity)]
    [InlineData(DefaultDomainKind.Blocked)]
    public void What_is_wanted_for_all_holds_where_nothing_else_does(DefaultDomainKind wanted) =>
        Choose(new() { Default = wanted }, Device("a"), Device("b")).ShouldBe(wanted);

    [Fact]
    public void What_a_device_needs_comes_first_and_needs_that_differ_cancel_out()
    {
        DefaultDomainPolicy policy = new() { RequiredBy = Needs };
        Choose(policy, Device("identity"), Device("any")).ShouldBe(DefaultDomainKind.Identity);
        Choose(policy, Device("strict"), Device("strict")).ShouldBe(DefaultDomainKind.Strict);
        Choose(policy, Device("strict"), Device("identity")).ShouldBe(DefaultDomainKind.Lazy);
    }

    [Fact]
    public void Who_is_not_trusted_makes_its_group_strict()
    {
        Choose(new() { Default = DefaultDomainKind.Identity }, Device("a"), Device("b", untrusted: true)).ShouldBe(DefaultDomainKind.Strict);
        Choose(new() { RequiredBy = Needs }, Device("identity"), Device("b", untrusted: true)).ShouldBe(DefaultDomainKind.Strict);
        Choose(new() { Default = DefaultDomainKind.Blocked }, Device("b", untrusted: true)).ShouldBe(DefaultDomainKind.Blocked);
    }

    [Fact]
    public void Nobody_untrusted_gets_identity_and_nobody_with_direct_regions_is_blocked()
    {
        new DefaultDomainPolicy { RequiredBy = Needs }.Choose([Device("identity", untrusted: true)], out DefaultDomainKind kind)
            .ShouldBe(Errno.InvalidArgument);
        kind.ShouldBe(DefaultDomainKind.Blocked);
        ReservedRegion region = new(new(0x1000, 0x1fff), ReservedRegionKind.Direct);
        new DefaultDomainPolicy { Default = DefaultDomainKind.Blocked }.Choose([Device("a", regions: region)], out _)
            .ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Direct_regions_that_the_driver_of_the_IOMMU_reports_count_like_those_of_firmware()
    {
        ReservedRegion direct = new(new(0x1000, 0x1fff), ReservedRegionKind.Direct);
        IommuDevice device = new(default, "a", new ReportingIommu(direct), new(0), new());
        device.RequiresDirectMappings.ShouldBeTrue();
        new DefaultDomainPolicy { Default = DefaultDomainKind.Blocked }.Choose([device], out _).ShouldBe(Errno.InvalidArgument);
        IommuDevice free = new(default, "b", new ReportingIommu(direct with { Kind = ReservedRegionKind.DirectRelaxable }), new(0), new());
        free.RequiresDirectMappings.ShouldBeFalse();
        Choose(new() { Default = DefaultDomainKind.Blocked }, free).ShouldBe(DefaultDomainKind.Blocked);
    }

    private static DefaultDomainKind? Needs(IommuDevice device) => device.Name switch
    {
        "identity" => DefaultDomainKind.Identity,
        "strict" => DefaultDomainKind.Strict,
        _ => null,
    };

    private static DefaultDomainKind Choose(DefaultDomainPolicy policy, params IommuDevice[] devices)
    {
        policy.Choose(devices, out DefaultDomainKind kind).ShouldBe(Errno.Success);
        return kind;
    }

    private static IommuDevice Device(string name, bool untrusted = false, params ReservedRegion[] regions) =>
        new(default, name, new ReportingIommu(), new(0), new() { IsUntrusted = untrusted, ReservedRegions = regions });

    /// <summary>An IOMMU that does nothing but report regions.</summary>
    private sealed class ReportingIommu(params ReservedRegion[] regions) : IommuInstance
    {
        public override string Name => "reporting";

        public override IommuCapabilities Capabilities { get; } = new();

        protected internal override Errno ProbeDevice(IommuDevice device) => Errno.Success;

        protected internal override void ReleaseDevice(IommuDevice device)
        {
        }

        public override Errno TryAllocatePagingDomain(IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
        {
            domain = null;
            return Errno.NotSupported;
        }

        protected internal override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current) => Errno.NotSupported;

        protected internal override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) => regions;
    }
}
