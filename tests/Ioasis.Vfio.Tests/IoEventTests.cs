using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>
/// VFIO_DEVICE_IOEVENTFD where Linux in the lab cannot show it, because <c>edu</c> has neither MSI-X nor I/O space; the rest is
/// in the suite that runs on both kernels (<c>device-ioeventfd-…</c>).
/// </summary>
public sealed class IoEventTests
{
    private static Errno Set(
        PciRig rig, int region, ulong offset, VfioIoEventFlags width, ulong data, int counter)
    {
        VfioDeviceIoEventFd argument = new()
        {
            Argsz = 32,
            Flags = width,
            Offset = ((ulong)region << 40) + offset,
            Data = data,
            Descriptor = counter,
        };
        return (Errno)(-rig.Kernel.Ioctl(
            rig.Device.Descriptor.Number,
            VfioRequests.DeviceIoEventFd,
            MemoryMarshal.AsBytes(new Span<VfioDeviceIoEventFd>(ref argument))));
    }

    [Fact]
    public void The_table_of_MSI_X_cannot_be_written_and_what_touches_it_from_outside_can()
    {
        // The table is 8 vectors of 16 bytes from 0x1000 on, in memory.
        using PciRig rig = new(new TestPciDevice());
        int counter = rig.NewEvent();
        Set(rig, 2, 0xffc, VfioIoEventFlags.Width32, 1, counter).ShouldBe(Errno.Success);
        Set(rig, 2, 0xffe, VfioIoEventFlags.Width32, 1, counter).ShouldBe(Errno.InvalidArgument);
        Set(rig, 2, 0x1000, VfioIoEventFlags.Width8, 1, counter).ShouldBe(Errno.InvalidArgument);
        Set(rig, 2, 0x107f, VfioIoEventFlags.Width8, 1, counter).ShouldBe(Errno.InvalidArgument);
        Set(rig, 2, 0x1080, VfioIoEventFlags.Width8, 0x1ff, counter).ShouldBe(Errno.Success);
        Set(rig, 0, 0xffc, VfioIoEventFlags.Width32, 1, counter).ShouldBe(Errno.Success);
        rig.Add(counter, 1);
        VfioRegion memory = rig.Device.GetRegion(VfioPciRegion.Bar2);
        memory.Read<uint>(0xffc).ShouldBe(1u);
        memory.Read<ushort>(0x1080).ShouldBe((ushort)0xff);
    }

    [Fact]
    public void Registers_of_io_space_are_written_also_while_memory_space_is_off()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        Set(rig, 4, 30, VfioIoEventFlags.Width16, 0xabcd, counter).ShouldBe(Errno.Success);
        Set(rig, 4, 31, VfioIoEventFlags.Width16, 0xabcd, counter).ShouldBe(Errno.InvalidArgument);
        Set(rig, 0, 8, VfioIoEventFlags.Width32, 7, counter).ShouldBe(Errno.Success);
        rig.Config.Write(4, (ushort)0);
        rig.Add(counter, 3);
        device.Accesses.ShouldBe([(4, 30ul, 2, 0xabcdul)]);
        rig.Take(counter).ShouldBe(0ul);
    }

    [Fact]
    public void A_device_that_is_no_PCI_device_has_no_such_call()
    {
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint endpoint = platform.AddEndpoint(new(8));
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        _ = device.Bind(iommu);
        platform.Kernel.Ioctl(device.Descriptor.Number, VfioRequests.DeviceIoEventFd, new byte[32])
            .ShouldBe(-(int)Errno.NotTypewriter);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Every_way_out_of_the_call_leaves_nothing() =>
        FailAtEveryStep.Run(
            static () =>
            {
                PciRig rig = new(new TestPciDevice());
                return (Rig: rig, Counter: rig.NewEvent());
            },
            static state => Set(state.Rig, 0, 8, VfioIoEventFlags.Width32, 7, state.Counter),
            static (state, error, step) =>
            {
                // One that failed can be made; one that was made is there.
                Errno found = Set(state.Rig, 0, 8, VfioIoEventFlags.Width32, 7, state.Counter);
                state.Rig.Dispose();
                found.ShouldBe(error == Errno.Success ? Errno.Exists : Errno.Success);
                error.ShouldBe(step == 0 ? Errno.Success : Errno.OutOfMemory);
            }).ShouldBeGreaterThan(0);

    [Fact]
    public void A_doorbell_of_the_client_rings_in_the_device_until_it_is_disposed()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        VfioRegion registers = rig.Device.GetRegion(VfioPciRegion.Bar0);
        using (VfioDoorbell doorbell = registers.AddDoorbell(0x10, 0xcafe_f00du))
        {
            doorbell.Ring();
            doorbell.RingErrno().ShouldBe(Errno.Success);
            device.Accesses.ShouldBe([(0, 0x10ul, 4, 0xcafe_f00dul), (0, 0x10ul, 4, 0xcafe_f00dul)]);

            // Whoever has the counter, and nothing else of the device, rings too.
            doorbell.Counter.DuplicateErrno(out KernelDescriptor? copy).ShouldBe(Errno.Success);
            using (copy)
            {
                rig.Add(copy!.Number, 1);
            }

            device.Accesses.Count.ShouldBe(3);
            registers.AddDoorbellErrno(0x10, 0xcafe_f00du, out VfioDoorbell? second).ShouldBe(Errno.Exists);
            second.ShouldBeNull();
        }

        IommuException refusal = Should.Throw<IommuException>(() => registers.AddDoorbell(0x10, 1ul));
        (refusal.Error, refusal.Call).ShouldBe((Errno.InvalidArgument, "VFIO_DEVICE_IOEVENTFD"));
        registers.AddDoorbellErrno(4094, 1u, out _).ShouldBe(Errno.InvalidArgument);
        rig.Config.AddDoorbellErrno(4, (ushort)6, out _).ShouldBe(Errno.InvalidArgument);
        registers.AddDoorbellErrno(0x10, 0xcafe_f00du, out VfioDoorbell? again).ShouldBe(Errno.Success);
        again!.Ring();
        device.Accesses.Count.ShouldBe(4);

        // The device goes first.
        rig.Device.Dispose();
        again.Ring();
        again.Dispose();
        device.Accesses.Count.ShouldBe(4);
        Should.Throw<ObjectDisposedException>(again.Ring);
    }

    /// <summary>A counter is written while its register is let go.</summary>
    private sealed class RingAgainstRemove : Scenario
    {
        private readonly TestPciDevice _device = new();
        private readonly PciRig _rig;
        private readonly int _counter;
        private readonly bool _closes;

        public RingAgainstRemove(bool closes)
        {
            _closes = closes;
            _rig = new(_device);
            _counter = _rig.NewEvent();
            Set(_rig, 0, 8, VfioIoEventFlags.Width32, 7, _counter).ShouldBe(Errno.Success);
            AddThread("ring", () => _rig.Add(_counter, 1));
            AddThread("remove", () =>
            {
                if (closes)
                {
                    _rig.Device.Dispose();
                }
                else
                {
                    Set(_rig, 0, 8, VfioIoEventFlags.Width32, 7, -1).ShouldBe(Errno.Success);
                }
            });
        }

        public override void CheckAtEnd()
        {
            // At most one write, and after the end none.
            int writes = _device.Accesses.Count;
            writes.ShouldBeLessThanOrEqualTo(1);
            _rig.Add(_counter, 1);
            _device.Accesses.Count.ShouldBe(writes);
            _rig.Take(_counter).ShouldBeGreaterThan(0ul);
            if (!_closes)
            {
                Set(_rig, 0, 8, VfioIoEventFlags.Width32, 7, -1).ShouldBe(Errno.NoDevice);
            }

            _rig.Dispose();
        }
    }

    /// <summary>A counter with a count is set while the entry is removed.</summary>
    private sealed class SetAgainstRemove : Scenario
    {
        private readonly TestPciDevice _device = new();
        private readonly PciRig _rig;
        private readonly int _counter;
        private Errno _remove;

        public SetAgainstRemove()
        {
            _rig = new(_device);
            _counter = _rig.NewEvent();
            AddThread("set", () => Set(_rig, 0, 8, VfioIoEventFlags.Width32, 7, _counter).ShouldBe(Errno.Success));
            AddThread("remove", () => _remove = Set(_rig, 0, 8, VfioIoEventFlags.Width32, 7, -1));
        }

        public override void CheckAtEnd()
        {
            _remove.ShouldBeOneOf(Errno.Success, Errno.NoDevice);
            _rig.Add(_counter, 1);
            _device.Accesses.Count.ShouldBe(_remove == Errno.Success ? 0 : 1);
            _rig.Dispose();
        }
    }

    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 2,
        MaxSchedules = ExplorerOptions.All ? 100_000 : 2000,
        RandomSchedules = ExplorerOptions.All ? 2000 : 50,
    };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.15")]
    public void A_register_is_written_at_most_once_by_a_ring_that_meets_its_end(bool closes) =>
        ScheduleExplorer.Explore(() => new RingAgainstRemove(closes), Options).ShouldHold();

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void An_entry_that_is_removed_while_it_is_made_listens_no_more() =>
        ScheduleExplorer.Explore(static () => new SetAgainstRemove(), Options).ShouldHold();
}
