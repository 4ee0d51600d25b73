using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>Registers that a client maps: the device looks at them, and shows there what is to be read.</summary>
public unsafe class MappedRegisterTests
{
    [Fact]
    public void A_store_to_a_mapped_register_reaches_the_device_and_its_answer_is_read_there()
    {
        using LookingDevice device = new();
        using PciRig rig = new(device);
        VfioRegion region = rig.Device.GetRegion(VfioPciRegion.Bar0);
        region.CanMap.ShouldBeTrue();
        region.SparseAreas.Count.ShouldBe(1);
        (region.SparseAreas[0].Offset, region.SparseAreas[0].Size).ShouldBe((4096ul, 8192ul));
        using (VfioMapping mapping = region.Map(4096, 4096))
        {
            device.IsLooking.ShouldBeTrue();
            fixed (byte* bytes = mapping.Span)
            {
                for (uint i = 1; i <= 3; i++)
                {
                    Volatile.Write(ref *(uint*)bytes, i);
                    uint* answer = (uint*)(bytes + 4);
                    SpinWait.SpinUntil(() => Volatile.Read(ref *answer) == i * 3, TimeSpan.FromSeconds(20)).ShouldBeTrue();
                }
            }
        }
    }

    [Fact]
    public void The_last_close_of_the_device_ends_its_looking()
    {
        using LookingDevice device = new();
        using (PciRig rig = new(device))
        {
            rig.Device.GetRegion(VfioPciRegion.Bar0).Map(8192, 4096).Dispose();
            device.IsLooking.ShouldBeTrue();
        }

        device.IsLooking.ShouldBeFalse();
    }

    [Fact]
    public void A_device_with_nothing_to_do_leaves_the_processor_to_others()
    {
        using LookingDevice device = new();
        using PciRig rig = new(device);
        rig.Device.GetRegion(VfioPciRegion.Bar0).Map(8192, 4096).Dispose();
        SpinWait.SpinUntil(() => device.Looks > 0, TimeSpan.FromSeconds(20)).ShouldBeTrue();
        Thread.Sleep(100);
        long before = device.Looks;

        // At last it sleeps a millisecond between two looks; one that did not sleep would look a million times.
        Thread.Sleep(200);
        (device.Looks - before).ShouldBeLessThan(20_000);
    }

    [Fact]
    public void What_is_not_offered_cannot_be_mapped()
    {
        using LookingDevice device = new();
        IVfioDeviceBackend backend = device.Backend;
        foreach ((ulong offset, ulong length) in new[] { (0ul, 4096ul), (0ul, 8192ul), (8192ul, 8192ul), (16384ul, 4096ul), (4096ul, ulong.MaxValue - 4095) })
        {
            backend.Map(0, offset, length, out _).ShouldBe(Errno.InvalidArgument);
            backend.MapFile(0, offset, length, out _, out _).ShouldBe(Errno.InvalidArgument);
        }

        device.IsLooking.ShouldBeFalse();
        backend.Map(0, 4096, 8192, out nint at).ShouldBe(Errno.Success);
        at.ShouldNotBe(0);
    }

    [Fact]
    public void Another_process_gets_the_same_pages_by_a_memory_file_of_a_size_that_nobody_changes()
    {
        using LookingDevice device = new();
        device.Backend.MapFile(0, 8192, 4096, out Microsoft.Win32.SafeHandles.SafeFileHandle? file, out long offset).ShouldBe(Errno.Success);
        offset.ShouldBe(8192);
        device.Backend.Map(0, 8192, 4096, out nint at).ShouldBe(Errno.Success);
        RandomAccess.Write(file!, [1, 2, 3, 4], offset + 64);
        new ReadOnlySpan<byte>((void*)(at + 64), 4).ToArray().ShouldBe([1, 2, 3, 4]);
        Should.Throw<Exception>(() => RandomAccess.SetLength(file!, 4096));
        Should.Throw<Exception>(() => RandomAccess.SetLength(file!, 1 << 20));
    }

    [Fact]
    public void A_device_without_the_parts_in_order_is_not_possible()
    {
        foreach (DeviceArea[] areas in new DeviceArea[][]
        {
            [new(4096, 4096, DeviceAreaKind.Doorbells), new(0, 4096, DeviceAreaKind.Registers)],
            [new(0, 100, DeviceAreaKind.Registers)],
            [new(0, 0, DeviceAreaKind.Registers)],
            [new(12288, 8192, DeviceAreaKind.Registers)],
        })
        {
            Should.Throw<ArgumentException>(() => new LookingDevice(areas));
        }
    }

    [Fact]
    public void A_base_address_register_above_two_gibibytes_costs_what_is_used_of_it()
    {
        using BigDevice device = new();
        using PciRig rig = new(device);
        VfioRegion region = rig.Device.GetRegion(VfioPciRegion.Bar2);
        region.Size.ShouldBe(8ul << 30);
        region.Write((6ul << 30) + 8, 0x1234_5678u);
        using VfioMapping mapping = region.Map(6ul << 30, 4096);
        BitConverter.ToUInt32(mapping.Span[8..]).ShouldBe(0x1234_5678u);
        rig.Device.Reset();
        BitConverter.ToUInt32(mapping.Span[8..]).ShouldBe(0u);
    }

    private sealed class LookingDevice(params DeviceArea[] areas) : PciDevice(new()
    {
        VendorId = 1,
        DeviceId = 2,
        Bars =
        [
            new(0, 16384)
            {
                Areas = areas.Length > 0 ? areas : [new(4096, 4096, DeviceAreaKind.Registers), new(8192, 4096, DeviceAreaKind.Doorbells)],
            },
        ],
    })
    {
        private uint _seen;
        private long _looks;

        public long Looks => Interlocked.Read(ref _looks);

        public bool IsLooking => !MappedRegistersOf(0).IsEmpty;

        protected internal override bool LookAtRegisters(int bar, MappedRegisters registers)
        {
            _ = Interlocked.Increment(ref _looks);
            uint value = registers.Read32(4096);
            if (value == _seen)
            {
                return false;
            }

            _seen = value;
            registers.Write32(4100, value * 3);
            return true;
        }

        protected override ulong ReadRegister(int bar, ulong offset, int size) => 0;

        protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
        {
        }

        protected override void OnReset()
        {
        }
    }

    private sealed class BigDevice() : PciDevice(new()
    {
        VendorId = 1,
        DeviceId = 2,
        Bars = [new(2, 8ul << 30) { Is64Bit = true, IsPrefetchable = true, IsMemory = true }],
    })
    {
        protected override ulong ReadRegister(int bar, ulong offset, int size) => 0;

        protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
        {
        }

        protected override void OnReset()
        {
        }
    }
}
