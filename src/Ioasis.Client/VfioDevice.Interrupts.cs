using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <content>Interrupts.</content>
public sealed partial class VfioDevice
{
    /// <summary>How many vectors an interrupt has, and what can be done with it.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioIrqInfo GetInterrupt(VfioPciInterrupt index)
    {
        IommuException.ThrowIf(GetInterruptErrno((int)index, out VfioIrqInfo info), "VFIO_DEVICE_GET_IRQ_INFO", $"{Path}, {index}");
        return info;
    }

    /// <summary>How many vectors an interrupt has, and what can be done with it.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for one that the device cannot have.</returns>
    public Errno GetInterruptErrno(int index, out VfioIrqInfo info)
    {
        info = new() { Argsz = (uint)Unsafe.SizeOf<VfioIrqInfo>(), Index = (uint)index };
        return Call(VfioRequests.DeviceGetIrqInfo, ref info);
    }

    /// <summary>Enables the first vectors of an interrupt; each can then be awaited.</summary>
    /// <param name="index">Which interrupt.</param>
    /// <param name="vectors">How many vectors, from the first.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioInterruptSet EnableInterrupts(VfioPciInterrupt index, int vectors = 1)
    {
        IommuException.ThrowIf(
            EnableInterruptsErrno(index, vectors, out VfioInterruptSet? set),
            "VFIO_DEVICE_SET_IRQS",
            $"{Path}, {index}, {vectors} vectors");
        return set!;
    }

    /// <summary>Enables the first vectors of an interrupt; each can then be awaited.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the device has fewer, or another kind is enabled; what the kernel answered.
    /// </returns>
    public Errno EnableInterruptsErrno(VfioPciInterrupt index, int vectors, out VfioInterruptSet? set) =>
        VfioInterruptSet.EnableErrno(this, index, vectors, out set);

    /// <summary>VFIO_DEVICE_SET_IRQS, as it is.</summary>
    internal Errno SetInterrupts(VfioIrqSetFlags flags, VfioPciInterrupt index, int start, int count, ReadOnlySpan<int> events)
    {
        byte[] argument = new byte[VfioIrqSet.MinimumSize + (events.Length * sizeof(int))];
        VfioIrqSet set = new()
        {
            Argsz = (uint)argument.Length,
            Flags = flags,
            Index = (uint)index,
            Start = (uint)start,
            Count = (uint)count,
        };
        MemoryMarshal.Write(argument, set);
        MemoryMarshal.AsBytes(events).CopyTo(argument.AsSpan(VfioIrqSet.MinimumSize));
        return Descriptor.Call(VfioRequests.DeviceSetIrqs, argument);
    }
}
