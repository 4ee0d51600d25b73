using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>What <see cref="FailAtStepTests"/> does, for PASIDs, the ends of devices and IOMMUs, guests, and several IOMMUs at once.</summary>
[Trait("Requirement", "S4.8")]
public class FailAtStepOfDevicesTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;
    private static readonly Pasid s_pasid = new(5);

    [Fact]
    public void Detaching_a_PASID() => FailAtEveryStep.Run(
        () => new State(),
        state => state.Device.Group.DetachPasid(s_pasid),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.ShouldReach(step == 0 ? null : 0);
            state.Rig.Driver.Statistics.PscidsInUse.ShouldBe(step == 0 ? 0 : 1);
            if (step != 0)
            {
                state.Device.Group.DetachPasid(s_pasid).ShouldBe(Errno.Success);
                state.ShouldReach(null);
            }

            state.ShouldEnd();
        }).ShouldBe(1);

    [Fact]
    public void Replacing_the_domain_of_a_PASID() => FailAtEveryStep.Run(
        () => new State(),
        state => state.Device.Group.ReplacePasid(s_pasid, state.Domains[1]),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.ShouldReach(step == 0 ? 1 : 0);
            (state.Domains[0].BondCount, state.Domains[1].BondCount).ShouldBe(step == 0 ? (0, 1) : (1, 0));
            state.ShouldEnd();
        }).ShouldBeGreaterThanOrEqualTo(2);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.3")]
    public void Removing_a_device(bool andAllAfter) => FailAtEveryStep.Run(
        () => new State(),
        state =>
        {
            state.Rig.Core.RemoveDevice(state.Device);
            return Errno.Success;
        },
        (state, _, step) =>
        {
            // It is gone whatever fails. What the hardware did not confirm stays until the IOMMU is off.
            state.Rig.Core.Devices.ShouldNotContain(state.Device);
            state.Domains[0].BondCount.ShouldBeLessThanOrEqualTo(step == 0 ? 0 : 1);
            state.Rig.Driver.Statistics.PscidsInUse.ShouldBe(state.Domains[0].BondCount);
            state.ShouldEnd();
        },
        andAllAfter: andAllAfter).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void Removing_an_IOMMU() => FailAtEveryStep.Run(
        () => new State(),
        state =>
        {
            state.Rig.Core.RemoveIommu(state.Rig.Driver);
            state.Rig.Driver.Dispose();
            return Errno.Success;
        },
        (state, _, _) => state.ShouldEnd(),
        andAllAfter: true).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void Allocating_a_second_stage_with_interrupt_files() => FailAtEveryStep.Run(
        () => new State(),
        state => state.Rig.Driver.TryAllocatePagingDomain(
            state.Device,
            new() { NestParent = true },
            new InterruptFileAddresses(0x1_0000, 0xff),
            out state.Made),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            (state.Made is null).ShouldBe(step != 0);
            state.Made?.Dispose();
            state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
        }).ShouldBeGreaterThanOrEqualTo(2);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.13")]
    [Trait("Requirement", "S4.14")]
    public void A_gathered_unmap_behind_two_IOMMUs(bool andAllAfter) => FailAtEveryStep.Run(
        () => new TwoIommus(),
        state =>
        {
            for (ulong i = 0; i < 3; i++)
            {
                // All that a table of leaves covers.
                _ = state.Domain.Unmap(new(i << 30), 1ul << 21, ref state.Gather);
            }

            return state.Domain.Sync(ref state.Gather);
        },
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Gather.IsEmpty.ShouldBe(step == 0);
            if (step != 0)
            {
                // Tables that a walk may still be in are not given back.
                state.Bytes.ShouldBe(state.Rigs[0].Pages.AllocatedBytes);
                state.Domain.Sync(ref state.Gather).ShouldBe(Errno.Success);
            }

            state.Rigs[0].Pages.AllocatedBytes.ShouldBeLessThan(state.Bytes);
            foreach ((Rig rig, IommuDevice device) in state.Rigs.Zip(state.Devices))
            {
                rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
                rig.ShouldFault(device, Iova + (2ul << 30), FaultCause.ReadPageFault);
            }
        },
        andAllAfter: andAllAfter).ShouldBe(2);

    [Fact]
    [Trait("Requirement", "S4.2")]
    public void Attaching_through_a_second_IOMMU() => FailAtEveryStep.Run(
        () => new TwoIommus(attachesSecond: false),
        state => state.Devices[1].Group.Attach(state.Domain),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Domain.BondCount.ShouldBe(step == 0 ? 2 : 1);
            state.Rigs[1].Driver.Statistics.PscidsInUse.ShouldBe(step == 0 ? 1 : 0);
            state.Rigs[0].ShouldReach(state.Devices[0], Iova, Target);
            state.Devices[1].Group.Attach(state.Domain).ShouldBe(Errno.Success);
            state.Rigs[1].ShouldReach(state.Devices[1], Iova, Target);
        }).ShouldBeGreaterThanOrEqualTo(2);

    private sealed class State : IDisposable
    {
        public RiscVPagingDomain? Made;

        public State()
        {
            Device = Rig.AddDevice(0x10, pasidBits: 8);
            Domains = [Rig.NewDomain(Device), Rig.NewDomain(Device)];
            Domains[0].ShouldMap(Iova, Target);
            Domains[1].ShouldMap(Iova, Target + 0x1000);
            Device.Group.AttachPasid(s_pasid, Domains[0]).ShouldBe(Errno.Success);
            ShouldReach(0);
            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public RiscVPagingDomain[] Domains { get; }

        public long Bytes { get; }

        public void ShouldReach(int? domain)
        {
            if (domain is { } number)
            {
                Rig.ShouldReach(Device, Iova, Target + ((ulong)number * 0x1000), pasid: s_pasid);
            }
            else
            {
                Rig.ShouldFault(Device, Iova, FaultCause.PdtEntryNotValid, pasid: s_pasid);
            }
        }

        // With the IOMMU everything goes but the domains.
        public void ShouldEnd()
        {
            Rig.Driver.Dispose();
            foreach (RiscVPagingDomain domain in Domains)
            {
                domain.BondCount.ShouldBe(0);
                domain.Dispose();
            }

            Rig.Pages.AllocatedBytes.ShouldBe(0);
        }

        public void Dispose() => Rig.Dispose();
    }

    private sealed class TwoIommus : IDisposable
    {
        public InvalidationGather Gather;

        public TwoIommus(bool attachesSecond = true)
        {
            Rig first = new();
            Rigs = [first, new(sharesMemoryWith: first)];
            Devices = [.. Rigs.Select(static (rig, index) => rig.AddDevice(0x10 + (uint)index))];
            Domain = first.NewDomain(Devices[0]);
            for (ulong i = 0; i < 3; i++)
            {
                Domain.ShouldMap(Iova + (i << 30), Target);
            }

            Devices[0].Group.Attach(Domain).ShouldBe(Errno.Success);
            first.ShouldReach(Devices[0], Iova, Target);
            if (attachesSecond)
            {
                Devices[1].Group.Attach(Domain).ShouldBe(Errno.Success);
                Rigs[1].ShouldReach(Devices[1], Iova, Target);
            }

            Bytes = first.Pages.AllocatedBytes;
        }

        public Rig[] Rigs { get; }

        public IommuDevice[] Devices { get; }

        public RiscVPagingDomain Domain { get; }

        public long Bytes { get; }

        // The first owns the memory.
        public void Dispose()
        {
            Rigs[1].Dispose();
            Rigs[0].Dispose();
        }
    }
}
