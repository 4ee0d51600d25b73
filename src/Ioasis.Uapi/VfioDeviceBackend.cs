using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Uapi;

/// <summary>
/// The seam between VFIO's descriptors and what a device is: registers, interrupts, reset. The kernel side checks the form
/// of every call and hands the meaning over; it knows no bus. DMA is not part of it: the device does that of its own accord.
/// </summary>
/// <remarks>Thread-safe: calls may come at the same time. No call throws on what a client can send.</remarks>
public interface IVfioDeviceBackend
{
    /// <summary>Kind of device, and whether it can be reset.</summary>
    VfioDeviceFlags Flags { get; }

    /// <summary>Numbers of regions, those included that are not there.</summary>
    int RegionCount { get; }

    /// <summary>Numbers of interrupts, those included that are not there.</summary>
    int InterruptCount { get; }

    /// <summary>The devices that can only be reset together with this one, this one included; null if there is no such reset.</summary>
    IReadOnlyList<VfioResetMember>? ResetMembers { get; }

    /// <summary>The first client opens the device.</summary>
    /// <returns>Success, or why not: the open fails with it.</returns>
    Errno Open();

    /// <summary>The last client is gone: interrupts are off, the device does no DMA any more.</summary>
    void Close();

    /// <summary>Describes a region.</summary>
    /// <returns>Success, with size 0 for one that is not there; <see cref="Errno.InvalidArgument"/> for an unknown number.</returns>
    Errno GetRegion(int index, out DeviceRegion region);

    /// <summary>Describes an interrupt.</summary>
    /// <returns>Success, with count 0 for one that is not there; <see cref="Errno.InvalidArgument"/> for an unknown number.</returns>
    Errno GetInterrupt(int index, out DeviceInterrupt interrupt);

    /// <summary>Reads from a region.</summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">Any offset below 2^40.</param>
    /// <param name="destination">Not empty.</param>
    /// <param name="count">Bytes read.</param>
    Errno Read(int index, ulong offset, Span<byte> destination, out int count);

    /// <summary>Writes to a region.</summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">Any offset below 2^40.</param>
    /// <param name="source">Not empty.</param>
    /// <param name="count">Bytes written.</param>
    Errno Write(int index, ulong offset, ReadOnlySpan<byte> source, out int count);

    /// <summary>A deferrable write (PCIe 6.0, section 2.2.7; ENQCMD of a processor): the device says whether it takes it.</summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">A multiple of 64 below 2^40.</param>
    /// <param name="command">64 bytes; bits 19:0 of the first four are the PASID of whoever sends it.</param>
    /// <returns>
    /// Success; <see cref="Errno.TryAgain"/> if it is to be sent again; <see cref="Errno.NotSupported"/> if nothing there takes such writes.
    /// </returns>
    Errno WriteDeferrable(int index, ulong offset, ReadOnlySpan<byte> command) => Errno.NotSupported;

    /// <summary>Makes a part of a region directly accessible.</summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">A multiple of the page size, below 2^40.</param>
    /// <param name="length">A multiple of the page size, not 0.</param>
    /// <param name="address">Where it is; valid while the device's descriptor or a mapping of it exists.</param>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if there is nothing that can be mapped.</returns>
    Errno Map(int index, ulong offset, ulong length, out nint address);

    /// <summary>
    /// As <see cref="Map"/>, for another process: the memory file behind a part of a region. The file stays the device's: who keeps it
    /// longer than the device is open duplicates it.
    /// </summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">A multiple of the page size, below 2^40.</param>
    /// <param name="length">A multiple of the page size, not 0.</param>
    /// <param name="file">The memory file.</param>
    /// <param name="fileOffset">Where in the file the part begins.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if there is nothing that can be mapped; <see cref="Errno.NotSupported"/> if it can be
    /// mapped in this process only.
    /// </returns>
    Errno MapFile(int index, ulong offset, ulong length, out SafeFileHandle? file, out long fileOffset)
    {
        file = null;
        fileOffset = 0;
        return Errno.NotSupported;
    }

    /// <summary>Configures, masks or signals interrupts.</summary>
    /// <param name="set">The call, checked: the vectors exist, there is one kind of data.</param>
    /// <param name="data">As much data as the call needs.</param>
    /// <param name="events">Finds the counters behind descriptors.</param>
    Errno SetInterrupts(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events);

    /// <summary>Resets the device.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if it cannot be reset.</returns>
    Errno Reset();

    /// <summary>The bus resets the device together with the others of <see cref="ResetMembers"/>.</summary>
    void ResetWithBus();

    /// <summary>A feature of the device (<c>VFIO_DEVICE_FEATURE</c>).</summary>
    /// <param name="feature">Which.</param>
    /// <param name="flags">Get or set, and probe; nothing else.</param>
    /// <param name="data">What follows the structure; read and written in place.</param>
    /// <param name="events">Finds the counters behind descriptors.</param>
    /// <returns>Success; <see cref="Errno.NotTypewriter"/> for a feature that the device has not.</returns>
    Errno Feature(VfioFeature feature, VfioFeatureFlags flags, Span<byte> data, IVfioEventSource events);

    /// <summary>Has a register written whenever a counter is, or ends that (<c>VFIO_DEVICE_IOEVENTFD</c>, PCI devices only).</summary>
    /// <param name="write">What is written, of any region, offset and data; the size is 1, 2, 4 or 8.</param>
    /// <param name="descriptor">The counter; -1 ends it.</param>
    /// <param name="events">Finds the counter behind the descriptor.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> where no such write can be; <see cref="Errno.Exists"/> if there is one
    /// already; <see cref="Errno.NoDevice"/> if there is none to end; <see cref="Errno.NoSpace"/>; what finding the counter gave.
    /// </returns>
    Errno SetIoEvent(in VfioIoEvent write, int descriptor, IVfioEventSource events);

    /// <summary>The platform wants the device back: tells the client, if it listens.</summary>
    void RequestRelease();

    /// <summary>Whether the device answers accesses to its regions now.</summary>
    bool IsMemoryEnabled => true;

    /// <summary>Finds the physical memory behind a part of a region, for other devices to reach it (<c>VFIO_DEVICE_FEATURE_DMA_BUF</c>).</summary>
    /// <param name="index">Any number.</param>
    /// <param name="offset">A multiple of the page size.</param>
    /// <param name="length">A multiple of the page size, not 0.</param>
    /// <param name="address">Where it is, contiguous; it must not be used after <see cref="WatchMemory"/> told so.</param>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if there is no such part; <see cref="Errno.NotSupported"/>.</returns>
    Errno GetDmaMemory(int index, ulong offset, ulong length, out PhysicalAddress address)
    {
        address = default;
        return Errno.NotSupported;
    }

    /// <summary>
    /// Says who is told when the regions go (false: before a reset, or when they are disabled, and the device waits for it) and when they
    /// are there again (true). Once, before the device is used.
    /// </summary>
    void WatchMemory(Action<bool> watcher)
    {
    }
}

/// <summary>A region of a device.</summary>
/// <param name="Size">Bytes; 0 if it is not there.</param>
/// <param name="Flags">What can be done with it. Capabilities set their flag themselves.</param>
/// <param name="Areas">The parts that can be mapped, by offset; null if none can.</param>
/// <param name="MsiXMappable">The table of MSI-X lies in it and can be mapped.</param>
public readonly record struct DeviceRegion(
    ulong Size,
    VfioRegionFlags Flags,
    IReadOnlyList<DeviceArea>? Areas = null,
    bool MsiXMappable = false);

/// <summary>What a store to a mapped part of a region means.</summary>
public enum DeviceAreaKind
{
    /// <summary>Plain memory: nobody needs to notice.</summary>
    Memory,

    /// <summary>
    /// Of each register only the last value counts. The device looks at the shared pages by itself.
    /// </summary>
    Doorbells,

    /// <summary>
    /// Stores have effects. The device looks at the shared pages by itself, and sees each register that has changed since it looked
    /// last; who wants every access exact lets them trap and uses <see cref="IVfioDeviceBackend.Read"/> and
    /// <see cref="IVfioDeviceBackend.Write"/>.
    /// </summary>
    Registers,
}

/// <summary>A part of a region that can be mapped.</summary>
/// <param name="Offset">Where it begins, a multiple of the page size.</param>
/// <param name="Size">Bytes, a multiple of the page size.</param>
/// <param name="Kind">What a store to it means.</param>
public readonly record struct DeviceArea(ulong Offset, ulong Size, DeviceAreaKind Kind);

/// <summary>A kind of interrupt of a device.</summary>
/// <param name="Count">Vectors; 0 if it is not there.</param>
/// <param name="Flags">What can be done with it.</param>
public readonly record struct DeviceInterrupt(uint Count, VfioIrqInfoFlags Flags);

/// <summary>A write of a register.</summary>
/// <param name="Region">The region.</param>
/// <param name="Offset">Where in the region, below 2^40.</param>
/// <param name="Size">Bytes: 1, 2, 4 or 8.</param>
/// <param name="Data">What; bits beyond the size are not written, and tell one write from another.</param>
public readonly record struct VfioIoEvent(int Region, ulong Offset, int Size, ulong Data);

/// <summary>A device that is reset together with others.</summary>
/// <param name="Device">The device, as it was given to the kernel side.</param>
/// <param name="Segment">Its segment.</param>
/// <param name="Bus">Its bus.</param>
/// <param name="DeviceFunction">Device in 7:3, function in 2:0.</param>
public readonly record struct VfioResetMember(IVfioDeviceBackend Device, ushort Segment, byte Bus, byte DeviceFunction);

/// <summary>A counter that a client gave for an interrupt. Outlives the descriptor that it came from.</summary>
public interface IVfioEvent
{
    /// <summary>Adds 1 and wakes whoever waits. Does not block.</summary>
    void Signal();

    /// <summary>
    /// Has a device listen: it is told of each write from now on, which takes the count, and at once if there is a count.
    /// Ends with the last descriptor of the counter.
    /// </summary>
    void Listen(Action listener);

    /// <summary>Ends <see cref="Listen"/>. A call of the listener that has begun may still run.</summary>
    void Unlisten(Action listener);
}

/// <summary>Finds the counters behind a client's descriptors.</summary>
public interface IVfioEventSource
{
    /// <summary>Finds a counter.</summary>
    /// <returns>
    /// Success; <see cref="Errno.BadDescriptor"/>; <see cref="Errno.InvalidArgument"/> if the descriptor is no event counter.
    /// </returns>
    Errno GetEventErrno(int descriptor, out IVfioEvent? counter);
}
