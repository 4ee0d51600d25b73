using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>
/// Every order of the calls that meet in a <c>/dev/ioasid</c>, as far as the budget goes. Whatever the order: what a user made
/// ends with its descriptors, and with it memory, address spaces and what devices reach.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class IoasidScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 2,
        MaxSchedules = ExplorerOptions.All ? 200_000 : 4000,
        RandomSchedules = ExplorerOptions.All ? 10_000 : 100,
    };

    private static void Holds(Func<Scenario> create)
    {
        ExplorationResult result = ScheduleExplorer.Explore(create, Options).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }

    [Theory]
    [Trait("Requirement", "S0.10")]
    [Trait("Requirement", "S0.11")]
    [InlineData(true)]
    [InlineData(false)]
    public void End_of_a_set_against_allocation_and_bind_in_it(bool keep) => Holds(() => new EndAgainstBind(keep));

    [Theory]
    [Trait("Requirement", "S1.10")]
    [InlineData(true)]
    [InlineData(false)]
    public void End_of_a_set_against_bind_of_an_IOASID_that_devices_use(bool keep) => Holds(() => new EndAgainstBindOfAllowed(keep));

    [Fact]
    [Trait("Requirement", "S1.13")]
    public void Free_against_a_virtual_machines_map() => Holds(static () => new FreeAgainstVmMap());

    [Fact]
    [Trait("Requirement", "S1.5")]
    public void Free_against_allow() => Holds(static () => new FreeAgainstAllow());

    [Fact]
    [Trait("Requirement", "S1.8")]
    public void Free_against_disallow() => Holds(static () => new FreeAgainstDisallow());

    [Fact]
    [Trait("Requirement", "S1.9")]
    public void A_number_that_is_used_again_against_the_end_of_its_set() => Holds(static () => new ReuseAgainstEnd());

    [Fact]
    [Trait("Requirement", "S1.9")]
    public void A_number_that_is_used_again_against_free_bind_and_allow() => Holds(static () => new ReuseAgainstUse());

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Close_of_everything_against_bind_and_allow() => Holds(static () => new CloseAgainstUse());

    private abstract class IoasidScenario : Scenario
    {
        protected IoasidRig Rig { get; } = new();

        public override void CheckAlways() => Rig.Rig.Memory.Violations.ShouldBeEmpty();

        // Everything is closed, and nothing may be left: no address space, no pin, no PASID, no domain.
        public override void CheckAtEnd() => Rig.Dispose();

        protected (int Result, uint Number) Allocate(uint set, uint number = 0)
        {
            IoasidAlloc argument = new() { SetId = set, First = number, Flags = number == 0 ? IoasidAllocFlags.LowestFirst : IoasidAllocFlags.Fixed };
            return (Rig.Rig.Call(Rig.Fd, ref argument), argument.OutIoasid);
        }

        protected int Bind(uint number) => Rig.Raw(
            Rig.Fd, new IoasidBind { Ioasid = number, Kind = IoasidBindKind.Ioas, Iommufd = Rig.Iommu.Descriptor.Number, ObjectId = Rig.Space.Id });

        protected int Free(uint number) => Rig.Raw(Rig.Fd, new IoasidFree { Ioasid = number });

        protected int End(uint set, bool keep) => Rig.Raw(
            Rig.Fd, new IoasidSetDestroy { SetId = set, Flags = keep ? IoasidSetDestroyFlags.Keep : 0 });

        protected int Allow(int device, uint number) => Rig.Raw(
            Rig.Devices[device].Descriptor.Number, new IoasidDeviceAllow { IoasidFd = Rig.Fd, Ioasid = number });

        protected int Disallow(int device, uint number) => Rig.Raw(
            Rig.Devices[device].Descriptor.Number, new IoasidDeviceDisallow { Ioasid = number });

        // Found in the descriptor, or not there at all: never half of it.
        protected bool IsThere(uint number) => Rig.Raw(Rig.Fd, new IoasidFind { Id = number }) == 0;
    }

    private sealed class EndAgainstBind : IoasidScenario
    {
        private readonly bool _keep;
        private int _bound = 1;
        private uint _number;

        public EndAgainstBind(bool keep)
        {
            _keep = keep;
            AddThread("end", () => End(Rig.Set.Id.Value, keep).ShouldBe(0));
            AddThread("user", () =>
            {
                (int result, _number) = Allocate(Rig.Set.Id.Value);
                result.ShouldBeOneOf(keep ? [0] : [0, -(int)Errno.NoEntry]);
                _bound = result == 0 ? Bind(_number) : 1;
                _bound.ShouldBeOneOf(0, 1, -(int)Errno.NoEntry);
            });
        }

        public override void CheckAtEnd()
        {
            // A set that is kept may have what was allocated after its end, with its memory.
            IsThere(_number).ShouldBe(Rig.Rig.KernelSide.Pasids.Audit.Live == 1);
            (_keep || !IsThere(_number)).ShouldBeTrue();
            base.CheckAtEnd();
        }
    }

    private sealed class EndAgainstBindOfAllowed : IoasidScenario
    {
        public EndAgainstBindOfAllowed(bool keep)
        {
            (int result, uint number) = Allocate(Rig.Set.Id.Value);
            result.ShouldBe(0);
            Allow(0, number).ShouldBe(0);
            AddThread("end", () => End(Rig.Set.Id.Value, keep).ShouldBe(0));
            AddThread("bind", () => Bind(number).ShouldBeOneOf(0, -(int)Errno.NoEntry));
            Number = number;
        }

        private uint Number { get; }

        public override void CheckAtEnd()
        {
            Rig.Reaches(0, new(Number)).ShouldBeFalse();
            IsThere(Number).ShouldBeFalse();
            base.CheckAtEnd();
        }
    }

    private sealed class FreeAgainstVmMap : IoasidScenario
    {
        private readonly int _vm;
        private readonly uint _number;

        public FreeAgainstVmMap()
        {
            (_, _number) = Allocate(Rig.Set.Id.Value);
            Bind(_number).ShouldBe(0);
            IoasidVmCreate create = default;
            _vm = Rig.Rig.Call(Rig.Fd, ref create);
            _vm.ShouldBeGreaterThan(0);
            AddThread("map", () => Rig.Raw(_vm, new IoasidVmMap { Guest = 7, IoasidFd = Rig.Fd, Ioasid = _number })
                .ShouldBeOneOf(0, -(int)Errno.NoEntry));
            AddThread("free", () => Free(_number).ShouldBe(0));
        }

        public override void CheckAtEnd()
        {
            IsThere(_number).ShouldBeFalse();
            Rig.Rig.Kernel.TryGetVmPasidTable(_vm, out VmPasidTable? table).ShouldBeTrue();
            table!.TryTranslate(new(7), out _).ShouldBeFalse("ENQCMD must not use a PASID that has ended");
            Rig.Rig.Kernel.Close(_vm).ShouldBe(0);
            base.CheckAtEnd();
        }
    }

    private sealed class FreeAgainstAllow : IoasidScenario
    {
        private readonly uint _number;

        public FreeAgainstAllow()
        {
            (_, _number) = Allocate(Rig.Set.Id.Value);
            Bind(_number).ShouldBe(0);
            AddThread("allow", () => Allow(0, _number).ShouldBeOneOf(0, -(int)Errno.NoEntry));
            AddThread("free", () => Free(_number).ShouldBe(0));
        }

        public override void CheckAtEnd()
        {
            Rig.Reaches(0, new(_number)).ShouldBeFalse();
            Rig.Listed(0).ShouldBeEmpty();

            // The IOMMU knows the PASID no more, not even as one whose DMA faults: whoever asks for it can have it.
            IommuGroup group = Rig.Nodes[0].Group;
            group.AttachPasid(new(_number), BlockedDomain.Instance).ShouldBe(Errno.Success);
            group.DetachPasid(new(_number)).ShouldBe(Errno.Success);

            // The device let go of all of it: with the same number it can begin again.
            Disallow(0, _number).ShouldBeOneOf(0, -(int)Errno.NoEntry);
            Allocate(Rig.Set.Id.Value, _number).ShouldBe((0, _number));
            Bind(_number).ShouldBe(0);
            Allow(0, _number).ShouldBe(0);
            Rig.Reaches(0, new(_number)).ShouldBeTrue();
            base.CheckAtEnd();
        }
    }

    private sealed class FreeAgainstDisallow : IoasidScenario
    {
        private readonly uint _number;

        public FreeAgainstDisallow()
        {
            (_, _number) = Allocate(Rig.Set.Id.Value);
            Bind(_number).ShouldBe(0);
            Allow(0, _number).ShouldBe(0);
            AddThread("disallow", () => Disallow(0, _number).ShouldBe(0));
            AddThread("free", () => Free(_number).ShouldBe(0));
        }

        public override void CheckAtEnd()
        {
            Rig.Reaches(0, new(_number)).ShouldBeFalse();

            // Both let go: the number is free at once.
            Allocate(Rig.Set.Id.Value, _number).ShouldBe((0, _number));
            base.CheckAtEnd();
        }
    }

    private sealed class ReuseAgainstEnd : IoasidScenario
    {
        // Held, or the garbage collector destroys it.
        private readonly Ioasis.Client.PasidSet _other;
        private readonly uint _number;
        private int _second;

        public ReuseAgainstEnd()
        {
            _other = Rig.Pasids.CreateSet(4);
            (_, _number) = Allocate(Rig.Set.Id.Value);
            Bind(_number).ShouldBe(0);
            AddThread("end", () => End(Rig.Set.Id.Value, keep: false).ShouldBe(0));
            AddThread("reuse", () =>
            {
                // The number belongs to the first set, or to nobody.
                _second = Allocate(_other.Id.Value, _number).Result;
                _second.ShouldBeOneOf(0, -(int)Errno.Exists);
                if (_second == 0)
                {
                    Bind(_number).ShouldBe(0);
                }
            });
        }

        public override void CheckAtEnd()
        {
            IsThere(_number).ShouldBe(_second == 0);
            if (_second == 0)
            {
                Allow(0, _number).ShouldBe(0);
                Rig.Reaches(0, new(_number)).ShouldBeTrue();
            }

            _other.Dispose();
            base.CheckAtEnd();
        }
    }

    private sealed class ReuseAgainstUse : IoasidScenario
    {
        private readonly uint _number;

        public ReuseAgainstUse()
        {
            (_, _number) = Allocate(Rig.Set.Id.Value);
            AddThread("free and reuse", () =>
            {
                Free(_number).ShouldBe(0);
                Allocate(Rig.Set.Id.Value, _number).Result.ShouldBeOneOf(0, -(int)Errno.Exists);
            });
            AddThread("bind", () => Bind(_number).ShouldBeOneOf(0, -(int)Errno.NoEntry));
            AddThread("allow", () => Allow(0, _number).ShouldBeOneOf(0, -(int)Errno.NoEntry));
        }
    }

    private sealed class CloseAgainstUse : IoasidScenario
    {
        public CloseAgainstUse()
        {
            (_, uint number) = Allocate(Rig.Set.Id.Value);
            AddThread("close", () => Rig.Rig.Kernel.Close(Rig.Fd).ShouldBe(0));
            AddThread("bind", () => Bind(number).ShouldBeOneOf(0, -(int)Errno.BadDescriptor, -(int)Errno.NoEntry));
            AddThread("allow", () => Allow(0, number).ShouldBeOneOf(0, -(int)Errno.BadDescriptor, -(int)Errno.NoEntry));
            Number = number;
        }

        private uint Number { get; }

        public override void CheckAtEnd()
        {
            Rig.Reaches(0, new(Number)).ShouldBeFalse();
            base.CheckAtEnd();
        }
    }
}
