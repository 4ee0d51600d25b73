using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// Interrupts of a device that are enabled. Each vector has an event counter; one thread waits for them all and hands each
/// count to whoever awaits the vector. Interrupts that nobody awaits are counted. Disposal disables them. Thread-safe.
/// </summary>
public sealed class VfioInterruptSet : IDisposable
{
    private readonly VfioDevice _device;
    private readonly VfioPciInterrupt _index;
    private readonly KernelDescriptor _wake;
    private readonly KernelDescriptor[] _events;
    private readonly VfioInterrupt[] _vectors;
    private readonly Thread _thread;
    private int _disposed;

    private VfioInterruptSet(VfioDevice device, VfioPciInterrupt index, KernelDescriptor wake, KernelDescriptor[] events)
    {
        _device = device;
        _index = index;
        _wake = wake;
        _events = events;
        _vectors = [.. events.Select(static (_, vector) => new VfioInterrupt(vector))];
        _thread = new(Run) { IsBackground = true, Name = $"{device.Path} {index}" };
    }

    /// <summary>How many vectors.</summary>
    public int Count => _vectors.Length;

    /// <summary>A vector.</summary>
    public VfioInterrupt this[int vector] => _vectors[vector];

    /// <summary>Masks a vector. Only the wired interrupt can be.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno MaskErrno(int vector = 0) => Act(VfioIrqSetFlags.ActionMask, vector);

    /// <summary>
    /// Unmasks a vector. The wired interrupt masks itself when it fires; it fires again at once if the device still asserts it.
    /// </summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Unmask(int vector = 0) =>
        IommuException.ThrowIf(UnmaskErrno(vector), "VFIO_DEVICE_SET_IRQS", $"{_device.Path}, {_index}, unmask {vector}");

    /// <summary>Unmasks a vector.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno UnmaskErrno(int vector = 0) => Act(VfioIrqSetFlags.ActionUnmask, vector);

    /// <summary>Has the kernel signal a vector, as if the device had.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno TriggerErrno(int vector = 0) => Act(VfioIrqSetFlags.ActionTrigger, vector);

    /// <summary>Disables the interrupts. Who awaits one gets an <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        // The device's descriptor may be closed already: then they are disabled.
        if (!_device.Descriptor.IsClosed)
        {
            _ = _device.SetInterrupts(VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionTrigger, _index, 0, 0, []);
        }

        _ = _wake.CountErrno();
        _thread.Join();
        Close(_wake, _events);
    }

    internal static Errno EnableErrno(VfioDevice device, VfioPciInterrupt index, int vectors, out VfioInterruptSet? set)
    {
        set = null;
        if (vectors <= 0)
        {
            return Errno.InvalidArgument;
        }

        IKernelAbi kernel = device.Descriptor.Kernel;
        KernelDescriptor[] events = new KernelDescriptor[vectors];
        int[] numbers = new int[vectors];
        Errno error = KernelDescriptor.MakeEventErrno(kernel, out KernelDescriptor? wake);
        for (int i = 0; i < vectors && error == Errno.Success; i++)
        {
            error = KernelDescriptor.MakeEventErrno(kernel, out KernelDescriptor? made);
            if (error == Errno.Success)
            {
                events[i] = made!;
                numbers[i] = made!.Number;
            }
        }

        if (error == Errno.Success)
        {
            error = device.SetInterrupts(
                VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger, index, 0, vectors, numbers);
        }

        if (error != Errno.Success)
        {
            Close(wake, events);
            return error;
        }

        set = new(device, index, wake!, events);
        set._thread.Start();
        return Errno.Success;
    }

    private static void Close(KernelDescriptor? wake, KernelDescriptor?[] events)
    {
        wake?.Dispose();
        foreach (KernelDescriptor? descriptor in events)
        {
            descriptor?.Dispose();
        }
    }

    private Errno Act(VfioIrqSetFlags action, int vector) =>
        (uint)vector < (uint)Count
            ? _device.SetInterrupts(VfioIrqSetFlags.DataNone | action, _index, vector, 1, [])
            : Errno.InvalidArgument;

    private void Run()
    {
        PollDescriptor[] descriptors = new PollDescriptor[Count + 1];
        for (int i = 0; i < descriptors.Length; i++)
        {
            descriptors[i] = new()
            {
                Descriptor = i < Count ? _events[i].Number : _wake.Number,
                Events = PollEvents.In,
            };
        }

        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        while (Volatile.Read(ref _disposed) == 0)
        {
            int ready = _wake.Kernel.Poll(descriptors, -1);
            if (ready < 0 && ready != -(int)Errno.Interrupted)
            {
                break;
            }

            for (int i = 0; i < Count; i++)
            {
                if ((descriptors[i].Ready & PollEvents.In) != 0
                    && _wake.Kernel.Read(descriptors[i].Descriptor, bytes) == sizeof(ulong))
                {
                    _vectors[i].Add(MemoryMarshal.Read<ulong>(bytes));
                }
            }

            if (ready < 0 || (descriptors[Count].Ready & (PollEvents.Invalid | PollEvents.Error)) != 0)
            {
                // The process dies, or the kernel is gone.
                break;
            }
        }

        foreach (VfioInterrupt vector in _vectors)
        {
            vector.End();
        }
    }
}
