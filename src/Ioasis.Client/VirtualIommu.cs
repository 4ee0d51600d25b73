using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>A part of an IOMMU that one guest has as its own. Thread-safe.</summary>
public sealed class VirtualIommu : IDisposable
{
    private readonly IommuFd _iommu;

    internal VirtualIommu(IommuFd iommu, KernelObject handle)
    {
        _iommu = iommu;
        Handle = handle;
    }

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>Its number in the descriptor.</summary>
    public uint Id => Handle.Id;

    /// <summary>Makes a guest's page table in it.</summary>
    /// <param name="device">The device that it is for.</param>
    /// <param name="dataType">Kind of the data.</param>
    /// <param name="data">What the guest wants.</param>
    /// <param name="faults">Who gets the devices' page requests, or null.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public HardwarePageTable AllocateNestedPageTable<T>(VfioDevice device, uint dataType, in T data, FaultQueue? faults = null)
        where T : unmanaged
    {
        Errno error = _iommu.AllocateNestedErrno(
            device, Id, dataType, data, faults, HwptAllocFlags.None, out HardwarePageTable? table);
        IommuException.ThrowIf(error, "IOMMU_HWPT_ALLOC", $"device {device.Id}, virtual IOMMU {Id}, data type 0x{dataType:x}");
        return table!;
    }

    /// <summary>Gives a device the name by which the guest knows it.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VirtualDevice AddDevice(VfioDevice device, ulong name)
    {
        Errno error = AddDeviceErrno(device, name, out VirtualDevice? made);
        IommuException.ThrowIf(error, "IOMMU_VDEVICE_ALLOC", $"virtual IOMMU {Id}, device {device.Id}, name 0x{name:x}");
        return made!;
    }

    /// <summary>Gives a device the name by which the guest knows it.</summary>
    /// <returns>Success; <see cref="Errno.Exists"/> if the device has a name or the name a device; others.</returns>
    public Errno AddDeviceErrno(VfioDevice device, ulong name, out VirtualDevice? made)
    {
        ArgumentNullException.ThrowIfNull(device);
        IommuVdeviceAlloc argument = new() { ViommuId = Id, DeviceId = device.Id, VirtualId = name };
        Errno error = Handle.Owner.Call(ref argument);
        made = error == Errno.Success ? new(new(Handle.Owner, argument.OutVdeviceId), name) : null;
        return error;
    }

    /// <summary>Makes the queue of the guest's events of a kind.</summary>
    /// <param name="type">The kind, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="depth">Events that it holds; what comes more is lost.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VirtualEventQueue AllocateEventQueue(uint type, uint depth)
    {
        IommuVeventqAlloc argument = new() { ViommuId = Id, Type = type, Depth = depth };
        IommuException.ThrowIf(
            Handle.Owner.Call(ref argument), "IOMMU_VEVENTQ_ALLOC", $"virtual IOMMU {Id}, type 0x{type:x}, depth {depth}");
        return new(
            new(Handle.Owner, argument.OutVeventqId), KernelDescriptor.Own(Handle.Owner.Kernel, (int)argument.OutVeventqFd));
    }

    /// <summary>Has the IOMMU forget what the guest asks it to forget, of any of its devices.</summary>
    /// <returns>Success, or why the first that was not carried out was not.</returns>
    public Errno InvalidateErrno<T>(uint dataType, ReadOnlySpan<T> entries, out int done)
        where T : unmanaged => Handle.InvalidateErrno(dataType, entries, out done);

    /// <summary>Destroys it; while something is made in it, it goes with the descriptor.</summary>
    public void Dispose() => Handle.Dispose();
}

/// <summary>A guest's name for a device.</summary>
public sealed class VirtualDevice : IDisposable
{
    internal VirtualDevice(KernelObject handle, ulong name)
    {
        Handle = handle;
        Name = name;
    }

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>The name.</summary>
    public ulong Name { get; }

    /// <summary>Takes the name away.</summary>
    public void Dispose() => Handle.Dispose();
}

/// <summary>An event of a guest.</summary>
/// <typeparam name="T">Its layout, as Ioasis.Uapi has them by architecture.</typeparam>
/// <param name="Sequence">Its number, 0 to 2^31-1: gaps are events that were lost.</param>
/// <param name="IsLoss">There is no event here: those up to this number were lost.</param>
/// <param name="Data">The event.</param>
public readonly record struct VirtualEvent<T>(uint Sequence, bool IsLoss, T Data)
    where T : unmanaged;

/// <summary>A guest's events of one kind. Thread-safe.</summary>
public sealed class VirtualEventQueue : IDisposable
{
    internal VirtualEventQueue(KernelObject handle, KernelDescriptor descriptor)
    {
        Handle = handle;
        Descriptor = descriptor;
    }

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>The descriptor of the queue itself.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Waits until there is an event.</summary>
    /// <param name="timeout">How long; 0 does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is; false after the time.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken = default) => Descriptor.Wait(timeout, cancellationToken);

    /// <summary>Waits until there is an event, without a thread of the caller's.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Task WaitAsync(CancellationToken cancellationToken = default) => Descriptor.WaitForInputAsync(cancellationToken);

    /// <summary>Reads the next event.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public bool TryRead<T>(out VirtualEvent<T> next)
        where T : unmanaged
    {
        int headerSize = Unsafe.SizeOf<IommufdVeventHeader>();
        Span<byte> buffer = stackalloc byte[headerSize + Unsafe.SizeOf<T>()];
        Errno error = Descriptor.ReadErrno(buffer, out int count);
        IommuException.ThrowIf(error, "read", $"event queue {Handle.Id}");
        IommufdVeventHeader header = MemoryMarshal.Read<IommufdVeventHeader>(buffer);
        bool isLoss = (header.Flags & VeventFlags.LostEvents) != 0;
        next = new(header.Sequence, isLoss, isLoss ? default : MemoryMarshal.Read<T>(buffer[headerSize..]));
        return count > 0;
    }

    /// <summary>Closes and destroys the queue.</summary>
    public void Dispose()
    {
        Descriptor.Dispose();
        Handle.Dispose();
    }
}
