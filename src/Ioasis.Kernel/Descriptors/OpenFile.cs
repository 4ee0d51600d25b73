using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// What a descriptor stands for. It lives while a descriptor, a call in progress or another open file holds it; then
/// <see cref="Release"/> undoes everything that was done through it (S1.15).
/// </summary>
internal abstract class OpenFile
{
    // Descriptors, calls in progress and files that hold this one. 0 is for ever.
    private int _references = 1;
    private int _descriptors;

    /// <summary>A descriptor of the file was made.</summary>
    public void OnDescriptorAdded() => Interlocked.Increment(ref _descriptors);

    /// <summary>A descriptor of the file is gone.</summary>
    public void OnDescriptorRemoved() => Interlocked.Decrement(ref _descriptors);

    /// <summary>
    /// A process dies that had descriptors of the file: who waits looks up. If nobody else has one, whoever is on the way to wait
    /// does not begin.
    /// </summary>
    public void InterruptWaiters() => Waiters?.Interrupt(forGood: Volatile.Read(ref _descriptors) == 0);

    /// <summary>Adds a reference, unless the file is gone already.</summary>
    public bool TryReference()
    {
        int seen = Volatile.Read(ref _references);
        while (seen > 0)
        {
            int found = Interlocked.CompareExchange(ref _references, seen + 1, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>Drops a reference; the last releases the file.</summary>
    public void Dereference()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            Release();
        }
    }

    /// <summary>An ioctl with a structure.</summary>
    /// <param name="caller">The process whose memory and descriptors are meant, and which pays for what is pinned.</param>
    /// <param name="request">Which call.</param>
    /// <param name="argument">The structure.</param>
    /// <param name="result">What a call that succeeds returns, 0 or more.</param>
    public virtual Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return Errno.NotTypewriter;
    }

    /// <summary>An ioctl with a number, or with none.</summary>
    public virtual Errno Ioctl(KernelProcess caller, uint request, nint argument, out int result)
    {
        // A structure that is not there: what Linux finds at address 0.
        result = 0;
        return Ioctl(caller, request, Span<byte>.Empty, out result);
    }

    /// <summary>Reads.</summary>
    public virtual Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        return Errno.InvalidArgument;
    }

    /// <summary>Reads the first of several events, which stays.</summary>
    public virtual Errno Peek(Span<byte> destination, out int count)
    {
        count = 0;
        return Errno.NotSupported;
    }

    /// <summary>Writes.</summary>
    public virtual Errno Write(ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        return Errno.InvalidArgument;
    }

    /// <summary>Reads from a place.</summary>
    public virtual Errno Read(Span<byte> destination, ulong offset, out int count)
    {
        count = 0;
        return Errno.IllegalSeek;
    }

    /// <summary>Writes to a place.</summary>
    public virtual Errno Write(ReadOnlySpan<byte> source, ulong offset, out int count)
    {
        count = 0;
        return Errno.IllegalSeek;
    }

    /// <summary>Maps a part into the process.</summary>
    /// <param name="offset">A multiple of the page size.</param>
    /// <param name="length">A multiple of the page size, not 0.</param>
    /// <param name="protection">What the mapping allows.</param>
    /// <param name="address">Where it is; the memory stays while the file is referenced.</param>
    public virtual Errno Map(ulong offset, ulong length, MemoryProtection protection, out nint address)
    {
        address = 0;
        return Errno.NoDevice;
    }

    /// <summary>Where a call waits until the file is ready; null for files that always are.</summary>
    public virtual WaitQueue? Waiters => null;

    /// <summary>What could be done without waiting. Files that never wait can always be read and written.</summary>
    public virtual PollEvents Poll() => PollEvents.In | PollEvents.Out;

    /// <summary>The last reference is gone. Runs once.</summary>
    protected abstract void Release();
}
