using System.Collections.Concurrent;
using Ioasis.VfioUser;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Exec;

/// <summary>
/// Waits for the counters of the program that devices listen to. When the program writes one, its devices are told before the write has
/// returned.
/// </summary>
internal sealed class ProgramCounters(EventLoop loop) : IEventWatcher
{
    private static readonly ConcurrentDictionary<Watched, byte> s_watched = new();

    /// <summary>Whether there are counters that devices listen to: where there are none, no write needs a look.</summary>
    public static bool AnyListens => !s_watched.IsEmpty;

    /// <summary>Some counter was written: each that has a count tells its devices now.</summary>
    public static void HearAll()
    {
        foreach (Watched counter in s_watched.Keys)
        {
            counter.Ready();
        }
    }

    /// <inheritdoc/>
    public IDisposable Watch(SafeFileHandle counter, Action ready)
    {
        Watched watched = new(loop, (int)counter.DangerousGetHandle(), ready);
        s_watched[watched] = 0;
        loop.Add(watched.Descriptor, ready);
        return watched;
    }

    // The callback keeps the owner of the descriptor, and with it the descriptor.
    private sealed class Watched(EventLoop loop, int descriptor, Action ready) : IDisposable
    {
        public int Descriptor => descriptor;

        public Action Ready => ready;

        public void Dispose()
        {
            _ = s_watched.TryRemove(this, out _);
            loop.Remove(descriptor);
        }
    }
}
