using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>
/// The IOMMU stops at the n-th command of a call, for every n: nothing that it may still use is given up, the call says that it failed,
/// and when the IOMMU works again all of it can be done and nothing is left (S4.8, S4.14, S4.15).
/// </summary>
[Trait("Requirement", "S4.15")]
public class UnconfirmedTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;
    private const ulong Huge = 2ul << 20;

    public static TheoryData<Trouble, int> Machines => new()
    {
        { Trouble.Silence, 0 },
        { Trouble.Silence, 20 },
        { Trouble.Errors, 0 },
        { Trouble.Errors, 20 },
    };

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.8")]
    public void A_detach(Trouble trouble, int pasidBits) => Run(
        trouble, pasidBits,
        static state => state.Device.Group.Detach(),
        static (state, isConfirmed) => state.Attached = isConfirmed ? null : state.First);

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.8")]
    public void A_replacement(Trouble trouble, int pasidBits) => Run(
        trouble, pasidBits,
        static state => state.Device.Group.Attach(state.Second),
        static (state, isConfirmed) => state.Attached = isConfirmed ? state.Second : state.First);

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.7")]
    public void An_attach(Trouble trouble, int pasidBits) => Run(
        trouble, pasidBits,
        static state => state.Device.Group.Attach(state.Second),
        static (state, isConfirmed) => state.Attached = isConfirmed ? state.Second : null,
        startsAttached: false);

    [Theory]
    [InlineData(Trouble.Silence, false)]
    [InlineData(Trouble.Silence, true)]
    [InlineData(Trouble.Errors, false)]
    [InlineData(Trouble.Errors, true)]
    [Trait("Requirement", "S4.8")]
    public void A_PASID_attached_or_detached(Trouble trouble, bool detaches)
    {
        Pasid pasid = new(5);
        Run(
            trouble, 20,
            state => detaches ? state.Device.Group.DetachPasid(pasid) : state.Device.Group.AttachPasid(pasid, state.Second),
            (state, isConfirmed) =>
            {
                state.Attached = state.First;
                state.OfPasid = isConfirmed != detaches ? state.Second : null;
            },
            prepare: state =>
            {
                if (detaches)
                {
                    state.Device.Group.AttachPasid(pasid, state.Second).ShouldBe(Errno.Success);
                }
            });
    }

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.14")]
    public void An_unmap_of_a_whole_table(Trouble trouble, int pasidBits)
    {
        InvalidationGather gather = default;
        Run(
            trouble, pasidBits,
            state =>
            {
                gather = default;
                state.First.Unmap(new(Iova), Huge, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
                unmapped.ShouldBe(Huge);
                return state.First.Sync(ref gather);
            },
            (state, isConfirmed) =>
            {
                state.Attached = state.First;
                state.IsMapped = false;
                gather.IsEmpty.ShouldBe(isConfirmed);
                state.First.Sync(ref gather).ShouldBe(Errno.Success);
            });
    }

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.14")]
    public void A_map_in_the_place_of_a_table(Trouble trouble, int pasidBits) => Run(
        trouble, pasidBits,
        static state => state.First.Map(new(Iova), new(Target + Huge), Huge, Access.ReadWrite),
        static (state, isConfirmed) =>
        {
            state.Attached = state.First;
            state.IsMapped = false;
            state.First.TryTranslate(new(Iova), out _, out _, out _).ShouldBe(isConfirmed);
            state.Rig.Dma(state.Device, Iova).Status.ShouldBe(isConfirmed ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
            if (!isConfirmed)
            {
                state.First.Map(new(Iova), new(Target + Huge), Huge, Access.ReadWrite).ShouldBe(Errno.Success);
            }

            state.Rig.ShouldReach(state.Device, Iova + 0x1000, Target + Huge + 0x1000);
        },
        prepare: static state =>
        {
            // Page by page, so that an empty table is left.
            for (ulong page = 0; page < Huge; page += Rig.Page)
            {
                state.First.ShouldUnmap(Iova + page);
            }
        });

    [Theory]
    [MemberData(nameof(Machines))]
    [Trait("Requirement", "S4.3")]
    public void An_unplugged_device_gives_nothing_back(Trouble trouble, int pasidBits) => UnconfirmedAtEveryCommand.Run(
        trouble,
        iommu => new State(iommu, pasidBits, isAttached: true),
        static state =>
        {
            state.Rig.Core.RemoveDevice(state.Device);
            return Errno.Success;
        },
        static (state, _, at) =>
        {
            (state.Rig.Driver.Statistics.PscidsInUse, state.First.BondCount).ShouldBe(at == 0 ? (0, 0) : (1, 1));
            if (at != 0)
            {
                state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
            }
        },
        static (state, _, _) => state.End()).ShouldBeGreaterThan(0);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_queue_that_works_again_has_forgotten_what_was_lost(bool isSecondStage)
    {
        UnconfirmedIommu iommu = new(Trouble.Silence);
        using Rig rig = NewRig(iommu);
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = isSecondStage ? rig.NewSecondStage(device) : rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        iommu.StopAt(1);
        InvalidationGather gather = default;
        domain.Unmap(new(Iova), Rig.Page, ref gather, out _).ShouldBe(Errno.Success);
        domain.Sync(ref gather).ShouldBe(Errno.IoError);
        rig.Dma(device, Iova).Status.ShouldBe(DmaStatus.Success, "the hardware caches");

        // Somebody else's command is the first of the queue's new life; what was lost before must have been made good.
        iommu.Heal();
        rig.Driver.Commands.SubmitAndWait([Command.InvalidateDeviceDirectory(0x77)]).ShouldBe(Errno.Success);
        rig.Dma(device, Iova).Status.ShouldNotBe(DmaStatus.Success);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_takes_the_place_of_commands_that_cannot_be_carried_out_covers_both_stages(bool isSecondStage)
    {
        // Each batch is illegal while it is as it was: only the substitute gets through.
        IllegalInvalidations spoiled = null!;
        using Rig rig = new(new() { DriverMemory = memory => spoiled = new(memory) });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = isSecondStage ? rig.NewSecondStage(device) : rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        spoiled.IsOn = true;
        domain.ShouldUnmap(Iova);
        spoiled.Count.ShouldBeGreaterThan(1);
        rig.Dma(device, Iova).Status.ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void What_the_hardware_took_in_the_middle_of_a_failed_switch_is_not_seen_by_who_attaches_next()
    {
        bool seen = false;
        _ = FailAtEveryStep.Run(
            static () => new Interrupted(),
            static state =>
            {
                state.Uses = true;
                Errno result = state.Device.Group.Attach(state.Second);
                state.Uses = false;
                return result;
            },
            (state, result, step) =>
            {
                seen |= result != Errno.Success && state.Took;

                // Whoever comes next gets the lowest number that is free.
                IommuDevice other = state.Rig.AddDevice(0x20);
                state.Attach(other);
                state.Rig.HandleInterrupts();
                _ = state.Rig.ShouldFault(other, Iova, FaultCause.ReadPageFault);
            },
            Errno.IoError,
            andAllAfter: true);
        seen.ShouldBeTrue("in none of the runs the device got through in the middle");
    }

    [Fact]
    public void The_silence_of_a_device_is_told_to_who_asked_it_and_to_nobody_later()
    {
        using Rig rig = new(new()
        {
            Driver = new() { TimeProvider = new CreepingTime(), AtsTimeout = TimeSpan.FromSeconds(1) },
        });
        IommuDevice silent = rig.AddDevice(1, ats: true);
        PagingDomain domain = rig.NewDomain(silent);
        silent.Attach(Pasid.None, domain).ShouldBe(Errno.Success);
        rig.CacheOf(silent).Answers = false;
        RiscVIommuInstance driver = rig.Driver;
        driver.Commands.Submit([AtsInvalidation.For(1, Pasid.None, PcieInvalidation.Everything)], BatchKind.None, out ulong asked).ShouldBe(Errno.Success);
        driver.Commands.Submit([Command.InvalidateFirstStage(null, null, null)], BatchKind.None, out ulong behind).ShouldBe(Errno.Success);
        rig.Hardware.HandleInvalidationTimeout(uint.MaxValue);
        driver.Commands.Wait(asked).ShouldBe(Errno.TimedOut);
        driver.Commands.Wait(behind).ShouldBe(Errno.Success);
        driver.Commands.SubmitAndWait([Command.InvalidateFirstStage(null, null, null)]).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData(RegisterOffset.CommandQueueCsr)]
    [InlineData(RegisterOffset.FaultQueueCsr)]
    [InlineData(RegisterOffset.PageRequestQueueCsr)]
    [Trait("Requirement", "S4.16")]
    public void The_memory_of_a_queue_that_the_hardware_does_not_let_go_of_is_not_freed(uint register)
    {
        StuckQueue stuck = null!;
        using Rig rig = new(new()
        {
            Registers = window => stuck = new(window, register),
            Driver = new() { TimeProvider = new CreepingTime() },
        });
        uint @base = register switch
        {
            RegisterOffset.CommandQueueCsr => RegisterOffset.CommandQueueBase,
            RegisterOffset.FaultQueueCsr => RegisterOffset.FaultQueueBase,
            _ => RegisterOffset.PageRequestQueueBase,
        };
        ulong entry = register == RegisterOffset.FaultQueueCsr ? 32ul : 16ul;
        ulong bytes = Math.Max(4096, entry << (int)((rig.Hardware.Read64(@base) & 0x1f) + 1));
        stuck.IsOn = true;
        rig.Driver.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe((long)bytes);
    }

    private static Rig NewRig(UnconfirmedIommu iommu) => new(new()
    {
        Registers = iommu.Registers,
        Driver = new() { TimeProvider = iommu.Time },
    });

    // The same for every call: it fails unless all was confirmed; meanwhile nothing is given up; afterwards the state is what the core
    // says that it is, in the eyes of hardware that caches; and at the end nothing is left.
    private static void Run(
        Trouble trouble,
        int pasidBits,
        Func<State, Errno> call,
        Action<State, bool> settle,
        bool startsAttached = true,
        Action<State>? prepare = null) => UnconfirmedAtEveryCommand.Run(
            trouble,
            iommu =>
            {
                State state = new(iommu, pasidBits, startsAttached);
                prepare?.Invoke(state);
                state.Bytes = state.Rig.Pages.AllocatedBytes;
                state.Pscids = state.Rig.Driver.Statistics.PscidsInUse;
                return state;
            },
            call,
            (state, result, at) =>
            {
                result.ShouldBe(at == 0 ? Errno.Success : Errno.IoError, $"command {at}");
                if (at != 0)
                {
                    state.Rig.Driver.Statistics.PscidsInUse.ShouldBeGreaterThanOrEqualTo(state.Pscids);
                    state.Rig.Pages.AllocatedBytes.ShouldBeGreaterThanOrEqualTo(state.Bytes);
                }
            },
            (state, _, at) =>
            {
                settle(state, at == 0);
                state.ShouldBeAsTheCoreSays();
                state.End();
            }).ShouldBeGreaterThan(0);

    /// <summary>A device and two domains that map the same IOVA to different places.</summary>
    private sealed class State : IDisposable
    {
        private readonly long _idle;

        public State(UnconfirmedIommu iommu, int pasidBits, bool isAttached)
        {
            Rig = NewRig(iommu);
            _idle = Rig.Pages.AllocatedBytes;
            Device = Rig.AddDevice(0x10, pasidBits);
            First = Rig.NewDomain(Device);
            Second = Rig.NewDomain(Device);
            for (ulong page = 0; page < Huge; page += Rig.Page)
            {
                // Backwards, so that they stay small.
                First.ShouldMap(Iova + page, Target + Huge - Rig.Page - page);
            }

            Second.ShouldMap(Iova, Target + (4 * Huge));
            if (isAttached)
            {
                Device.Group.Attach(First).ShouldBe(Errno.Success);
                Rig.ShouldReach(Device, Iova, Target + Huge - Rig.Page);
            }

            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; }

        public IommuDevice Device { get; }

        public RiscVPagingDomain First { get; }

        public RiscVPagingDomain Second { get; }

        public long Bytes { get; set; }

        public int Pscids { get; set; }

        /// <summary>What the device should be attached to at the end.</summary>
        public RiscVPagingDomain? Attached { get; set; }

        public RiscVPagingDomain? OfPasid { get; set; }

        /// <summary>Whether the first domain's pages are mapped.</summary>
        public bool IsMapped { get; set; } = true;

        public void ShouldBeAsTheCoreSays()
        {
            Domain said = Device.Group.Domain;
            (said is RiscVPagingDomain ? said : null).ShouldBeSameAs(Attached);
            Place(Attached, default);
            if (Device.PasidBits > 0)
            {
                Place(OfPasid, new(5));
            }
        }

        // Everything can be undone, and then nothing is left, in the IOMMU and in memory.
        public void End()
        {
            if (Rig.Core.Devices.Contains(Device))
            {
                Device.Group.Detach().ShouldBe(Errno.Success);
                if (OfPasid is not null)
                {
                    Device.Group.DetachPasid(new(5)).ShouldBe(Errno.Success);
                }

                Rig.Core.RemoveDevice(Device);
            }

            Rig.Driver.Dispose();
            (First.BondCount, Second.BondCount).ShouldBe((0, 0));
            First.Dispose();
            Second.Dispose();
            Rig.Pages.AllocatedBytes.ShouldBe(0);
        }

        public void Dispose() => Rig.Dispose();

        private void Place(RiscVPagingDomain? domain, Pasid pasid)
        {
            if (domain is null)
            {
                Rig.Dma(Device, Iova, pasid: pasid).Status.ShouldNotBe(DmaStatus.Success);
            }
            else if (domain == Second || IsMapped)
            {
                Rig.ShouldReach(Device, Iova, domain == Second ? Target + (4 * Huge) : Target + Huge - Rig.Page, pasid: pasid);
            }
        }
    }

    /// <summary>A device that does DMA whenever its driver writes to memory, so that the hardware caches what it can get.</summary>
    private sealed class Interrupted : IDisposable
    {
        public Interrupted()
        {
            Rig = new(new() { DriverMemory = memory => new Hook(memory, Use), Driver = new() { PscidBits = 2 } });
            Device = Rig.AddDevice(0x10);
            Second = Rig.NewDomain(Device);
            Second.ShouldMap(Iova, Target);
        }

        public Rig Rig { get; }

        public IommuDevice Device { get; }

        public RiscVPagingDomain Second { get; }

        public bool Uses { get; set; }

        /// <summary>Whether the device got through.</summary>
        public bool Took { get; private set; }

        public void Attach(IommuDevice device) => device.Group.Attach(Rig.NewDomain(device)).ShouldBe(Errno.Success);

        public void Dispose() => Rig.Dispose();

        private void Use()
        {
            if (Uses)
            {
                Uses = false;
                Rig.Hardware.Translate(new(Device.Id, new(Iova)), out DmaTranslation translation);
                Took |= translation.Status == DmaStatus.Success;
                Uses = true;
            }
        }
    }

    /// <summary>Memory that calls somebody after each write.</summary>
    private sealed class Hook(IPhysicalMemory inner, Action written) : MemoryDecorator(inner)
    {
        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            MemoryStatus status = base.Write64(address, value);
            written();
            return status;
        }
    }

    /// <summary>Memory in which every invalidation that names an address turns illegal on its way to the ring.</summary>
    private sealed class IllegalInvalidations(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        public bool IsOn { get; set; }

        public int Count { get; private set; }

        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            bool isSpoiled = IsOn && (address.Value & 0xf) == 0
                && (CommandOpcode)(value & CommandBits.OpcodeMask) == CommandOpcode.Iotinval && (value & CommandBits.AddressValidBit) != 0;
            Count += isSpoiled ? 1 : 0;
            return base.Write64(address, isSpoiled ? value | 0x7f : value);
        }
    }

    /// <summary>A queue that cannot be turned off.</summary>
    private sealed class StuckQueue(IRegisterWindow inner, uint register) : RegisterDecorator(inner)
    {
        public bool IsOn { get; set; }

        public override void Write32(uint offset, uint value)
        {
            if (!IsOn || offset != register)
            {
                base.Write32(offset, value);
            }
        }
    }
}
