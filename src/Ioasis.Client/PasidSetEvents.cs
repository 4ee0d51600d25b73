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
    /// <param name="timeout">How long; 0 does not wait, <see cref="Timeout.InfiniteTimeSpan"/> waits for ever.</param>
    /// <param name="next">The event.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Success; <see cref="Errno.TimedOut"/>; or what the kernel answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A time that is negative, or more than <see cref="int.MaxValue"/> milliseconds.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public Errno ReadErrno(TimeSpan timeout, out IoasidSetEvent next, CancellationToken cancellationToken = default) =>
        Descriptor.ReadErrno(timeout, out next, cancellationToken);

    /// <summary>Waits for an event and reads it, without a thread of the caller's.</summary>
    /// <param name="cancellationToken">Ends the wait; no event is lost by that.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The descriptor is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public Task<IoasidSetEvent> ReadAsync(CancellationToken cancellationToken = default) => Descriptor.ReadAsync<IoasidSetEvent>(cancellationToken);

    /// <summary>Closes the descriptor.</summary>
    public void Dispose() => Descriptor.Dispose();
}
