using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>Calls on containers, groups and devices that meet, in every order that matters.</summary>
public sealed class ScheduleTests
{
    private const ulong Memory = FakeUserMemory.Start;

    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 2,
        MaxSchedules = ExplorerOptions.All ? 200_000 : 3000,
        RandomSchedules = ExplorerOptions.All ? 5000 : 100,
    };

    private static Type1 TwoFormats() => Type1.Prepare(new(iommu: new() { FormatOf = static device => (int)device.Id.Value }));

    /// <summary>A group with a reserved region joins while somebody maps there.</summary>
    private sealed class JoinAgainstMap : Scenario
    {
        private readonly Type1 _type1 = TwoFormats();
        private Errno _join;
        private Errno _map;

        public JoinAgainstMap()
        {
            int group = _type1.OpenGroup([new(new(0x8000, 0x8fff), ReservedRegionKind.Reserved)], out _);
            AddThread("join", () => _join = _type1.Join(group));
            AddThread("map", () => _map = _type1.Map(Memory, 0x7000, 0x2000));
        }

        public override void CheckAtEnd()
        {
            // Exactly one of them comes first, and the other is refused.
            (_join, _map).ShouldBeOneOf((Errno.Success, Errno.InvalidArgument), (Errno.InvalidArgument, Errno.Success));
            _type1.Rig.Iommu.Domains.Count.ShouldBe(_join == Errno.Success ? 2 : 1);
            _type1.Rig.Iommu.Domains.ShouldAllBe(domain => domain.MappedPages == (_map == Errno.Success ? 2 : 0));
            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }
    }

    /// <summary>A group joins, with a domain of its own, while mappings come and go.</summary>
    private sealed class JoinAgainstUnmap : Scenario
    {
        private readonly Type1 _type1 = TwoFormats();
        private Errno _join;
        private Errno _unmap;

        public JoinAgainstUnmap()
        {
            int group = _type1.OpenGroup([], out _);
            _type1.Map(Memory, 0x4000, 0x2000).ShouldBe(Errno.Success);
            _type1.Map(Memory, 0x8000, 0x1000).ShouldBe(Errno.Success);
            AddThread("join", () => _join = _type1.Join(group));
            AddThread("unmap", () => _unmap = _type1.Unmap(0x4000, 0x2000, out _));
        }

        public override void CheckAtEnd()
        {
            (_join, _unmap).ShouldBe((Errno.Success, Errno.Success));
            _type1.Rig.Iommu.Domains.Count.ShouldBe(2);
            _type1.Rig.Iommu.Domains.ShouldAllBe(static domain => domain.MappedPages == 1);
            _type1.Rig.Memory.PinnedPages.ShouldBe(1);
            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }
    }

    /// <summary>A group leaves, perhaps the last one, while somebody unmaps.</summary>
    private sealed class LeaveAgainstUnmap : Scenario
    {
        private readonly Type1 _type1 = TwoFormats();
        private readonly bool _isLast;
        private Errno _leave;
        private Errno _unmap;
        private ulong _bytes;

        public LeaveAgainstUnmap(bool isLast)
        {
            _isLast = isLast;
            int second = _type1.OpenGroup([], out _);
            _type1.Join(second).ShouldBe(Errno.Success);
            if (isLast)
            {
                // The first group is the lowest descriptor after the container.
                _type1.Leave(_type1.Container + 1).ShouldBe(Errno.Success);
            }

            _type1.Map(Memory, 0x4000, 0x2000).ShouldBe(Errno.Success);
            AddThread("leave", () => _leave = _type1.Leave(second));
            AddThread("unmap", () => _unmap = _type1.Unmap(0x4000, 0x2000, out _bytes));
        }

        public override void CheckAtEnd()
        {
            _leave.ShouldBe(Errno.Success);
            if (_isLast)
            {
                _unmap.ShouldBeOneOf(Errno.Success, Errno.InvalidArgument);
            }
            else
            {
                (_unmap, _bytes).ShouldBe((Errno.Success, 0x2000ul));
            }

            _type1.Rig.Iommu.Domains.Count.ShouldBe(_isLast ? 0 : 1);
            _type1.Rig.Memory.PinnedPages.ShouldBe(0);
            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }
    }

    /// <summary>The container's kind is set while a group joins.</summary>
    private sealed class SetIommuAgainstJoin : Scenario
    {
        private readonly Type1 _type1 = new(new());
        private readonly IommuDevice _device;
        private Errno _set;
        private Errno _join;

        public SetIommuAgainstJoin()
        {
            int first = _type1.OpenGroup([], out _);
            _type1.Join(first).ShouldBe(Errno.Success);
            int second = _type1.OpenGroup([], out _device);
            AddThread("set", () => _set = _type1.SetIommu());
            AddThread("join", () => _join = _type1.Join(second));
        }

        public override void CheckAtEnd()
        {
            (_set, _join).ShouldBe((Errno.Success, Errno.Success));
            _type1.Rig.Iommu.DomainOf(_device).Kind.ShouldBe(DomainKind.Paging);
            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }
    }

    /// <summary>A device is opened through its group while the platform takes it away.</summary>
    private sealed class OpenAgainstRemove : Scenario
    {
        private readonly Type1 _type1 = Type1.Prepare();
        private readonly TestPciDevice _pci = new();
        private int _descriptor;
        private Errno _remove;

        public OpenAgainstRemove()
        {
            _type1.Rig.Subsystem.TryAddDevice(_type1.Rig.Iommu, new(77), "pci", null, default, out IommuDevice? device)
                .ShouldBe(Errno.Success);
            string path = _type1.Rig.KernelSide.AddDevice(device!, _pci.Backend);
            int group = _type1.OpenGroup(device!);
            _type1.Join(group).ShouldBe(Errno.Success);
            AddThread("open", () => _descriptor = _type1.OpenDevice(group, device!));
            AddThread("remove", () => _remove = _type1.Rig.KernelSide.RemoveDevice(path));
        }

        public override void CheckAtEnd()
        {
            (_descriptor > 0, _remove).ShouldBeOneOf((true, Errno.Busy), (false, Errno.Success));
            if (_descriptor < 0)
            {
                _descriptor.ShouldBe(-(int)Errno.NoDevice);
            }

            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }
    }

    /// <summary>The wire is asserted while it is unmasked: no interrupt is lost, and none comes twice.</summary>
    private sealed class LineAgainstUnmask : Scenario
    {
        private readonly CountedEvents _events = new();
        private readonly TestPciDevice _pci = new();

        public LineAgainstUnmask()
        {
            _pci.Backend.Open().ShouldBe(Errno.Success);
            _events.Connect(_pci, VfioPciInterrupt.Intx).ShouldBe(Errno.Success);
            _events.Act(_pci, VfioPciInterrupt.Intx, VfioIrqSetFlags.ActionMask).ShouldBe(Errno.Success);
            AddThread("assert", () => _pci.Line(true));
            AddThread("unmask", () => _events.Act(_pci, VfioPciInterrupt.Intx, VfioIrqSetFlags.ActionUnmask).ShouldBe(Errno.Success));
        }

        public override void CheckAtEnd()
        {
            _events.Signals.ShouldBe(1);
            _pci.Line(true);
            _events.Signals.ShouldBe(1);
            _events.Act(_pci, VfioPciInterrupt.Intx, VfioIrqSetFlags.ActionUnmask).ShouldBe(Errno.Success);
            _events.Signals.ShouldBe(2);
        }
    }

    /// <summary>A read waits, or is about to, while its process dies.</summary>
    private sealed class ReadAgainstDeath : Scenario
    {
        private readonly Rig _rig = new();
        private readonly bool _writes;
        private nint _read;

        public ReadAgainstDeath(bool writes)
        {
            _writes = writes;
            int counter = _rig.Kernel.CreateEvent(0, EventFlags.None);
            AddThread("read", () => _read = _rig.Kernel.Read(counter, new byte[8]));
            AddThread("die", () =>
            {
                if (writes)
                {
                    _rig.Kernel.Write(counter, new byte[] { 1, 0, 0, 0, 0, 0, 0, 0 }).ShouldBe(8);
                }
                else
                {
                    _rig.Kernel.CloseAll();
                }
            });
        }

        public override void CheckAtEnd()
        {
            if (_writes)
            {
                _read.ShouldBe(8);
                _rig.Kernel.CloseAll();
            }
            else
            {
                _read.ShouldBeOneOf(-(int)Errno.Interrupted, -(int)Errno.BadDescriptor);
            }

            _rig.ShouldBeClean();
        }
    }

    /// <summary>Counters of a device, without descriptors.</summary>
    private sealed class CountedEvents : Uapi.IVfioEventSource, Uapi.IVfioEvent
    {
        public int Signals { get; private set; }

        public Errno GetEventErrno(int descriptor, out Uapi.IVfioEvent? counter)
        {
            counter = this;
            return Errno.Success;
        }

        public void Signal() => Signals++;

        public void Listen(Action listener)
        {
        }

        public void Unlisten(Action listener)
        {
        }

        public Errno Connect(TestPciDevice device, VfioPciInterrupt index) =>
            Set(device, index, VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger, [1, 0, 0, 0]);

        public Errno Act(TestPciDevice device, VfioPciInterrupt index, VfioIrqSetFlags action) =>
            Set(device, index, VfioIrqSetFlags.DataNone | action, []);

        private Errno Set(TestPciDevice device, VfioPciInterrupt index, VfioIrqSetFlags flags, byte[] data) =>
            device.Backend.SetInterrupts(new() { Index = (uint)index, Flags = flags, Count = 1 }, data, this);
    }

    private static void Holds(Func<Scenario> create) =>
        TestContext.Current.TestOutputHelper?.WriteLine(ScheduleExplorer.Explore(create, Options).ShouldHold().ToString());

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void A_join_and_a_map_that_exclude_each_other_never_both_succeed() => Holds(static () => new JoinAgainstMap());

    [Fact]
    public void A_group_that_joins_during_an_unmap_sees_what_is_left() => Holds(static () => new JoinAgainstUnmap());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S3.4")]
    public void A_group_that_leaves_during_an_unmap_leaves_nothing_behind(bool isLast) =>
        Holds(() => new LeaveAgainstUnmap(isLast));

    [Fact]
    public void A_group_that_joins_while_the_kind_is_set_is_attached() => Holds(static () => new SetIommuAgainstJoin());

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_device_is_either_opened_or_taken_away() => Holds(static () => new OpenAgainstRemove());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.15")]
    public void A_wait_ends_with_a_write_and_with_its_process(bool writes) => Holds(() => new ReadAgainstDeath(writes));

    [Fact]
    public void An_interrupt_that_meets_its_unmask_arrives_once() => Holds(static () => new LineAgainstUnmask());
}
