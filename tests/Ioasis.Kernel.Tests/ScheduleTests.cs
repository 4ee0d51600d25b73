using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Explored schedules run alone, so that no other test's threads take their time.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class ScheduleCollection
{
    public const string Name = "schedules";
}

/// <summary>Every order of the calls that meet in the kernel, as far as the budget goes.</summary>
[Collection(ScheduleCollection.Name)]
public sealed class ScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 2,
        MaxSchedules = ExplorerOptions.All ? 200_000 : 1500,
        RandomSchedules = ExplorerOptions.All ? 10_000 : 100,
    };

    private static void Holds(Func<Scenario> create)
    {
        ExplorationResult result = ScheduleExplorer.Explore(create, Options).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }

    [Fact]
    public void Destroy_of_an_address_space_against_a_map_in_it() => Holds(static () => new DestroyAgainstMap());

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Close_of_a_device_against_its_attach() => Holds(static () => new CloseAgainstAttach());

    [Fact]
    public void Attach_to_an_address_space_against_destroy_of_the_table_that_it_makes() =>
        Holds(static () => new DestroyAgainstAutomaticTable());

    [Fact]
    public void Dirty_read_against_unmap() => Holds(static () => new DirtyReadAgainstUnmap());

    [Fact]
    public void Destroy_of_a_virtual_device_against_the_close_of_the_device() => Holds(static () => new DestroyAgainstUnbind());

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Detach_against_the_answer_to_a_page_request() => Holds(static () => new DetachAgainstAnswer());

    private abstract class KernelScenario : Scenario
    {
        protected HardwareRig Rig { get; } = new();

        public override void CheckAlways() => Rig.Rig.Memory.Violations.ShouldBeEmpty();

        public override void CheckAtEnd() => Rig.Dispose();
    }

    private sealed class DestroyAgainstMap : KernelScenario
    {
        private int _destroyed;
        private int _mapped;

        public DestroyAgainstMap()
        {
            AddThread("map", () => _mapped = Rig.Rig.MapFixed(Rig.Fd, Rig.Space, FakeUserMemory.Start, 0x1000, 0x1000));
            AddThread("destroy", () => _destroyed = Rig.Destroy(Rig.Space));
        }

        public override void CheckAtEnd()
        {
            // Either the map was in the middle, and the destroy found the space busy, or one came before the other.
            _destroyed.ShouldBeOneOf(0, -(int)Errno.Busy);
            _mapped.ShouldBeOneOf(0, -(int)Errno.NoEntry);
            (_destroyed == 0 || _mapped == 0).ShouldBeTrue();
            base.CheckAtEnd();
        }
    }

    private sealed class CloseAgainstAttach : KernelScenario
    {
        public CloseAgainstAttach()
        {
            uint table = Rig.AllocateTable();
            Rig.Rig.MapFixed(Rig.Fd, Rig.Space, FakeUserMemory.Start, 0x1000, 0x1000).ShouldBe(0);
            AddThread("attach", () => Rig.TryAttach(Rig.DeviceFd, table).ShouldBeOneOf(0, -(int)Errno.BadDescriptor));
            AddThread("close", () => Rig.Kernel.Close(Rig.DeviceFd).ShouldBe(0));
        }

        public override void CheckAtEnd()
        {
            Rig.Iommu.DomainOf(Rig.Device).ShouldBe(BlockedDomain.Instance);
            base.CheckAtEnd();
        }
    }

    private sealed class DestroyAgainstAutomaticTable : KernelScenario
    {
        private int _destroyed;

        public DestroyAgainstAutomaticTable()
        {
            // Numbers are the lowest free: who guesses finds the table as soon as it has its own.
            uint guessed = Rig.AllocateTable();
            Rig.Destroy(guessed).ShouldBe(0);
            AddThread("attach", () => Rig.TryAttach(Rig.DeviceFd, Rig.Space).ShouldBe(0));
            AddThread("destroy", () => _destroyed = Rig.Destroy(guessed));
        }

        public override void CheckAtEnd()
        {
            _destroyed.ShouldBeOneOf(-(int)Errno.NoEntry, -(int)Errno.Busy);
            Rig.Iommu.DomainOf(Rig.Device).ShouldBe(Rig.Iommu.Domains.ShouldHaveSingleItem());
            base.CheckAtEnd();
        }
    }

    private sealed class DirtyReadAgainstUnmap : KernelScenario
    {
        public DirtyReadAgainstUnmap()
        {
            uint table = Rig.AllocateTable(HwptAllocFlags.DirtyTracking);
            Rig.Attach(table);
            Rig.Rig.MapFixed(Rig.Fd, Rig.Space, FakeUserMemory.Start, 0x2000, 0x1000).ShouldBe(0);
            IommuHwptSetDirtyTracking track = new() { HwptId = table, Flags = HwptDirtyTrackingFlags.Enable };
            Rig.Call(ref track).ShouldBe(0);
            Rig.Iommu.Domains[0].Touch(0x2000);
            AddThread("read", () =>
            {
                IommuHwptGetDirtyBitmap argument = new()
                {
                    HwptId = table, Iova = 0x1000, Length = 0x2000, PageSize = 0x1000, Data = FakeUserMemory.ArgumentStart,
                };
                int result = Rig.Call(ref argument);

                // What was dirty is told, or the range was not mapped any more: never a success without it.
                (result, Rig.Arguments[0]).ShouldBeOneOf((0, (byte)2), (-(int)Errno.InvalidArgument, (byte)0));
            });
            AddThread("unmap", () => Rig.Rig.Unmap(Rig.Fd, Rig.Space, 0x1000, 0x2000, out _).ShouldBe(0));
        }
    }

    private sealed class DestroyAgainstUnbind : KernelScenario
    {
        public DestroyAgainstUnbind()
        {
            uint part = Rig.AllocateVirtualIommu(Rig.AllocateTable(HwptAllocFlags.NestParent));
            Rig.TryAllocateVirtualDevice(part, Rig.DeviceNumber, 5, out uint known).ShouldBe(0);
            AddThread("destroy", () => Rig.Destroy(known).ShouldBeOneOf(0, -(int)Errno.NoEntry, -(int)Errno.Busy));
            AddThread("close", () => Rig.Kernel.Close(Rig.DeviceFd).ShouldBe(0));
            AddThread("name", () => Rig.TryAllocateVirtualDevice(part, Rig.DeviceNumber, 6, out _)
                .ShouldBeOneOf(0, -(int)Errno.NoEntry, -(int)Errno.Exists));
        }

        public override void CheckAtEnd()
        {
            Rig.Iommu.VirtualIommus[0].Names.ShouldBeEmpty();
            base.CheckAtEnd();
        }
    }

    private sealed class DetachAgainstAnswer : KernelScenario
    {
        public DetachAgainstAnswer()
        {
            (uint queue, int fd) = Rig.AllocateFaultQueue();
            Rig.Attach(Rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
            Rig.Iommu.Ask(Rig.Device, Pasid.None, 1, new PageRequest(new(0x1000), Access.Read));
            AddThread("answer", () =>
            {
                nint read = Rig.Kernel.Read(fd, new byte[40]);
                read.ShouldBeOneOf(0, 40);
                if (read == 40)
                {
                    Rig.Kernel.Write(fd, [1, 0, 0, 0, 0, 0, 0, 0]).ShouldBeOneOf(8, -(int)Errno.InvalidArgument);
                }
            });
            AddThread("detach", Rig.Detach);
        }

        public override void CheckAtEnd()
        {
            // One answer, whoever gave it.
            Rig.Iommu.Responses.Count.ShouldBe(1);
            base.CheckAtEnd();
        }
    }
}
