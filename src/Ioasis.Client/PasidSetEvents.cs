using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// What happens to the PASIDs of a set from the moment on at which this was made, by whomever: allocated, bound, unbound, freed,
/// recycled. Who does not read loses events, which the next one counts; the set is never held up. Thread-safe.
/// </summary>
public sealed class PasidSetEvents : IDisposable
{
    internal PasidSetEvents(KernelDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor; it polls readable while there are events.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Waits for an event and reads it.</summary>
    /// <param name="timeoutMilliseconds">How long; 0 does not wait, negative waits for ever.</param>
    /// <param name="next">The event.</param>
    /// <returns>Success; <see cref="Errno.TimedOut"/>; or what the kernel answered.</returns>
    public Errno TryRead(int timeoutMilliseconds, out IoasidSetEvent next) =>
        PasidEvents.TryRead(Descriptor, timeoutMilliseconds, out next);

    /// <summary>Closes the descriptor.</summary>
    public void Dispose() => Descriptor.Dispose();
}

/// <summary>What the two descriptors with events have in common.</summary>
internal static class PasidEvents
{
    /// <summary>Makes a descriptor by a call that returns one.</summary>
    public static Errno TryMake<T>(KernelDescriptor descriptor, T argument, out KernelDescriptor? made)
        where T : unmanaged, ISizedArgument
    {
        made = null;
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref argument));
            MemoryMarshal.Write(bytes, bytes.Length);
            int result = descriptor.Kernel.Ioctl(descriptor.Number, T.Request, bytes);
            made = result < 0 ? null : KernelDescriptor.Own(descriptor.Kernel, result);
            return result < 0 ? (Errno)(-result) : Errno.Success;
        }
        finally
        {
            if (held)
            {
                descriptor.DangerousRelease();
            }
        }
    }

    /// <summary>Waits for an event and reads it.</summary>
    public static Errno TryRead<T>(KernelDescriptor descriptor, int timeoutMilliseconds, out T next)
        where T : unmanaged
    {
        next = default;
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            int ready = descriptor.Kernel.Poll(descriptor.Number, PollEvents.In, timeoutMilliseconds, out _);
            if (ready <= 0)
            {
                return ready == 0 ? Errno.TimedOut : (Errno)(-ready);
            }

            nint count = descriptor.Kernel.Read(descriptor.Number, MemoryMarshal.AsBytes(new Span<T>(ref next)));
            return count == Unsafe.SizeOf<T>() ? Errno.Success
                : count < 0 ? (Errno)(-(int)count)
                : Errno.TimedOut;
        }
        finally
        {
            if (held)
            {
                descriptor.DangerousRelease();
            }
        }
    }
}
