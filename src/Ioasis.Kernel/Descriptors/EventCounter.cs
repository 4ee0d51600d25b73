using Ioasis.Platform;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// What an event descriptor counts (Linux: <c>eventfd_ctx</c>). Interrupts of devices hold it apart from the descriptor: a
/// signal after the last descriptor was closed goes nowhere. Thread-safe.
/// </summary>
internal sealed class EventCounter(ulong value, bool isSemaphore) : IVfioEvent
{
    private const ulong Maximum = ulong.MaxValue - 1;

    // Counters that listen to each other in a ring would tell each other for ever.
    private const int MaxDepth = 16;

    [ThreadStatic]
    private static int t_depth;

    private readonly IoLock _lock = new();
    private readonly List<Action> _listeners = [];
    private ulong _value = value;

    /// <summary>Calls that wait for the count.</summary>
    public WaitQueue Waiters { get; } = new();

    /// <summary>Whether a read finds something.</summary>
    public bool CanTake
    {
        get
        {
            using (_lock.Acquire())
            {
                return _value > 0;
            }
        }
    }

    /// <summary>Whether a write of 1 fits.</summary>
    public bool CanAdd
    {
        get
        {
            using (_lock.Acquire())
            {
                return _value < Maximum;
            }
        }
    }

    /// <summary>Whether the count has overflown: only a signal does that.</summary>
    public bool HasOverflown
    {
        get
        {
            using (_lock.Acquire())
            {
                return _value == ulong.MaxValue;
            }
        }
    }

    /// <inheritdoc/>
    public void Signal()
    {
        using (_lock.Acquire())
        {
            _value += _value == ulong.MaxValue ? 0ul : 1;
        }

        Tell();
    }

    /// <inheritdoc/>
    public void Listen(Action listener)
    {
        ArgumentNullException.ThrowIfNull(listener);
        bool now;
        using (_lock.Acquire())
        {
            _listeners.Add(listener);
            now = _value > 0;
            _value = 0;
        }

        if (now)
        {
            listener();
        }
    }

    /// <inheritdoc/>
    public void Unlisten(Action listener)
    {
        using (_lock.Acquire())
        {
            _ = _listeners.Remove(listener);
        }
    }

    /// <summary>Adds to the count, unless that would pass the maximum.</summary>
    public bool TryAdd(ulong count)
    {
        using (_lock.Acquire())
        {
            if (_value > Maximum || count > Maximum - _value)
            {
                return false;
            }

            _value += count;
        }

        if (count > 0)
        {
            Tell();
        }

        return true;
    }

    /// <summary>Takes the count, or 1 of it.</summary>
    public bool TryTake(out ulong count)
    {
        using (_lock.Acquire())
        {
            count = _value == 0 ? 0 : isSemaphore ? 1 : _value;
            _value -= count;
        }

        if (count > 0)
        {
            Waiters.Wake();
        }

        return count > 0;
    }

    /// <summary>The last descriptor is gone: nobody can write any more.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            _listeners.Clear();
        }
    }

    private void Tell()
    {
        Action[] listeners = [];
        if (t_depth < MaxDepth)
        {
            using (_lock.Acquire())
            {
                listeners = [.. _listeners];

                // Whoever listens takes the count.
                _value = listeners.Length > 0 ? 0 : _value;
            }
        }

        t_depth++;
        foreach (Action listener in listeners)
        {
            listener();
        }

        t_depth--;
        Waiters.Wake();
    }
}
