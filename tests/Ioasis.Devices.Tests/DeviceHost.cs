using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests;

/// <summary>What hosts of devices have alike: the VFIO seam, memory, and counters that take its interrupts.</summary>
internal abstract class DeviceHost(PciDevice device, HostMemory memory) : IDisposable, IVfioEventSource
{
    private readonly Dictionary<int, Counter> _counters = [];

    public IVfioDeviceBackend Backend => device.Backend;

    public HostMemory Memory => memory;

    /// <summary>Connects counters to all vectors of a kind.</summary>
    public void Connect(VfioPciInterrupt kind, int count)
    {
        int[] descriptors = [.. Enumerable.Range(1, count)];
        VfioIrqSet set = new()
        {
            Index = (uint)kind,
            Count = (uint)count,
            Flags = VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger,
        };
        Backend.SetInterrupts(set, MemoryMarshal.AsBytes<int>(descriptors), this).ShouldBe(Errno.Success);
    }

    public void Unmask() => Backend.SetInterrupts(
        new() { Index = (uint)VfioPciInterrupt.Intx, Count = 1, Flags = VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionUnmask }, [], this)
        .ShouldBe(Errno.Success);

    /// <summary>Memory space 2, bus master 4, no wire 0x400.</summary>
    public void SetCommand(ushort value) => Backend.Write((int)VfioPciRegion.Config, 4, BitConverter.GetBytes(value), out _).ShouldBe(Errno.Success);

    /// <summary>Reads registers of base address register 0.</summary>
    public ulong Read(uint offset, int size)
    {
        Span<byte> bytes = stackalloc byte[8];
        bytes.Clear();
        Backend.Read(0, offset, bytes[..size], out int count).ShouldBe(Errno.Success);
        count.ShouldBe(size);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    public void Write(uint offset, ulong value, int size) => TryWrite(offset, value, size).ShouldBe(Errno.Success);

    public Errno TryWrite(uint offset, ulong value, int size)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Backend.Write(0, offset, bytes[..size], out _);
    }

    /// <summary>Waits for work in another thread.</summary>
    public static void WaitFor(Func<bool> condition) => SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(5)).ShouldBeTrue();

    /// <summary>Signals of a vector since the last call.</summary>
    public int TakeSignals(int vector = 0) => _counters.TryGetValue(vector + 1, out Counter? counter) ? counter.Take() : 0;

    public Errno GetEventErrno(int descriptor, out IVfioEvent? counter)
    {
        if (!_counters.TryGetValue(descriptor, out Counter? own))
        {
            _counters.Add(descriptor, own = new());
        }

        counter = own;
        return Errno.Success;
    }

    public void Dispose() => device.Dispose();

    private sealed class Counter : IVfioEvent
    {
        private int _count;

        public void Signal() => Interlocked.Increment(ref _count);

        public void Listen(Action listener)
        {
        }

        public void Unlisten(Action listener)
        {
        }

        public int Take() => Interlocked.Exchange(ref _count, 0);
    }
}
