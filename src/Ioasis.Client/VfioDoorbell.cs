using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A register that the kernel writes whenever a counter is (<c>VFIO_DEVICE_IOEVENTFD</c>), for whoever has the counter but not
/// the device: another process, a hypervisor. Made by <see cref="VfioRegion.AddDoorbell"/>. Thread-safe.
/// </summary>
public sealed class VfioDoorbell : IDisposable
{
    private readonly VfioDevice _device;
    private VfioDeviceIoEventFd _argument;
    private int _disposed;

    private VfioDoorbell(VfioDevice device, KernelDescriptor counter, in VfioDeviceIoEventFd argument)
    {
        _device = device;
        Counter = counter;
        _argument = argument;
    }

    /// <summary>The event counter: each write of it (8 bytes, not 0) has the register written once. It is never to be read.</summary>
    public KernelDescriptor Counter { get; }

    /// <summary>Has the register written.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Ring() => IommuException.ThrowIf(RingErrno(), "write", $"{_device.Path}, counter of the doorbell at 0x{_argument.Offset:x}");

    /// <summary>Has the register written.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno RingErrno() => Counter.CountErrno();

    /// <summary>Ends it: the counter writes nothing any more, and is closed.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        // With the device's descriptor it has ended already.
        if (!_device.Descriptor.IsClosed)
        {
            _argument.Descriptor = -1;
            _ = _device.Call(VfioRequests.DeviceIoEventFd, ref _argument);
        }

        Counter.Dispose();
    }

    internal static Errno MakeErrno(VfioDevice device, ulong place, int size, ulong data, out VfioDoorbell? doorbell)
    {
        doorbell = null;
        Errno error = KernelDescriptor.MakeEventErrno(device.Descriptor.Kernel, out KernelDescriptor? counter);
        if (error != Errno.Success)
        {
            return error;
        }

        VfioDeviceIoEventFd argument = new()
        {
            Argsz = (uint)Marshal.SizeOf<VfioDeviceIoEventFd>(),
            Flags = (VfioIoEventFlags)size,
            Offset = place,
            Data = data,
            Descriptor = counter!.Number,
        };
        error = device.Call(VfioRequests.DeviceIoEventFd, ref argument);
        if (error != Errno.Success)
        {
            counter.Dispose();
            return error;
        }

        doorbell = new(device, counter, argument);
        return Errno.Success;
    }
}
