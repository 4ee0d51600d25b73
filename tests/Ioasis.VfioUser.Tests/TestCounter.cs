using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>A counter for interrupts that is the same for every descriptor.</summary>
internal sealed class TestCounter : IVfioEvent, IVfioEventSource
{
    private int _count;

    public void Signal() => Interlocked.Increment(ref _count);

    /// <summary>Signals since the last call.</summary>
    public int Take() => Interlocked.Exchange(ref _count, 0);

    public void Listen(Action listener)
    {
    }

    public void Unlisten(Action listener)
    {
    }

    public Errno GetEventErrno(int descriptor, out IVfioEvent? counter)
    {
        counter = this;
        return Errno.Success;
    }
}
