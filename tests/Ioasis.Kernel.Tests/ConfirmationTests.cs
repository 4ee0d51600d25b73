using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// An IOMMU that does not confirm the n-th thing that it is told, for every n and every call, and tables whose memory fails at the
/// n-th unmap: nothing that a device may still reach is given back (invariant 1), what can be undone is undone (invariant 3), and
/// everything is there again when the IOMMU is.
/// </summary>
public sealed class ConfirmationTests
{
    private const ulong Iova = 0x10000;

    private static readonly AddressRange DirectRange = new(0x9000_0000, 0x9000_1fff);
    private static readonly ReservedRegion[] Direct = [new(DirectRange, ReservedRegionKind.Direct)];
    private static readonly ReservedRegion[] Reserved =
        [new(new(0xfee0_0000, 0xfeef_ffff), ReservedRegionKind.Msi), new(new(0xa000_0000, 0xa000_0fff), ReservedRegionKind.Direct)];

    private static readonly ReservedRegion[] Message = [new(new(0xfed0_0000, 0xfed0_0fff), ReservedRegionKind.Msi)];

    /// <summary>A call, and what it does when it fails.</summary>
    /// <param name="Run">The call.</param>
    /// <param name="IsWhole">Whether a call that failed leaves everything as it was, so that it can be made again.</param>
    internal sealed record Call(Func<State, int> Run, bool IsWhole = false);

    internal sealed record State(Rig Rig, int Iommu, uint Space, uint Other, int[] Devices, int Container, int Group, int SecondGroup);

    private static readonly Dictionary<string, Call> Calls = new(StringComparer.Ordinal)
    {
        ["IOMMU_IOAS_UNMAP"] = new(static s => s.Rig.Unmap(s.Iommu, s.Space, Iova, 0x8000, out _)),
        ["IOMMU_IOAS_UNMAP of everything"] = new(static s => s.Rig.Unmap(s.Iommu, s.Space, 0, ulong.MaxValue, out _)),
        ["VFIO_DEVICE_ATTACH of a first device"] = new(static s => VfioTests.Attach(s.Rig, s.Devices[3], s.Space).Result, IsWhole: true),
        ["VFIO_DEVICE_ATTACH of a group's first device"] = new(static s => VfioTests.Attach(s.Rig, s.Devices[5], s.Space).Result, IsWhole: true),
        ["VFIO_DEVICE_ATTACH that replaces"] = new(static s => VfioTests.Attach(s.Rig, s.Devices[0], s.Other).Result, IsWhole: true),
        ["VFIO_DEVICE_ATTACH that replaces a group"] = new(static s => VfioTests.Attach(s.Rig, s.Devices[1], s.Other).Result, IsWhole: true),
        ["VFIO_DEVICE_DETACH"] = new(static s => VfioTests.Detach(s.Rig, s.Devices[0]), IsWhole: true),
        ["VFIO_DEVICE_DETACH of a device with direct regions"] = new(static s => VfioTests.Detach(s.Rig, s.Devices[4])),
        ["close of a device"] = new(static s => Closed(s.Rig.Kernel.Close(s.Devices[0]))),
        ["VFIO_IOMMU_UNMAP_DMA"] = new(static s => ContainerTests.Unmap(s.Rig, s.Container, Iova, 0x8000).Result),
        ["VFIO_GROUP_SET_CONTAINER"] = new(static s => ContainerTests.SetContainer(s.Rig, s.SecondGroup, s.Container), IsWhole: true),
        ["VFIO_GROUP_UNSET_CONTAINER"] = new(static s => s.Rig.Kernel.Ioctl(s.Group, VfioRequests.GroupUnsetContainer, 0)),
        ["close of everything"] = new(static s =>
        {
            s.Rig.Kernel.CloseAll();
            return -(int)Errno.IoError;
        }),
    };

    public static TheoryData<string, bool> Names
    {
        get
        {
            TheoryData<string, bool> names = [];
            foreach (string name in Calls.Keys)
            {
                names.Add(name, false);
                names.Add(name, true);
            }

            return names;
        }
    }

    [Theory]
    [Trait("Requirement", "S4.8")]
    [MemberData(nameof(Names))]
    public void Nothing_is_given_back_before_the_IOMMU_confirms_it(string name, bool fromThereOn) =>
        ForEachStep(name, (iommu, step) => (iommu.RefusesAt, iommu.RefusesFromThereOn) = (step, fromThereOn), static iommu => iommu.Confirmations, isUndoable: !fromThereOn)
            .ShouldBeGreaterThan(0);

    /// <summary>The calls that fail as a whole.</summary>
    public static TheoryData<string> WholeNames => [.. Calls.Where(static call => call.Value.IsWhole).Select(static call => call.Key)];

    [Theory]
    [Trait("Requirement", "S3.4")]
    [MemberData(nameof(WholeNames))]
    public void What_fails_for_want_of_memory_leaves_every_table_as_it_was(string name)
    {
        for (int step = 1; ; step++)
        {
            State state = Prepare();
            string before = RigState.Of(state.Rig);
            FailAtStep injector = new(step, Errno.OutOfMemory);
            Injection.Current = injector;
            int result = Calls[name].Run(state);
            Injection.Current = null;
            if (injector.Passed < step)
            {
                result.ShouldBeGreaterThanOrEqualTo(0);
                state.Rig.Kernel.CloseAll();
                state.Rig.ShouldBeClean();
                return;
            }

            result.ShouldBe(-(int)Errno.OutOfMemory, $"{name}, step {step}");
            RigState.Of(state.Rig).ShouldBe(before, $"{name}, step {step}");
            Calls[name].Run(state).ShouldBeGreaterThanOrEqualTo(0, $"{name}, after step {step}");
            state.Rig.Kernel.CloseAll();
            state.Rig.ShouldBeClean();
        }
    }

    [Theory]
    [InlineData("IOMMU_IOAS_UNMAP")]
    [InlineData("IOMMU_IOAS_UNMAP of everything")]
    [InlineData("VFIO_DEVICE_DETACH of a device with direct regions")]
    [InlineData("VFIO_IOMMU_UNMAP_DMA")]
    [InlineData("close of everything")]
    public void What_could_not_be_taken_out_of_the_tables_stays_pinned(string name) =>
        ForEachStep(name, static (iommu, step) => iommu.FailsUnmapAt = step, static iommu => iommu.Unmaps, isUndoable: false).ShouldBeGreaterThan(0);

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void IOVAs_of_a_direct_region_stay_reserved_until_its_mapping_is_gone_for_sure()
    {
        foreach (bool unmapFails in new[] { false, true })
        {
            State s = Prepare();
            AddressRange[] with = s.Rig.Ranges(s.Iommu, s.Space, out _);
            if (unmapFails)
            {
                s.Rig.Iommu.FailsUnmapAt = s.Rig.Iommu.Unmaps + 1;
            }
            else
            {
                // The detach is confirmed; the invalidation of the region in the domain, which others use, is not.
                (s.Rig.Iommu.RefusesAt, s.Rig.Iommu.RefusesFromThereOn) = (s.Rig.Iommu.Confirmations + 2, true);
            }

            VfioTests.Detach(s.Rig, s.Devices[4]).ShouldBe(0);
            s.Rig.Ranges(s.Iommu, s.Space, out _).ShouldBe(with, "nobody may map where a device may still reach the firmware's memory");
            if (!unmapFails)
            {
                s.Rig.MapFixed(s.Iommu, s.Space, FakeUserMemory.Start, 4096, DirectRange.Start).ShouldBe(-(int)Errno.InvalidArgument);
            }

            s.Rig.Iommu.Recover();
            s.Rig.KernelSide.Poll();
            s.Rig.Ranges(s.Iommu, s.Space, out _).Any(static range => range.Contains(DirectRange)).ShouldBeTrue();
            s.Rig.MapFixed(s.Iommu, s.Space, FakeUserMemory.Start, 4096, DirectRange.Start).ShouldBe(0);
            s.Rig.Kernel.CloseAll();
            s.Rig.ShouldBeClean();
        }
    }

    [Fact]
    public void A_range_that_stays_in_the_tables_is_charged_and_counted_until_it_is_gone()
    {
        State s = Prepare();
        long before = s.Rig.KernelSide.Audit.PinnedBytes;
        s.Rig.Iommu.FailsUnmapAt = s.Rig.Iommu.Unmaps + 1;
        s.Rig.Unmap(s.Iommu, s.Space, Iova, 0x4000, out _).ShouldBe(-(int)Errno.IoError);
        s.Rig.KernelSide.Audit.PinnedBytes.ShouldBe(before);
        s.Rig.Memory.Violations.ShouldBeEmpty();
        IommuOption pending = new() { ObjectId = s.Space, OptionId = IommuOptionId.Flush, Operation = IommuOptionOperation.Get };
        s.Rig.Call(s.Iommu, ref pending).ShouldBe(0);
        pending.Value.ShouldBe(1ul);

        // The next call that wants the IOVAs gets them, for by then the table can be written.
        s.Rig.MapFixed(s.Iommu, s.Space, FakeUserMemory.Start + 0x40_0000, 0x1000, Iova).ShouldBe(0);
        s.Rig.Memory.PinsOf(FakeUserMemory.Start).ShouldBe(1, "the container's");
        s.Rig.Memory.Violations.ShouldBeEmpty();
        s.Rig.Kernel.CloseAll();
        s.Rig.ShouldBeClean();
    }

    [Fact]
    public void A_container_whose_detach_was_not_confirmed_starts_anew()
    {
        State s = Prepare();
        s.Rig.Iommu.FailsUnmapAt = 0;
        (s.Rig.Iommu.RefusesAt, s.Rig.Iommu.RefusesFromThereOn) = (s.Rig.Iommu.Confirmations + 1, false);
        s.Rig.Kernel.Ioctl(s.Group, VfioRequests.GroupUnsetContainer, 0).ShouldBe(-(int)Errno.IoError);
        ContainerTests.Map(s.Rig, s.Container, FakeUserMemory.Start, 0x50000, 0x1000).ShouldBe(0, "the group is where it was");
        s.Rig.Kernel.Ioctl(s.Group, VfioRequests.GroupUnsetContainer, 0).ShouldBe(0);

        // A group whose file goes cannot stay.
        ContainerTests.SetContainer(s.Rig, s.Group, s.Container).ShouldBe(0);
        ContainerTests.SetIommu(s.Rig, s.Container).ShouldBe(0);
        ContainerTests.Map(s.Rig, s.Container, FakeUserMemory.Start, 0x50000, 0x1000).ShouldBe(0);
        (s.Rig.Iommu.RefusesAt, s.Rig.Iommu.RefusesFromThereOn) = (s.Rig.Iommu.Confirmations + 1, true);
        s.Rig.Kernel.Close(s.Group).ShouldBe(0);
        s.Rig.Memory.Violations.ShouldBeEmpty();
        s.Rig.Iommu.Recover();
        s.Rig.KernelSide.Poll();

        ContainerTests.SetContainer(s.Rig, s.SecondGroup, s.Container).ShouldBe(0);
        ContainerTests.SetIommu(s.Rig, s.Container).ShouldBe(0);
        ContainerTests.Map(s.Rig, s.Container, FakeUserMemory.Start, 0x50000, 0x1000).ShouldBe(0);
        ContainerTests.Unmap(s.Rig, s.Container, 0x50000, 0x1000).ShouldBe((0, 0x1000ul));
        s.Rig.Kernel.CloseAll();
        RigState.ShouldHoldNoMemory(s.Rig);
    }

    private static int Closed(int result)
    {
        // A close answers that it closed, whatever the IOMMU says.
        result.ShouldBe(0);
        return -(int)Errno.IoError;
    }

    private static int ForEachStep(string name, Action<FakeIommu, int> arm, Func<FakeIommu, int> count, bool isUndoable)
    {
        Call call = Calls[name];
        for (int step = 1; ; step++)
        {
            State state = Prepare();
            Rig rig = state.Rig;
            string before = RigState.Of(rig);
            (rig.Iommu.Confirmations, rig.Iommu.Unmaps) = (0, 0);
            arm(rig.Iommu, step);
            int result = call.Run(state);
            bool isHit = count(rig.Iommu) >= step;
            string at = $"{name}, step {step}";
            rig.Memory.Violations.ShouldBeEmpty(at);
            if (!isHit)
            {
                rig.Iommu.Recover();
                rig.Kernel.CloseAll();
                rig.ShouldBeClean();
                return step - 1;
            }

            // What is not whole may succeed although something of it waits: a detach gives the direct regions back when it can.
            if (call.IsWhole)
            {
                result.ShouldBe(-(int)Errno.IoError, at);
            }

            if (call.IsWhole && isUndoable)
            {
                RigState.Of(rig).ShouldBe(before, at);
            }

            rig.Iommu.Recover();
            if (call.IsWhole && isUndoable)
            {
                call.Run(state).ShouldBeGreaterThanOrEqualTo(0, at);
            }

            rig.KernelSide.Poll();
            rig.Kernel.CloseAll();
            rig.KernelSide.Poll();
            RigState.ShouldHoldNoMemory(rig);
            if (call.IsWhole && isUndoable)
            {
                rig.ShouldBeClean();
            }
        }
    }

    // Two address spaces with mappings; the first serves a device alone, a group of two, and one with direct regions; a device of the
    // same kind and a group of two wait; a container has a group, and another group with direct regions waits.
    private static State Prepare()
    {
        Rig rig = new(new() { RunPages = 3 });
        int iommu = rig.OpenIommu();
        uint space = rig.AllocateSpace(iommu);
        uint other = rig.AllocateSpace(iommu);
        ReservedRegion[][] regions = [Reserved, Message, Reserved, Message, Direct, Direct, Reserved];
        int[] groups = [0, 1, 1, 2, 3, 4, 4];
        int[] devices = [.. Enumerable.Range(0, 7).Select(i => rig.Kernel.Open(rig.AddDevice(groups[i], regions[i]).Path, OpenFlags.ReadWrite))];
        foreach (int device in devices)
        {
            VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
        }

        rig.MapFixed(iommu, space, FakeUserMemory.Start, 0x4000, Iova).ShouldBe(0);
        rig.MapFixed(iommu, space, FakeUserMemory.Start + 0x8000, 0x4000, Iova + 0x4000).ShouldBe(0);
        rig.MapFixed(iommu, space, FakeUserMemory.Start + 0x1_0000, 0x2000, 0x100000).ShouldBe(0);
        rig.MapFixed(iommu, other, FakeUserMemory.Start + 0x2_0000, 0x2000, Iova).ShouldBe(0);
        foreach (int i in new[] { 0, 1, 2, 4 })
        {
            VfioTests.Attach(rig, devices[i], space).Result.ShouldBe(0);
        }

        (IommuDevice first, _) = rig.AddDevice(10);
        (IommuDevice second, _) = rig.AddDevice(11, Direct);
        rig.AddDevice(11, Reserved);
        int container = rig.Kernel.Open("/dev/vfio/vfio", OpenFlags.ReadWrite);
        int group = rig.Kernel.Open($"/dev/vfio/{first.Group.Id}", OpenFlags.ReadWrite);
        int secondGroup = rig.Kernel.Open($"/dev/vfio/{second.Group.Id}", OpenFlags.ReadWrite);
        ContainerTests.SetContainer(rig, group, container).ShouldBe(0);
        ContainerTests.SetIommu(rig, container).ShouldBe(0);
        ContainerTests.Map(rig, container, FakeUserMemory.Start, Iova, 0x4000).ShouldBe(0);
        ContainerTests.Map(rig, container, FakeUserMemory.Start + 0x8000, Iova + 0x4000, 0x4000).ShouldBe(0);
        return new(rig, iommu, space, other, devices, container, group, secondGroup);
    }
}
