using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>
/// Every call that fails at any of its steps leaves no trace (invariant 3): at an allocation or at the queue, or at any single access to
/// the memory of tables and queues.
/// </summary>
[Trait("Requirement", "S4.8")]
public sealed class FailAtStepTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;
    private static readonly Pasid s_pasid = new(5);

    /// <summary>What fails.</summary>
    public enum Step
    {
        /// <summary>An allocation, or room in the queue.</summary>
        Resource,

        /// <summary>A write to the memory that driver and hardware share.</summary>
        Write,

        /// <summary>A read of it.</summary>
        Read,
    }

    public static TheoryData<string, Step> Machines
    {
        get
        {
            TheoryData<string, Step> all = [];
            foreach (string kind in (string[])["scalable", "first stage", "legacy", "caching mode"])
            {
                foreach (Step step in Enum.GetValues<Step>())
                {
                    all.Add(kind, step);
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_probe(string kind, Step what)
    {
        VtdIommuInstance? made = null;
        Run(
            what,
            () =>
            {
                Rig rig = NewRig(kind);
                rig.Driver.Dispose();
                rig.Pages.AllocatedBytes.ShouldBe(0);
                return rig;
            },
            rig => VtdIommuInstance.TryProbe(rig.Registers, rig.DriverMemory, rig.Pages, OptionsOf(kind).Driver, out made),
            (rig, result, _) =>
            {
                (made is null).ShouldBe(result != Errno.Success);
                made?.Dispose();
                rig.Pages.AllocatedBytes.ShouldBe(0);
                VtdIommuInstance.TryProbe(rig.Registers, rig.DriverMemory, rig.Pages, OptionsOf(kind).Driver, out made).ShouldBe(Errno.Success);
                made!.Dispose();
                rig.Pages.AllocatedBytes.ShouldBe(0);
            });
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public void Adding_a_device(string kind, Step what) => Run(
        what,
        () => NewRig(kind),
        rig => rig.Core.TryAddDevice(
            rig.Driver, new(0x1ab8), "device", null, new IommuDeviceOptions { PasidBits = kind == "legacy" ? 0 : 20 }, out _),
        (rig, result, _) =>
        {
            IommuDevice? device = rig.Core.Devices.SingleOrDefault();
            (device is null).ShouldBe(result != Errno.Success);

            // The same device can be added afterwards, as if nothing had been.
            device ??= rig.AddDevice(0x1ab8);
            VtdPagingDomain domain = rig.Attached(device);
            domain.ShouldMap(Iova, Target);
            rig.ShouldReach(device, Iova, Target);
            rig.Core.RemoveDevice(device);
            domain.Dispose();
            rig.Driver.Dispose();
            rig.Pages.AllocatedBytes.ShouldBe(0);
        });

    [Theory]
    [MemberData(nameof(Machines))]
    public void Allocating_a_domain(string kind, Step what) => Run(
        what,
        () => new State(kind),
        state => state.Rig.Driver.TryAllocatePagingDomain(state.Device, default, out state.Made),
        (state, result, _) =>
        {
            (state.Made is null).ShouldBe(result != Errno.Success);
            state.Made?.Dispose();
            state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
        },
        mayHaveNone: what != Step.Resource);

    [Theory]
    [MemberData(nameof(Machines))]
    public void Switching_between_domains(string kind, Step what) => Run(
        what,
        () => new State(kind),
        state => state.Device.Group.Attach(state.Domains[1]),
        (state, result, _) => state.ShouldHave(result == Errno.Success ? 1 : 0));

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    public void Switching_when_everything_fails_from_a_step_on(string kind) => Run(
        Step.Resource,
        () => new State(kind),
        state => state.Device.Group.Attach(state.Domains[1]),
        (state, result, _) =>
        {
            // What the hardware may know of is kept; nothing of it was given to somebody else.
            int number = result == Errno.Success ? 1 : 0;
            state.Device.Group.Domain.ShouldBeSameAs(state.Domains[number]);
            state.Domains[number].BondCount.ShouldBe(1);
            state.Rig.ShouldReach(state.Device, Iova, state.TargetOf(number));
        },
        andAllAfter: true);

    [Theory]
    [MemberData(nameof(Machines))]
    public void Detaching(string kind, Step what) => Run(
        what,
        () => new State(kind),
        state => state.Device.Group.Detach(),
        (state, result, _) => state.ShouldHave(result == Errno.Success ? null : 0));

    [Theory]
    [InlineData("scalable", Step.Resource)]
    [InlineData("scalable", Step.Write)]
    [InlineData("first stage", Step.Resource)]
    [InlineData("first stage", Step.Write)]
    public void The_domain_of_a_PASID_attached_replaced_and_detached(string kind, Step what)
    {
        foreach (int call in (int[])[0, 1, 2])
        {
            Run(
                what,
                () =>
                {
                    State state = new(kind);
                    if (call != 0)
                    {
                        state.Device.Group.AttachPasid(s_pasid, state.Domains[0]).ShouldBe(Errno.Success);
                        state.ShouldReach(0, s_pasid);
                    }

                    return state;
                },
                state => call switch
                {
                    0 => state.Device.Group.AttachPasid(s_pasid, state.Domains[1]),
                    1 => state.Device.Group.ReplacePasid(s_pasid, state.Domains[1]),
                    _ => state.Device.Group.DetachPasid(s_pasid),
                },
                (state, result, _) =>
                {
                    int? before = call == 0 ? null : 0;
                    int? after = call == 2 ? null : 1;
                    state.ShouldReach(result == Errno.Success ? after : before, s_pasid);
                    state.ShouldReach(0);
                    state.End();
                });
        }
    }

    [Theory]
    [InlineData("scalable")]
    [InlineData("legacy")]
    public void A_group_of_three_is_switched_as_one(string kind) => Run(
        Step.Resource,
        () => new State(kind, devices: 3),
        state => state.Device.Group.Attach(state.Domains[1]),
        (state, result, _) => state.ShouldHave(result == Errno.Success ? 1 : 0));

    // What becomes of a page table whose memory fails is in IoPageTable's words.
    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    [InlineData("caching mode")]
    public void Mapping(string kind) => Run(
        Step.Resource,
        () => new State(kind),
        state => state.Domains[0].Map(new(0x12_3456_7000), new(Target), 0x40_2000, Access.ReadWrite),
        (state, result, step) =>
        {
            if (result == Errno.Success)
            {
                state.Rig.ShouldReach(state.Device, 0x12_3456_7000 + 0x40_1000, Target + 0x40_1000);
                state.End();
                return;
            }

            step.ShouldNotBe(0);
            for (ulong offset = 0; offset < 0x40_2000; offset += 0x10_0000)
            {
                state.Domains[0].TryTranslate(new(0x12_3456_7000 + offset), out _, out _, out _).ShouldBeFalse();
            }

            // Where absence is cached, tables that a walk may be in stay the domain's.
            if (kind != "caching mode")
            {
                state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
            }

            state.End();
        });

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    public void Unmapping_and_synchronising(string kind) => Run(
        Step.Resource,
        () => new State(kind),
        state =>
        {
            state.Domains[0].Unmap(new(Iova), Rig.Page, ref state.Gather, out _).ShouldBe(Errno.Success);
            return state.Domains[0].Sync(ref state.Gather);
        },
        (state, result, _) =>
        {
            state.Gather.IsEmpty.ShouldBe(result == Errno.Success);
            state.Domains[0].Sync(ref state.Gather).ShouldBe(Errno.Success);
            state.Rig.Dma(state.Device, Iova).Status.ShouldNotBe(DmaStatus.Success);
        });

    [Theory]
    [InlineData("scalable", false)]
    [InlineData("scalable", true)]
    [InlineData("legacy", false)]
    [InlineData("legacy", true)]
    [Trait("Requirement", "S4.3")]
    public void Removing_a_device_and_then_the_unit(string kind, bool andAllAfter) => Run(
        Step.Resource,
        () => new State(kind),
        state =>
        {
            state.Rig.Core.RemoveDevice(state.Device);
            return Errno.Success;
        },
        (state, _, step) =>
        {
            // It is gone whatever fails. What the hardware did not confirm stays until the unit is off.
            state.Rig.Core.Devices.ShouldNotContain(state.Device);
            state.Domains[0].BondCount.ShouldBeLessThanOrEqualTo(step == 0 ? 0 : 1);
            state.Rig.Driver.Usage.AddressSpaces.ShouldBe(state.Domains[0].BondCount);
            state.End();
        },
        andAllAfter: andAllAfter);

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    public void A_unit_that_hears_nothing_from_the_nth_register_write_on_is_not_taken_over(string kind)
    {
        for (int n = 1; ; n++)
        {
            DeafRegisters deaf = null!;
            RigOptions options = OptionsOf(kind);
            UnconfirmedIommu clock = new(Trouble.Silence, QueueRegisters.Vtd);
            using Rig rig = new(options with { Registers = window => deaf = new(window), Driver = options.Driver with { TimeProvider = clock.Time } });
            rig.Driver.Dispose();
            deaf.LeftToHear = n - 1;
            Errno result = VtdIommuInstance.TryProbe(
                rig.Registers, rig.DriverMemory, rig.Pages, options.Driver with { TimeProvider = clock.Time }, out VtdIommuInstance? made);
            (made is null).ShouldBe(result != Errno.Success);
            bool heardAll = deaf.LeftToHear >= 0;
            deaf.LeftToHear = int.MaxValue;
            made?.Dispose();
            if (heardAll)
            {
                result.ShouldBe(Errno.Success);
                n.ShouldBeGreaterThan(5);
                return;
            }

            // Whatever the deaf unit was left in, it can be taken over once it hears.
            VtdIommuInstance.TryProbe(rig.Registers, rig.DriverMemory, rig.Pages, options.Driver, out made).ShouldBe(Errno.Success, $"write {n}");
            made!.Dispose();
        }
    }

    private static RigOptions OptionsOf(string kind) =>
        AttachTests.OptionsOf(kind) with { DriverMemory = static memory => new WatchedMemory(memory) };

    private static Rig NewRig(string kind) => new(OptionsOf(kind));

    // A call may succeed in spite of a failed access if it did all of its work.
    private static void Run<T>(
        Step what, Func<T> setUp, Func<T, Errno> call, Action<T, Errno, int> audit, bool andAllAfter = false, bool mayHaveNone = false)
    {
        HashSet<InjectionKind>? kinds = what switch
        {
            Step.Write => [InjectionKind.MemoryWrite],
            Step.Read => [InjectionKind.MemoryRead],
            _ => null,
        };
        int steps = FailAtEveryStep.Run(
            setUp,
            call,
            (state, result, step) =>
            {
                if (step == 0)
                {
                    result.ShouldBe(Errno.Success);
                }

                audit(state, result, step);
            },
            what == Step.Resource ? Errno.OutOfMemory : Errno.IoError,
            kinds,
            andAllAfter);
        steps.ShouldBeGreaterThan(mayHaveNone ? -1 : 0);
    }

    /// <summary>Devices of one group that are attached to the first of two domains.</summary>
    private sealed class State : IDisposable
    {
        public PagingDomain? Made;
        public InvalidationGather Gather;

        private readonly IommuDevice[] _devices;

        public State(string kind, int devices = 1)
        {
            Rig = NewRig(kind);
            _devices = [.. Enumerable.Range(0, devices).Select(
                i => Rig.AddDevice((ushort)(0x10 + i), pasidBits: kind == "legacy" ? 0 : 8, group: devices > 1 ? 3 : null))];
            Domains = [Rig.NewDomain(Device), Rig.NewDomain(Device)];
            for (int i = 0; i < 2; i++)
            {
                Domains[i].ShouldMap(Iova, TargetOf(i));
            }

            Device.Group.Attach(Domains[0]).ShouldBe(Errno.Success);
            ShouldReach(0);
            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; }

        public IommuDevice Device => _devices[0];

        public VtdPagingDomain[] Domains { get; }

        public long Bytes { get; }

        public ulong TargetOf(int domain) => Target + ((ulong)domain * 0x1000);

        public void ShouldReach(int? domain, Pasid pasid = default)
        {
            foreach (IommuDevice device in _devices)
            {
                if (domain is { } number)
                {
                    Rig.ShouldReach(device, Iova, TargetOf(number), pasid: pasid);
                }
                else
                {
                    Rig.Dma(device, Iova, pasid: pasid).Status.ShouldNotBe(DmaStatus.Success);
                }
            }
        }

        /// <summary>The devices are attached to a domain or to nothing, and nothing else is left of the call.</summary>
        public void ShouldHave(int? domain)
        {
            ShouldReach(domain);
            Device.Group.Domain.ShouldBeSameAs(domain is { } number ? Domains[number] : BlockedDomain.Instance);
            for (int i = 0; i < 2; i++)
            {
                Domains[i].BondCount.ShouldBe(i == domain ? 1 : 0);
            }

            Rig.Driver.Usage.AddressSpaces.ShouldBe(domain is null ? 0 : 1);
            Rig.Pages.AllocatedBytes.ShouldBe(Bytes);
            End();
        }

        // With the unit everything goes but the domains.
        public void End()
        {
            Rig.Driver.Dispose();
            foreach (VtdPagingDomain domain in Domains)
            {
                domain.BondCount.ShouldBe(0);
                domain.Dispose();
            }

            Rig.Pages.AllocatedBytes.ShouldBe(0);
        }

        public void Dispose() => Rig.Dispose();
    }

    /// <summary>Hears so many writes and no more.</summary>
    private sealed class DeafRegisters(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public int LeftToHear { get; set; } = int.MaxValue;

        public override void Write32(uint offset, uint value)
        {
            if (LeftToHear == int.MaxValue || --LeftToHear >= 0)
            {
                base.Write32(offset, value);
            }
        }

        public override void Write64(uint offset, ulong value)
        {
            if (LeftToHear == int.MaxValue || --LeftToHear >= 0)
            {
                base.Write64(offset, value);
            }
        }
    }
}
