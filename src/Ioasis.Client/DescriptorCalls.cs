using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Reads, writes and waits of descriptors that give events.</summary>
internal static class DescriptorCalls
{
    /// <summary>Reads.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno ReadErrno(this KernelDescriptor descriptor, Span<byte> destination, out int count)
    {
        using HandleHold held = new(descriptor);
        nint result = descriptor.Kernel.Read(descriptor.Number, destination);
        count = (int)Math.Max(0, result);
        return result < 0 ? (Errno)(int)-result : Errno.Success;
    }

    /// <summary>Writes.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno WriteErrno(this KernelDescriptor descriptor, ReadOnlySpan<byte> source)
    {
        using HandleHold held = new(descriptor);
        nint result = descriptor.Kernel.Write(descriptor.Number, source);
        return result < 0 ? (Errno)(int)-result : Errno.Success;
    }

    /// <summary>Adds 1 to an event counter.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno CountErrno(this KernelDescriptor counter)
    {
        ulong one = 1;
        return counter.WriteErrno(MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in one)));
    }

    /// <summary>Makes a descriptor by a call that returns one.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno MakeErrno<T>(this KernelDescriptor descriptor, T argument, out KernelDescriptor? made)
        where T : unmanaged, ISizedArgument
    {
        Errno error = descriptor.Call(ref argument, out int result);
        made = error == Errno.Success ? KernelDescriptor.Own(descriptor.Kernel, result) : null;
        return error;
    }

    /// <summary>Waits until there is something to read.</summary>
    /// <param name="descriptor">The descriptor.</param>
    /// <param name="timeout">How long; <see cref="Timeout.InfiniteTimeSpan"/> for ever, 0 not at all.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Success; <see cref="Errno.TimedOut"/>; or what the kernel answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static Errno WaitErrno(this KernelDescriptor descriptor, TimeSpan timeout, CancellationToken cancellationToken)
    {
        int milliseconds = ToMilliseconds(timeout);
        cancellationToken.ThrowIfCancellationRequested();
        using HandleHold held = new(descriptor);
        if (milliseconds == 0 || !cancellationToken.CanBeCanceled)
        {
            return ErrorOf(descriptor.Kernel.Poll(descriptor.Number, PollEvents.In, milliseconds, out _));
        }

        Errno error = KernelDescriptor.MakeEventErrno(descriptor.Kernel, out KernelDescriptor? cancelled);
        if (error != Errno.Success)
        {
            return error;
        }

        using (cancelled)
        using (cancellationToken.UnsafeRegister(static counter => ((KernelDescriptor)counter!).CountErrno(), cancelled))
        {
            Span<PollDescriptor> descriptors =
            [
                new() { Descriptor = descriptor.Number, Events = PollEvents.In },
                new() { Descriptor = cancelled!.Number, Events = PollEvents.In },
            ];
            error = ErrorOf(descriptor.Kernel.Poll(descriptors, milliseconds));
            if (error == Errno.Success && descriptors[0].Ready == PollEvents.None)
            {
                cancellationToken.ThrowIfCancellationRequested();
            }

            return error;
        }
    }

    /// <summary>Waits until there is something to read.</summary>
    /// <returns>Whether there is; false after the time.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static bool Wait(this KernelDescriptor descriptor, TimeSpan timeout, CancellationToken cancellationToken)
    {
        Errno error = descriptor.WaitErrno(timeout, cancellationToken);
        IommuException.ThrowIf(error == Errno.TimedOut ? Errno.Success : error, "poll", $"descriptor {descriptor.Number}");
        return error == Errno.Success;
    }

    /// <summary>Waits for a record and reads it.</summary>
    /// <returns>Success; <see cref="Errno.TimedOut"/>; or what the kernel answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static Errno ReadErrno<T>(this KernelDescriptor descriptor, TimeSpan timeout, out T next, CancellationToken cancellationToken)
        where T : unmanaged
    {
        next = default;
        Errno error = descriptor.WaitErrno(timeout, cancellationToken);
        if (error != Errno.Success)
        {
            return error;
        }

        error = descriptor.ReadErrno(MemoryMarshal.AsBytes(new Span<T>(ref next)), out int count);
        return error == Errno.Success && count != Unsafe.SizeOf<T>() ? Errno.TimedOut : error;
    }

    /// <summary>Waits for a record and reads it, without a thread of the caller's.</summary>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The descriptor is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static async Task<T> ReadAsync<T>(this KernelDescriptor descriptor, CancellationToken cancellationToken)
        where T : unmanaged
    {
        while (true)
        {
            await descriptor.WaitForInputAsync(cancellationToken).ConfigureAwait(false);
            Errno error = descriptor.ReadErrno(TimeSpan.Zero, out T next, cancellationToken);
            if (error == Errno.Success)
            {
                return next;
            }

            // Another reader was faster.
            IommuException.ThrowIf(error is Errno.TimedOut or Errno.TryAgain ? Errno.Success : error, "read", $"descriptor {descriptor.Number}");
        }
    }

    private static int ToMilliseconds(TimeSpan timeout)
    {
        if (timeout == Timeout.InfiniteTimeSpan)
        {
            return -1;
        }

        double milliseconds = Math.Ceiling(timeout.TotalMilliseconds);
        ArgumentOutOfRangeException.ThrowIfNegative(milliseconds, nameof(timeout));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(milliseconds, int.MaxValue, nameof(timeout));
        return (int)milliseconds;
    }

    private static Errno ErrorOf(int polled) => polled > 0 ? Errno.Success : polled == 0 ? Errno.TimedOut : (Errno)(-polled);
}
