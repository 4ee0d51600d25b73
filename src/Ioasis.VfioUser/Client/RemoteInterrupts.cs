using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>
/// Interrupts of a function in another process on their way to counters of this one, which need not be the system's: the server gets an eventfd for each, and a
/// thread hands on what arrives. Thread-safe.
/// </summary>
internal sealed class RemoteInterrupts : IDisposable
{
    private readonly Lock _lock = new();
    private readonly SafeFileHandle _wake = SocketCalls.CreateEvent();
    private readonly Dictionary<(uint Kind, uint Vector), Route> _routes = [];
    private readonly Thread _thread;
    private bool _ends;

    private sealed record Route(SafeFileHandle Counter, IVfioEvent Event);

    public RemoteInterrupts()
    {
        _thread = new(Run) { IsBackground = true, Name = "vfio-user interrupts" };
        _thread.Start();
    }

    /// <summary>Makes the eventfd for a vector; what arrives on it goes to the counter.</summary>
    public SafeFileHandle Add(uint kind, uint vector, IVfioEvent counter)
    {
        SafeFileHandle made = SocketCalls.CreateEvent();
        lock (_lock)
        {
            _routes[(kind, vector)] = new(made, counter);
        }

        SocketCalls.Signal(_wake);
        return made;
    }

    /// <summary>Nothing is handed on for a vector any more.</summary>
    public void Remove(uint kind, uint vector)
    {
        lock (_lock)
        {
            _ = _routes.Remove((kind, vector));
        }

        SocketCalls.Signal(_wake);
    }

    /// <summary>Nothing is handed on for any vector of a kind.</summary>
    public void RemoveAll(uint kind)
    {
        lock (_lock)
        {
            foreach ((uint Kind, uint Vector) key in _routes.Keys.Where(key => key.Kind == kind).ToList())
            {
                _ = _routes.Remove(key);
            }
        }

        SocketCalls.Signal(_wake);
    }

    /// <summary>Nothing is handed on any more.</summary>
    /// <returns>The kinds of which something was.</returns>
    public IReadOnlyList<uint> TakeKinds()
    {
        uint[] kinds;
        lock (_lock)
        {
            kinds = [.. _routes.Keys.Select(static key => key.Kind).Distinct()];
            _routes.Clear();
        }

        SocketCalls.Signal(_wake);
        return kinds;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _ends = true;
            _routes.Clear();
        }

        SocketCalls.Signal(_wake);
        _thread.Join();
        _wake.Dispose();
    }

    private void Run()
    {
        while (true)
        {
            Route[] routes;
            lock (_lock)
            {
                if (_ends)
                {
                    return;
                }

                routes = [.. _routes.Values];
            }

            // The last is the one that says that there are others now.
            SafeFileHandle[] counters = [.. routes.Select(static route => route.Counter), _wake];
            foreach (int ready in SocketCalls.WaitForAny(counters))
            {
                if (SocketCalls.TakeCount(counters[ready]) > 0 && ready < routes.Length)
                {
                    routes[ready].Event.Signal();
                }
            }
        }
    }
}
