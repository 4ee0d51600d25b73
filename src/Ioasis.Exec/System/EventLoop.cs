using System.Collections.Concurrent;

namespace Ioasis.Exec;

/// <summary>One thread that waits for descriptors and calls back when they can be read. Thread-safe.</summary>
internal sealed class EventLoop : IDisposable
{
    private const short In = 1;

    private readonly ConcurrentDictionary<int, Action> _watched = new();
    private readonly int _wakeUp = (int)SystemCalls.EventFd(0, SystemCalls.OpenNonBlocking | SystemCalls.OpenCloseOnExec);
    private readonly Thread _thread;
    private int _version;
    private bool _stopped;

    public EventLoop()
    {
        _thread = new(Run, 512 * 1024) { IsBackground = true, Name = "ioasis events" };
        _thread.Start();
    }

    /// <summary>Begins to watch; the callback runs again and again while the descriptor can be read.</summary>
    public void Add(int descriptor, Action ready)
    {
        _watched[descriptor] = ready;
        WakeUp();
    }

    /// <summary>Ends it. A callback that has begun may still run.</summary>
    public void Remove(int descriptor)
    {
        if (_watched.TryRemove(descriptor, out _))
        {
            WakeUp();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Volatile.Write(ref _stopped, true);
        WakeUp();
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }

        _ = SystemCalls.Close(_wakeUp);
    }

    private void WakeUp()
    {
        _ = Interlocked.Increment(ref _version);
        _ = SystemCalls.Write(_wakeUp, BitConverter.GetBytes(1ul));
    }

    private void Run()
    {
        SystemCalls.PollEntry[] entries = [];
        int seen = -1;
        while (!Volatile.Read(ref _stopped))
        {
            int version = Volatile.Read(ref _version);
            if (version != seen)
            {
                seen = version;
                entries = [.. _watched.Keys.Append(_wakeUp).Select(static fd => new SystemCalls.PollEntry { Descriptor = fd, Events = In })];
            }

            if (SystemCalls.PollMany(entries, -1) <= 0)
            {
                continue;
            }

            foreach (SystemCalls.PollEntry entry in entries)
            {
                if (entry.Ready == 0)
                {
                    continue;
                }

                if (entry.Descriptor == _wakeUp)
                {
                    ulong count = 0;
                    _ = SystemCalls.ReadNow(_wakeUp, ref count);
                }
                else if (_watched.TryGetValue(entry.Descriptor, out Action? ready))
                {
                    ready();
                }
            }
        }
    }
}
