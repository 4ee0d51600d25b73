using System.Collections.Concurrent;
using Ioasis.Kernel;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// A counter of the program (eventfd) that a device signals or listens to. It is held like a file of its own: it stays when the program
/// closes its descriptor, and goes when no device refers to it any more.
/// </summary>
internal sealed class ProgramEvent(int descriptor, EventLoop loop) : IVfioEvent
{
    private const short Out = 4;

    private static readonly ConcurrentDictionary<ProgramEvent, byte> s_listening = new();

    private readonly Lock _lock = new();
    private readonly List<Action> _listeners = [];

    /// <summary>Counters that devices listen to: where there are none, no write needs a look.</summary>
    public static bool AnyListens => !s_listening.IsEmpty;

    /// <summary>Some counter was written: each that has a count tells its devices now.</summary>
    public static void HearAll()
    {
        foreach (ProgramEvent counter in s_listening.Keys)
        {
            counter.Hear();
        }
    }

    ~ProgramEvent() => _ = SystemCalls.Close(descriptor);

    /// <inheritdoc/>
    public void Signal()
    {
        // A full counter stays full, whether the program's own writes wait or not.
        if ((SystemCalls.Poll(descriptor, Out, 0) & Out) != 0)
        {
            ulong one = 1;
            _ = SystemCalls.Write(descriptor, System.Runtime.InteropServices.MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in one)));
        }

        GC.KeepAlive(this);
    }

    /// <inheritdoc/>
    public void Listen(Action listener)
    {
        lock (_lock)
        {
            _listeners.Add(listener);
            if (_listeners.Count == 1)
            {
                s_listening[this] = 0;
                loop.Add(descriptor, Hear);
            }
        }

        Hear();
    }

    /// <inheritdoc/>
    public void Unlisten(Action listener)
    {
        lock (_lock)
        {
            if (_listeners.Remove(listener) && _listeners.Count == 0)
            {
                _ = s_listening.TryRemove(this, out _);
                loop.Remove(descriptor);
            }
        }
    }

    private void Hear()
    {
        Action[] listeners;
        lock (_lock)
        {
            listeners = [.. _listeners];
        }

        ulong count = 0;
        if (listeners.Length == 0 || SystemCalls.ReadNow(descriptor, ref count) != sizeof(ulong))
        {
            return;
        }

        foreach (Action listener in listeners)
        {
            listener();
        }
    }
}
