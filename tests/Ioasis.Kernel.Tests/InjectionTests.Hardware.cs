using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Every step of the calls on tables, queues and virtual IOMMUs fails once (invariant 3).</summary>
public sealed class HardwareInjectionTests
{
    private sealed record State(HardwareRig Rig, uint Parent, uint Part, uint Queue, int QueueFd, uint Table);

    private static State Prepare()
    {
        HardwareRig rig = new();
        rig.Rig.MapFixed(rig.Fd, rig.Space, FakeUserMemory.Start, 0x3000, 0x10_0000).ShouldBe(0);
        uint parent = rig.AllocateTable(HwptAllocFlags.NestParent);
        (uint queue, int fd) = rig.AllocateFaultQueue();
        uint table = rig.AllocateTable(HwptAllocFlags.DirtyTracking | HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid, queue);
        return new(rig, parent, rig.AllocateVirtualIommu(parent), queue, fd, table);
    }

    private static void Holds(int leastSteps, Func<State, int> call)
    {
        KernelAudit before = default;
        int steps = FailAtEveryStep.Run(
            () =>
            {
                State state = Prepare();
                before = state.Rig.KernelSide.Audit;
                return state;
            },
            state => call(state) is var result && result < 0 ? (Errno)(-result) : Errno.Success,
            (state, error, step) =>
            {
                error.ShouldBe(step == 0 ? Errno.Success : Errno.OutOfMemory, $"step {step}");
                if (step != 0)
                {
                    state.Rig.KernelSide.Audit.ShouldBe(before, $"step {step}");
                    state.Rig.Rig.Memory.Violations.ShouldBeEmpty();

                    // The same call succeeds afterwards, and everything goes at the end.
                    call(state).ShouldBeGreaterThanOrEqualTo(0, $"after step {step}");
                }

                state.Rig.Dispose();
            });
        steps.ShouldBeGreaterThanOrEqualTo(leastSteps);
    }

    [Fact]
    public void Tables_of_every_kind()
    {
        Holds(3, static state => state.Rig.TryAllocateTable(
            HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid, state.Rig.Space, state.Queue, out _));
        Holds(2, static state => state.Rig.TryAllocateTable(
            HwptAllocFlags.FaultIdValid, state.Parent, state.Queue, out _, RiscVUapi.HwptDataType, 32));
        Holds(2, static state => state.Rig.TryAllocateTable(
            HwptAllocFlags.None, state.Part, 0, out _, RiscVUapi.HwptDataType, 32));
    }

    [Fact]
    public void Queues_virtual_IOMMUs_and_virtual_devices()
    {
        Holds(2, static state =>
        {
            IommuFaultAlloc argument = default;
            return state.Rig.Call(ref argument);
        });
        Holds(2, static state =>
        {
            IommuViommuAlloc argument = new() { Type = RiscVUapi.ViommuType, DeviceId = state.Rig.DeviceNumber, HwptId = state.Parent };
            return state.Rig.Call(ref argument);
        });
        Holds(1, static state => state.Rig.TryAllocateVirtualDevice(state.Part, state.Rig.DeviceNumber, 3, out _));
        Holds(2, static state =>
        {
            IommuVeventqAlloc argument = new() { ViommuId = state.Part, Type = RiscVUapi.VeventqType, Depth = 3 };
            return state.Rig.Call(ref argument);
        });
    }

    [Fact]
    public void Attaches_with_and_without_PASID()
    {
        Holds(1, static state => state.Rig.TryAttach(state.Rig.DeviceFd, state.Table));
        Holds(1, static state => state.Rig.TryAttachPasid(state.Rig.DeviceFd, 5, state.Table));
        Holds(1, static state => state.Rig.TryAttach(state.Rig.DeviceFd, state.Parent));
    }

    [Fact]
    public void Dirty_tracking_files_and_a_change_of_process()
    {
        Holds(1, static state =>
        {
            IommuHwptSetDirtyTracking argument = new() { HwptId = state.Table, Flags = HwptDirtyTrackingFlags.Enable };
            return state.Rig.Call(ref argument);
        });
        Holds(2, static state =>
        {
            int file = state.Rig.Kernel.CreateMemory("test", 0x2000);
            if (file < 0)
            {
                return file;
            }

            state.Rig.Kernel.Close(file).ShouldBe(0);
            return 0;
        });
        Holds(4, static state =>
        {
            int file;
            Undisturbed.Without(() => state.Rig.Kernel.CreateMemory("test", 0x2000), out file);
            IommuIoasMapFile argument = new()
            {
                Flags = IoasMapFlags.Readable | IoasMapFlags.FixedIova, IoasId = state.Rig.Space, Fd = file, Length = 0x2000,
                Iova = 0x20_0000,
            };
            int result = state.Rig.Call(ref argument);
            state.Rig.Kernel.Close(file).ShouldBe(0);
            return result;
        });
        Holds(1, static state =>
        {
            state.Rig.Rig.Unmap(state.Rig.Fd, state.Rig.Space, 0, ulong.MaxValue, out _).ShouldBe(0);
            Undisturbed.Without(() => Remap(state), out _);
            IommuIoasChangeProcess argument = default;
            int result = state.Rig.Call(ref argument);
            if (result < 0)
            {
                // As it was before the call.
                Undisturbed.Without(() => Restore(state), out _);
            }

            return result;
        });
    }

    [Fact]
    public void A_read_of_a_fault_queue_that_fails_loses_nothing()
    {
        Holds(1, static state =>
        {
            Undisturbed.Without(() => Ask(state), out _);
            int result = (int)state.Rig.Kernel.Read(state.QueueFd, new byte[40]);
            return result == 0 ? -(int)Errno.IoError : result;
        });
    }

    private static int Ask(State state)
    {
        if (state.Rig.Iommu.DomainOf(state.Rig.Device) is BlockedDomain)
        {
            state.Rig.Attach(state.Table);
            state.Rig.Iommu.Ask(state.Rig.Device, Pasid.None, 1, new PageRequest(new(0x1000), Access.Read));
        }

        return 0;
    }

    private static int Remap(State state)
    {
        int file = state.Rig.Kernel.CreateMemory("test", 0x3000);
        IommuIoasMapFile argument = new()
        {
            Flags = IoasMapFlags.Readable | IoasMapFlags.FixedIova, IoasId = state.Rig.Space, Fd = file, Length = 0x3000, Iova = 0x10_0000,
        };
        state.Rig.Call(ref argument).ShouldBe(0);
        return state.Rig.Kernel.Close(file);
    }

    private static int Restore(State state)
    {
        state.Rig.Rig.Unmap(state.Rig.Fd, state.Rig.Space, 0, ulong.MaxValue, out _).ShouldBe(0);
        return state.Rig.Rig.MapFixed(state.Rig.Fd, state.Rig.Space, FakeUserMemory.Start, 0x3000, 0x10_0000);
    }

    // What a test does to prepare the moment of the call must not fail.
    private static class Undisturbed
    {
        public static void Without(Func<int> prepare, out int result)
        {
            Platform.IInjector? before = Platform.Injection.Current;
            Platform.Injection.Current = null;
            result = prepare();
            Platform.Injection.Current = before;
        }
    }
}
