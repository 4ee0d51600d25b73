using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Every operation that fails at any of its steps leaves no trace (invariant 3).</summary>
public class FailAtStepTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    [Fact]
    public void Probe() => FailAtEveryStep.Run(
        () => new ProbeState(),
        state => RiscVIommuInstance.TryProbe(state.Rig.Hardware, state.Rig.Memory, state.Rig.Pages, new(), out state.Made),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0, $"step {step}");
            (state.Made is null).ShouldBe(step != 0);
            state.Made?.Dispose();
            state.Rig.Pages.AllocatedBytes.ShouldBe(0);
        }).ShouldBeGreaterThanOrEqualTo(4);

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    public void Adding_a_device(int pasidBits) => FailAtEveryStep.Run(
        () => new Rig(),
        rig => rig.Core.TryAddDevice(
            rig.Driver, new(0xab_cdef), "device", null, new IommuDeviceOptions { PasidBits = pasidBits }, out _),
        (rig, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0, $"step {step}");
            if (step != 0)
            {
                rig.Core.Devices.ShouldBeEmpty();

                // The same device can be added afterwards, as if nothing had been.
                IommuDevice device = rig.AddDevice(0xab_cdef, pasidBits);
                RiscVPagingDomain domain = rig.NewDomain(device);
                domain.ShouldMap(Iova, Target);
                device.Group.Attach(domain).ShouldBe(Errno.Success);
                rig.ShouldReach(device, Iova, Target);
                rig.Core.RemoveDevice(device);
                domain.Dispose();
            }

            rig.Driver.Dispose();
            rig.Pages.AllocatedBytes.ShouldBe(0);
        }).ShouldBeGreaterThanOrEqualTo(pasidBits == 0 ? 2 : 5);

    [Fact]
    public void Allocating_a_domain() => FailAtEveryStep.Run(
        () => new AttachState(0),
        state => state.Rig.Driver.TryAllocatePagingDomain(state.Device, default, out state.Other),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            (state.Other is null).ShouldBe(step != 0);
            state.Other?.Dispose();
            state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
        }).ShouldBe(1);

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    public void Switching_between_domains(int pasidBits) => FailAtEveryStep.Run(
        () => new AttachState(pasidBits, withOther: true),
        state => state.Device.Group.Attach(state.Other!),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Rig.ShouldReach(state.Device, Iova, step == 0 ? Target + 0x1000 : Target);
            state.Domain.BondCount.ShouldBe(step == 0 ? 0 : 1);
            ((RiscVPagingDomain)state.Other!).BondCount.ShouldBe(step == 0 ? 1 : 0);
            state.Rig.Driver.Statistics.PscidsInUse.ShouldBe(1);
            state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
        }).ShouldBeGreaterThanOrEqualTo(3);

    [Fact]
    public void Switching_when_everything_fails_from_a_step_on() => FailAtEveryStep.Run(
        () => new AttachState(0, withOther: true),
        state => state.Device.Group.Attach(state.Other!),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            if (step != 0)
            {
                // What the hardware may know of is kept; nothing of it was given to somebody else.
                state.Device.Group.Domain.ShouldBeSameAs(state.Domain);
                state.Domain.BondCount.ShouldBe(1);
                state.Rig.ShouldReach(state.Device, Iova, Target);
            }
        },
        andAllAfter: true).ShouldBeGreaterThanOrEqualTo(3);

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    public void Detaching(int pasidBits) => FailAtEveryStep.Run(
        () => new AttachState(pasidBits),
        state => state.Device.Group.Detach(),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            if (step == 0)
            {
                FaultCause cause = pasidBits == 0 ? FaultCause.DdtEntryNotValid : FaultCause.PdtEntryNotValid;
                _ = state.Rig.ShouldFault(state.Device, Iova, cause);
            }
            else
            {
                state.Rig.ShouldReach(state.Device, Iova, Target);
                state.Device.Group.Domain.ShouldBeSameAs(state.Domain);
            }

            state.Domain.BondCount.ShouldBe(step == 0 ? 0 : 1);
        }).ShouldBe(1);

    [Fact]
    public void Attaching_a_PASID() => FailAtEveryStep.Run(
        () => new AttachState(20),
        state => state.Device.Group.AttachPasid(new(0xf_ffff), state.Domain),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            if (step == 0)
            {
                state.Rig.ShouldReach(state.Device, Iova, Target, pasid: new(0xf_ffff));
            }
            else
            {
                _ = state.Rig.ShouldFault(state.Device, Iova, FaultCause.PdtEntryNotValid, pasid: new(0xf_ffff));
                state.Device.Group.GetPasidDomain(new(0xf_ffff)).ShouldBeSameAs(BlockedDomain.Instance);
            }

            state.Rig.ShouldReach(state.Device, Iova, Target);
            state.Rig.Core.RemoveDevice(state.Device);
            state.Domain.BondCount.ShouldBe(0);
        }).ShouldBeGreaterThanOrEqualTo(3);

    [Fact]
    public void A_group_of_three_is_switched_as_one() => FailAtEveryStep.Run(
        () => new GroupState(),
        state => state.Devices[0].Group.Attach(state.Second),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            foreach (IommuDevice device in state.Devices)
            {
                state.Rig.ShouldReach(device, Iova, step == 0 ? Target + 0x1000 : Target);
            }

            state.First.BondCount.ShouldBe(step == 0 ? 0 : 1);
            state.Second.BondCount.ShouldBe(step == 0 ? 1 : 0);
        }).ShouldBeGreaterThanOrEqualTo(6);

    [Fact]
    public void Mapping() => FailAtEveryStep.Run(
        () => new AttachState(0),
        state => state.Domain.Map(new(0x12_3456_7000), new(Target), 0x40_2000, Access.ReadWrite),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            if (step == 0)
            {
                state.Rig.ShouldReach(state.Device, 0x12_3456_7000 + 0x40_1000, Target + 0x40_1000);
            }
            else
            {
                state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
                for (ulong offset = 0; offset < 0x40_2000; offset += 0x10_0000)
                {
                    state.Domain.TryTranslate(new(0x12_3456_7000 + offset), out _, out _, out _).ShouldBeFalse();
                }
            }
        }).ShouldBeGreaterThanOrEqualTo(3);

    [Fact]
    public void Unmapping_and_synchronising() => FailAtEveryStep.Run(
        () => new AttachState(0),
        state =>
        {
            _ = state.Domain.Unmap(new(Iova), Rig.Page, ref state.Gather);
            return state.Domain.Sync(ref state.Gather);
        },
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Gather.IsEmpty.ShouldBe(step == 0);
            state.Domain.Sync(ref state.Gather).ShouldBe(Errno.Success);
            _ = state.Rig.ShouldFault(state.Device, Iova, FaultCause.ReadPageFault);
        }).ShouldBe(1);

    private sealed class ProbeState : IDisposable
    {
        public RiscVIommuInstance? Made;

        public Rig Rig { get; } = new();

        public ProbeState() => Rig.Driver.Dispose();

        public void Dispose() => Rig.Dispose();
    }

    private sealed class AttachState : IDisposable
    {
        public PagingDomain? Other;
        public InvalidationGather Gather;

        public AttachState(int pasidBits, bool withOther = false)
        {
            Device = Rig.AddDevice(0x10, pasidBits);
            Domain = Rig.NewDomain(Device);
            Domain.ShouldMap(Iova, Target);
            if (withOther)
            {
                Other = Rig.NewDomain(Device);
                Other.ShouldMap(Iova, Target + 0x1000);
            }

            Device.Group.Attach(Domain).ShouldBe(Errno.Success);
            Rig.ShouldReach(Device, Iova, Target);
            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public RiscVPagingDomain Domain { get; }

        public long Bytes { get; }

        public void Dispose() => Rig.Dispose();
    }

    private sealed class GroupState : IDisposable
    {
        public GroupState()
        {
            Devices = [Rig.AddDevice(0x10, group: 3), Rig.AddDevice(0x11, group: 3), Rig.AddDevice(0x12, group: 3)];
            First = Rig.NewDomain(Devices[0]);
            Second = Rig.NewDomain(Devices[0]);
            First.ShouldMap(Iova, Target);
            Second.ShouldMap(Iova, Target + 0x1000);
            Devices[0].Group.Attach(First).ShouldBe(Errno.Success);
        }

        public Rig Rig { get; } = new();

        public IommuDevice[] Devices { get; }

        public RiscVPagingDomain First { get; }

        public RiscVPagingDomain Second { get; }

        public void Dispose() => Rig.Dispose();
    }
}
