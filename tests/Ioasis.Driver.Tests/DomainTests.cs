using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>One domain behind several IOMMUs, and what an unmap tells each of them.</summary>
public class DomainTests
{
    private const ulong Full = RiscVIommuOptions.FullCapabilities;
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;
    private const ulong Extensions = Capabilities.NonLeafInvalidationBit | Capabilities.RangeInvalidationBit;

    [Fact]
    [Trait("Requirement", "S4.2")]
    [Trait("Requirement", "S4.1")]
    public void A_domain_serves_devices_behind_IOMMUs_of_different_capabilities()
    {
        using Rig one = new(new() { Driver = new() { Name = "one" } });
        using Rig two = new(
            new()
            {
                Capabilities = Full & ~(Extensions | Capabilities.Sv57Bit | Capabilities.MsiFlatBit | Capabilities.MsiMrifBit
                    | Capabilities.AmoMrifBit | Capabilities.AtsBit | Capabilities.T2gpaBit),
                MaxMode = IommuMode.TwoLevel,
                Driver = new() { Name = "two" },
            },
            one);
        IommuDevice left = one.AddDevice(0x10);
        IommuDevice right = two.AddDevice(0x10);
        RiscVPagingDomain domain = one.NewDomain(left);
        domain.ShouldMap(Iova, Target);
        left.Group.Attach(domain).ShouldBe(Errno.Success);
        right.Group.Attach(domain).ShouldBe(Errno.Success);
        domain.BondCount.ShouldBe(2);
        one.ShouldReach(left, Iova, Target);
        two.ShouldReach(right, Iova, Target);
        domain.ShouldUnmap(Iova);
        one.ShouldFault(left, Iova, FaultCause.ReadPageFault);
        two.ShouldFault(right, Iova, FaultCause.ReadPageFault);
        left.Group.Detach().ShouldBe(Errno.Success);
        domain.BondCount.ShouldBe(1);
        domain.ShouldMap(Iova, Target);
        two.ShouldReach(right, Iova, Target);
    }

    [Fact]
    [Trait("Requirement", "S4.2")]
    [Trait("Requirement", "S4.3")]
    public void A_domain_made_for_the_least_IOMMU_moves_among_all_and_outlives_any_of_them()
    {
        const ulong narrow = Capabilities.Sv57Bit | Capabilities.Sv48Bit | Capabilities.MsiFlatBit | Capabilities.MsiMrifBit
            | Capabilities.AmoMrifBit | Extensions;
        const ulong pas = 0x3ful << Capabilities.PasShift;
        using Rig least = new(
            new() { Capabilities = (Full & ~(narrow | pas)) | (44ul << Capabilities.PasShift), Driver = new() { Name = "least" } });
        using Rig wide = new(new() { Driver = new() { Name = "wide", PreferredMode = PagingMode.Sv57 } }, least);
        using Rig plain = new(
            new() { Capabilities = Full & ~(Extensions | Capabilities.AtsBit | Capabilities.T2gpaBit), Driver = new() { Name = "plain" } },
            least);
        Rig[] rigs = [least, wide, plain];
        IommuDevice[] devices = [.. rigs.Select(rig => rig.AddDevice(0x10))];
        RiscVPagingDomain domain = least.NewDomain(devices[0]);
        domain.Mode.ShouldBe(PagingMode.Sv39);

        // One leaf of 64 KiB (Svnapot), which each IOMMU may hold in pieces, and one page.
        domain.ShouldMap(Iova, Target, 0x1_0000);
        domain.ShouldMap(Iova + 0x1_0000, Target + 0x1_0000);
        for (int round = 0; round < 3; round++)
        {
            for (int i = 0; i < rigs.Length; i++)
            {
                devices[i].Group.Attach(domain).ShouldBe(Errno.Success);
                rigs[i].ShouldReach(devices[i], Iova + 0x9000, Target + 0x9000);
            }

            domain.BondCount.ShouldBe(3);
            domain.ShouldUnmap(Iova + 0x8000, 0x8000);
            for (int i = 0; i < rigs.Length; i++)
            {
                rigs[i].ShouldFault(devices[i], Iova + 0x9000, FaultCause.ReadPageFault);
                rigs[i].ShouldReach(devices[i], Iova + 0x7000, Target + 0x7000);
            }

            devices[round].Group.Detach().ShouldBe(Errno.Success);
            domain.BondCount.ShouldBe(2);
            domain.ShouldMap(Iova + 0x8000, Target + 0x8000, 0x8000);
        }

        // One IOMMU goes while the domain is in use through it; the others do not notice.
        devices[1].Group.Attach(domain).ShouldBe(Errno.Success);
        devices[2].Group.Attach(domain).ShouldBe(Errno.Success);
        least.Core.RemoveIommu(wide.Driver);
        wide.Driver.Dispose();
        domain.BondCount.ShouldBe(2);
        plain.ShouldReach(devices[2], Iova, Target);
        domain.ShouldUnmap(Iova, 0x1_1000);
        least.ShouldFault(devices[0], Iova, FaultCause.ReadPageFault);
        plain.ShouldFault(devices[2], Iova + 0x1_0000, FaultCause.ReadPageFault);
    }

    [Fact]
    [Trait("Requirement", "S4.9")]
    public void The_page_table_code_knows_nothing_of_devices_and_drivers()
    {
        System.Reflection.Assembly tables = typeof(IoPageTable).Assembly;
        tables.GetReferencedAssemblies().Select(name => name.Name!).Where(name => name.StartsWith("Ioasis.", StringComparison.Ordinal))
            .ShouldBe(["Ioasis.Platform", "Ioasis.Primitives"], ignoreOrder: true);
        tables.ShouldNotBe(typeof(RiscVPagingDomain).Assembly);
        Type[] seen = [.. typeof(IoPageTable).GetMethods().SelectMany(method => method.GetParameters()).Select(p => p.ParameterType)];
        seen.ShouldNotContain(type => type == typeof(DeviceId) || type == typeof(Pasid));
    }

    [Fact]
    [Trait("Requirement", "S4.2")]
    public void An_IOMMU_that_cannot_walk_the_table_refuses_and_nothing_changes()
    {
        using Rig wide = new(new() { Driver = new() { Name = "wide", PreferredMode = PagingMode.Sv57 } });
        using Rig narrow = new(
            new() { Capabilities = Full & ~(Capabilities.Sv57Bit | Capabilities.Sv48Bit), Driver = new() { Name = "narrow" } },
            wide);
        IommuDevice device = narrow.AddDevice(0x10);
        RiscVPagingDomain own = narrow.NewDomain(device);
        own.ShouldMap(Iova, Target);
        device.Group.Attach(own).ShouldBe(Errno.Success);
        RiscVPagingDomain foreign = wide.NewDomain(wide.AddDevice(0x10));
        foreign.Mode.ShouldBe(PagingMode.Sv57);
        device.Group.Attach(foreign).ShouldBe(Errno.InvalidArgument);
        device.Group.Domain.ShouldBeSameAs(own);
        narrow.ShouldReach(device, Iova, Target);
        foreign.BondCount.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.2")]
    public void An_IOMMU_that_sees_other_memory_or_less_of_it_refuses()
    {
        ulong pas = 0x3ful << Capabilities.PasShift;
        using Rig one = new(new() { Driver = new() { Name = "one" } });
        using Rig small = new(
            new() { Capabilities = (Full & ~pas) | (40ul << Capabilities.PasShift), Driver = new() { Name = "small" } }, one);
        using Rig elsewhere = new(new() { Driver = new() { Name = "elsewhere" } });
        RiscVPagingDomain domain = one.NewDomain(one.AddDevice(1));
        small.AddDevice(1).Group.Attach(domain).ShouldBe(Errno.InvalidArgument);
        elsewhere.AddDevice(1).Group.Attach(domain).ShouldBe(Errno.InvalidArgument);

        // The other way round it fits: what the small one made, the large one can walk.
        RiscVPagingDomain modest = small.NewDomain(small.AddDevice(2));
        one.AddDevice(2).Group.Attach(modest).ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S4.13")]
    public void All_IOMMUs_have_their_commands_before_any_fence_is_awaited()
    {
        List<string> order = [];
        using Rig one = new(new() { Registers = w => new Watched(w, "one", order), Driver = new() { Name = "one" } });
        using Rig two = new(new() { Registers = w => new Watched(w, "two", order), Driver = new() { Name = "two" } }, one);
        RiscVPagingDomain domain = one.NewDomain(one.AddDevice(1));
        IommuGroup[] groups = [one.Core.Devices.Single(d => d.Iommu == one.Driver).Group, two.AddDevice(1).Group];
        foreach (IommuGroup group in groups)
        {
            group.Attach(domain).ShouldBe(Errno.Success);
        }

        domain.ShouldMap(Iova, Target);
        order.Clear();
        domain.ShouldUnmap(Iova);
        order.ShouldBe(["one tail", "two tail", "one head", "two head"]);
    }

    [Theory]
    [Trait("Requirement", "S4.13")]
    [InlineData(true)]
    [InlineData(false)]
    public void A_gathered_unmap_of_a_gibibyte_takes_a_handful_of_commands(bool extensions)
    {
        using Rig rig = new(new() { Capabilities = extensions ? Full : Full & ~Extensions });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        for (ulong offset = 0; offset < 1ul << 30; offset += 1ul << 21)
        {
            // A page that cannot be part of a large leaf in each 2 MiB, and the rest as it comes.
            domain.ShouldMap(Iova + offset, Target + offset, (1ul << 21) - Rig.Page);
        }

        rig.ShouldReach(device, Iova, Target);
        rig.ShouldReach(device, Iova + (1ul << 30) - (2 * Rig.Page), Target + (1ul << 30) - (2 * Rig.Page));
        RiscVDriverStatistics before = rig.Driver.Statistics;
        InvalidationGather gather = default;
        domain.Unmap(new(Iova), 1ul << 30, ref gather).ShouldBe((1ul << 30) - (512 * Rig.Page));
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        RiscVDriverStatistics after = rig.Driver.Statistics;
        (after.FirstStageInvalidations - before.FirstStageInvalidations).ShouldBe(1);
        (after.Fences - before.Fences).ShouldBe(1);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        rig.ShouldFault(device, Iova + (1ul << 30) - (2 * Rig.Page), FaultCause.ReadPageFault);
    }

    [Theory]
    [Trait("Requirement", "S4.14")]
    [InlineData(true)]
    [InlineData(false)]
    public void Table_pages_come_back_only_after_the_fence(bool nonLeafExtension)
    {
        ulong capabilities = nonLeafExtension ? Full : Full & ~Capabilities.NonLeafInvalidationBit;
        using Rig rig = new(new() { Capabilities = capabilities });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        long empty = rig.Pages.AllocatedBytes;
        domain.ShouldMap(Iova, Target, 1ul << 20);
        rig.ShouldReach(device, Iova, Target);
        long mapped = rig.Pages.AllocatedBytes;
        mapped.ShouldBeGreaterThan(empty);
        InvalidationGather gather = default;
        domain.Unmap(new(Iova), 1ul << 20, ref gather).ShouldBe(1ul << 20);
        rig.Pages.AllocatedBytes.ShouldBe(mapped);
        domain.Sync(ref gather).ShouldBe(Errno.Success);

        // A table that the gather did not take stays for the next map; what it took is back.
        rig.Pages.AllocatedBytes.ShouldBeLessThanOrEqualTo(mapped);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        domain.ShouldMap(Iova, Target + (1ul << 30), 1ul << 20);
        rig.ShouldReach(device, Iova + 0x5_4321, Target + (1ul << 30) + 0x5_4321);
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void A_large_leaf_that_takes_the_place_of_an_empty_table_is_used_at_once()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        for (int round = 0; round < 3; round++)
        {
            domain.ShouldMap(Iova, Target);
            rig.ShouldReach(device, Iova, Target);
            domain.ShouldUnmap(Iova);
            domain.ShouldMap(Iova, Target, 1ul << 21);
            rig.ShouldReach(device, Iova + 0x12_3456, Target + 0x12_3456);
            domain.ShouldUnmap(Iova, 1ul << 21);
            rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        }
    }

    [Fact]
    public void A_part_of_a_large_leaf_is_unmapped_and_the_rest_stays()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target, 1ul << 21);
        rig.ShouldReach(device, Iova + 0x10_0000, Target + 0x10_0000);
        domain.ShouldUnmap(Iova + 0x10_0000);
        rig.ShouldFault(device, Iova + 0x10_0000, FaultCause.ReadPageFault);
        rig.ShouldReach(device, Iova + 0x10_1000, Target + 0x10_1000);
        rig.ShouldReach(device, Iova, Target);
    }

    [Fact]
    public void Bad_ranges_are_refused()
    {
        using Rig rig = new();
        (_, RiscVPagingDomain domain) = Attach(rig);
        domain.Map(new(Iova + 1), new(Target), Rig.Page, Access.ReadWrite).ShouldBe(Errno.InvalidArgument);
        domain.Map(new(Iova), new(Target), 0, Access.ReadWrite).ShouldBe(Errno.InvalidArgument);
        domain.Map(new(domain.Aperture.Last - 0xfff + Rig.Page), new(Target), Rig.Page, Access.ReadWrite)
            .ShouldBe(Errno.OutOfRange);
        domain.ShouldMap(Iova, Target);
        domain.Map(new(Iova), new(Target), Rig.Page, Access.ReadWrite).ShouldBe(Errno.AddressInUse);
        InvalidationGather gather = default;
        domain.Unmap(new(Iova + 1), Rig.Page, ref gather, out ulong unmapped).ShouldBe(Errno.InvalidArgument);
        unmapped.ShouldBe(0ul);
        gather.IsEmpty.ShouldBeTrue();
        domain.Sync(ref gather).ShouldBe(Errno.Success);
    }

    [Fact]
    public void A_domain_that_is_still_attached_keeps_its_tables()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        domain.Dispose();
        rig.ShouldReach(device, Iova, Target);
        device.Group.Detach().ShouldBe(Errno.Success);
        long before = rig.Pages.AllocatedBytes;
        domain.Dispose();
        rig.Pages.AllocatedBytes.ShouldBeLessThan(before);
    }

    [Fact]
    public void A_map_unmap_and_invalidation_allocate_no_managed_memory()
    {
        using Rig rig = new(new() { Caching = CachingMode.Realistic });
        (_, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova + Rig.Page, Target + Rig.Page);
        SteadyState.AllocatedBytes(() => Round(domain, 1000)).ShouldBe(0);

        static void Round(RiscVPagingDomain domain, int count)
        {
            for (int i = 0; i < count; i++)
            {
                _ = domain.Map(new(Iova), new(Target), Rig.Page, Access.ReadWrite);
                InvalidationGather gather = default;
                _ = domain.Unmap(new(Iova), Rig.Page, ref gather);
                _ = domain.Sync(ref gather);
            }
        }
    }

    private static (IommuDevice Device, RiscVPagingDomain Domain) Attach(Rig rig)
    {
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        return (device, domain);
    }

    private sealed class Watched(IRegisterWindow inner, string name, List<string> order) : RegisterDecorator(inner)
    {
        public override uint Read32(uint offset)
        {
            if (offset == RegisterOffset.CommandQueueHead)
            {
                order.Add($"{name} head");
            }

            return base.Read32(offset);
        }

        public override void Write32(uint offset, uint value)
        {
            if (offset == RegisterOffset.CommandQueueTail)
            {
                order.Add($"{name} tail");
            }

            base.Write32(offset, value);
        }
    }
}
