using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// Page requests of devices: read here, made true by mapping what is missing, and answered. A group of requests has one cookie
/// and one answer. Thread-safe.
/// </summary>
public sealed class FaultQueue : IDisposable
{
    internal FaultQueue(KernelObject handle, KernelDescriptor descriptor)
    {
        Handle = handle;
        Descriptor = descriptor;
    }

    /// <summary>The object.</summary>
    public KernelObject Handle { get; }

    /// <summary>Its number in <c>/dev/iommu</c>.</summary>
    public uint Id => Handle.Id;

    /// <summary>The descriptor of the queue itself.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Reads whole groups, as many as there are and fit.</summary>
    /// <param name="requests">Gets the requests; those of a group follow each other, the last has its flag set.</param>
    /// <returns>How many requests; 0 if there is none, or the first group does not fit.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public int Read(Span<IommuHwptPgfault> requests)
    {
        Errno error = Descriptor.ReadErrno(MemoryMarshal.AsBytes(requests), out int bytes);
        IommuException.ThrowIf(error, "read", $"fault queue {Id}");
        return bytes / Unsafe.SizeOf<IommuHwptPgfault>();
    }

    /// <summary>Waits until there is a group to read.</summary>
    /// <param name="timeout">How long; 0 does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is; false after the time.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken = default) => Descriptor.Wait(timeout, cancellationToken);

    /// <summary>Waits until there is a group to read, without a thread of the caller's.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Task WaitAsync(CancellationToken cancellationToken = default) => Descriptor.WaitForInputAsync(cancellationToken);

    /// <summary>Answers a group.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if no group waits under the cookie: its device may have been detached.
    /// </returns>
    public Errno RespondErrno(uint cookie, IommuPageResponseCode code)
    {
        IommuHwptPageResponse response = new() { Cookie = cookie, Code = code };
        return Descriptor.WriteErrno(MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptPageResponse>(in response)));
    }

    /// <summary>Closes the queue, and destroys it if no page table uses it; else it goes with its descriptor.</summary>
    public void Dispose()
    {
        Descriptor.Dispose();
        Handle.Dispose();
    }
}
