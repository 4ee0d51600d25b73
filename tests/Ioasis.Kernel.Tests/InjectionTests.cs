using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Every step of every call fails once: the call then reports it and leaves nothing (invariant 3).</summary>
public sealed class InjectionTests
{
    private static ulong Page(int index) => FakeUserMemory.Start + ((ulong)index * 4096);

    // Runs a call with each of its steps failing in turn, each time on a rig of its own, until it has no further step.
    private static int ForEachStep<T>(Func<T> prepare, Func<T, int> call, Action<T> verifyUnchanged, Action<T> cleanUp)
    {
        Injection.IsSupported.ShouldBeTrue();
        for (int step = 1; ; step++)
        {
            T state = prepare();
            FailAtStep injector = new(step, Errno.OutOfMemory);
            Injection.Current = injector;
            int result;
            try
            {
                result = call(state);
            }
            finally
            {
                Injection.Current = null;
            }

            if (injector.Passed < step)
            {
                result.ShouldBeGreaterThanOrEqualTo(0);
                cleanUp(state);
                return step - 1;
            }

            result.ShouldBe(-(int)Errno.OutOfMemory, $"step {step}");
            verifyUnchanged(state);

            // And the same call succeeds afterwards.
            call(state).ShouldBeGreaterThanOrEqualTo(0, $"after step {step}");
            cleanUp(state);
        }
    }

    private static FakeIommu TwoFormats() => new() { FormatOf = static device => (int)device.Id.Value & 1 };

    private sealed record Prepared(Rig Rig, int Iommu, uint Ioas, int[] Devices, uint[] Ids);

    private static Prepared Prepare(bool attach, bool map)
    {
        Rig rig = new(new() { RunPages = 3 }, TwoFormats());
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        int[] devices = [.. Enumerable.Range(0, 2).Select(_ => rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite))];
        uint[] ids = [.. devices.Select(device => VfioTests.Bind(rig, device, iommu).Id)];
        if (map)
        {
            rig.MapFixed(iommu, ioas, Page(0), 5 * 4096, 0x10000).ShouldBe(0);
            rig.MapFixed(iommu, ioas, Page(1), 4 * 4096, 0x40000).ShouldBe(0);
        }

        if (attach)
        {
            foreach (int device in devices)
            {
                VfioTests.Attach(rig, device, ioas).Result.ShouldBe(0);
            }
        }

        return new(rig, iommu, ioas, devices, ids);
    }

    private static void CleanUp(Prepared state)
    {
        state.Rig.Kernel.CloseAll();
        state.Rig.ShouldBeClean();
    }

    [Fact]
    public void A_map_that_fails_at_any_step_leaves_nothing()
    {
        int steps = ForEachStep(
            static () => Prepare(attach: true, map: false),
            static state => state.Rig.MapFixed(state.Iommu, state.Ioas, Page(0), 7 * 4096, 0x10000),
            static state =>
            {
                state.Rig.Memory.PinnedPages.ShouldBe(0);
                state.Rig.Memory.Violations.ShouldBeEmpty();
                state.Rig.KernelSide.Audit.Areas.ShouldBe(0);
                state.Rig.KernelSide.Audit.Memories.ShouldBe(0);
                state.Rig.KernelSide.Audit.PinnedBytes.ShouldBe(0);
                state.Rig.Iommu.Domains.ShouldAllBe(static domain => domain.MappedPages == 0);
            },
            CleanUp);

        // One for the area, three pins, three pieces in each of two domains.
        steps.ShouldBe(10);
    }

    [Fact]
    public void A_copy_that_fails_at_any_step_leaves_the_source_and_nothing_else()
    {
        int steps = ForEachStep(
            static () =>
            {
                Prepared state = Prepare(attach: true, map: false);
                state.Rig.MapFixed(state.Iommu, state.Ioas, Page(0), 5 * 4096, 0x10000).ShouldBe(0);
                state.Rig.MapFixed(state.Iommu, state.Ioas, Page(9), 2 * 4096, 0x15000).ShouldBe(0);
                return state;
            },
            static state =>
            {
                IommuIoasCopy argument = new()
                {
                    Flags = IoasMapFlags.Readable | IoasMapFlags.FixedIova,
                    SourceIoasId = state.Ioas,
                    DestinationIoasId = state.Ioas,
                    SourceIova = 0x11000,
                    DestinationIova = 0x80000,
                    Length = 0x6000,
                };
                return state.Rig.Call(state.Iommu, ref argument);
            },
            static state =>
            {
                state.Rig.KernelSide.Audit.Areas.ShouldBe(2);
                state.Rig.KernelSide.Audit.Memories.ShouldBe(2);
                state.Rig.Iommu.Domains.ShouldAllBe(static domain => domain.MappedPages == 7);
                state.Rig.Memory.Violations.ShouldBeEmpty();
            },
            CleanUp);
        steps.ShouldBeGreaterThanOrEqualTo(6);
    }

    [Fact]
    public void An_attach_that_fails_at_any_step_leaves_the_device_blocked_and_nothing_pinned()
    {
        int steps = ForEachStep(
            static () => Prepare(attach: false, map: true),
            static state => VfioTests.Attach(state.Rig, state.Devices[0], state.Ioas).Result,
            static state =>
            {
                state.Rig.Memory.PinnedPages.ShouldBe(0);
                state.Rig.Memory.Violations.ShouldBeEmpty();
                state.Rig.Iommu.Domains.ShouldBeEmpty();
                state.Rig.KernelSide.Audit.PinnedBytes.ShouldBe(0);
            },
            CleanUp);
        steps.ShouldBeGreaterThanOrEqualTo(8);
    }

    [Fact]
    public void A_replace_that_fails_at_any_step_leaves_the_first_attachment()
    {
        ForEachStep(
            static () =>
            {
                Prepared state = Prepare(attach: true, map: true);
                uint other = state.Rig.AllocateSpace(state.Iommu);
                state.Rig.MapFixed(state.Iommu, other, Page(20), 4 * 4096, 0x10000).ShouldBe(0);
                return state with { Ids = [other] };
            },
            static state => VfioTests.Attach(state.Rig, state.Devices[0], state.Ids[0]).Result,
            static state =>
            {
                state.Rig.Iommu.Domains.Count.ShouldBe(2);
                state.Rig.Iommu.Domains.ShouldAllBe(static domain => domain.MappedPages == 9);
                state.Rig.Memory.PinsOf(Page(20)).ShouldBe(0);
                state.Rig.Memory.Violations.ShouldBeEmpty();
            },
            CleanUp).ShouldBeGreaterThanOrEqualTo(5);
    }

    [Fact]
    public void A_table_allocation_that_fails_at_any_step_leaves_nothing()
    {
        ForEachStep(
            static () => Prepare(attach: false, map: true),
            static state =>
            {
                IommuHwptAlloc argument = new() { DeviceId = state.Ids[0], PageTableId = state.Ioas };
                return state.Rig.Call(state.Iommu, ref argument);
            },
            static state =>
            {
                state.Rig.Memory.PinnedPages.ShouldBe(0);
                state.Rig.Iommu.Domains.ShouldBeEmpty();
                IommuDestroy destroy = new() { Id = state.Ioas + 3 };
                state.Rig.Call(state.Iommu, ref destroy).ShouldBe(-(int)Errno.NoEntry);
            },
            CleanUp).ShouldBeGreaterThanOrEqualTo(7);
    }

    [Fact]
    public void An_open_a_bind_and_an_allocation_that_fail_leave_nothing()
    {
        ForEachStep(
            static () => Prepare(attach: false, map: false),
            static state =>
            {
                int fd = state.Rig.OpenIommu();
                if (fd < 0)
                {
                    return fd;
                }

                IommuIoasAlloc argument = default;
                int result = state.Rig.Call(fd, ref argument);
                state.Rig.Kernel.Close(fd).ShouldBe(0);
                return result;
            },
            static state =>
            {
                state.Rig.KernelSide.Audit.Descriptors.ShouldBe(3);
                state.Rig.KernelSide.Audit.AddressSpaces.ShouldBe(1);
            },
            CleanUp).ShouldBe(2);

        ForEachStep(
            static () =>
            {
                Rig rig = new();
                int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
                return new Prepared(rig, rig.OpenIommu(), 0, [device], []);
            },
            static state => VfioTests.Bind(state.Rig, state.Devices[0], state.Iommu).Result,
            static _ => { },
            CleanUp).ShouldBe(1);
    }
}
