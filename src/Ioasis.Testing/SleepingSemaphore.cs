namespace Ioasis.Testing;

/// <summary>
/// A semaphore whose waiter sleeps at once. <see cref="SemaphoreSlim"/> looks for a while whether it is released, which keeps the
/// processor from the thread that would release it where both run on the same one.
/// </summary>
internal sealed class SleepingSemaphore
{
    private readonly object _lock = new();
    private int _count;

    /// <summary>Lets one waiter through, now or later.</summary>
    public void Release()
    {
        lock (_lock)
        {
            _count++;
            Monitor.Pulse(_lock);
        }
    }

    /// <summary>Waits for a release.</summary>
    public void Wait() => _ = Wait(Timeout.InfiniteTimeSpan);

    /// <summary>Waits for a release at most so long.</summary>
    /// <returns>Whether there was one.</returns>
    public bool Wait(TimeSpan limit)
    {
        lock (_lock)
        {
            while (_count == 0)
            {
                if (!Monitor.Wait(_lock, limit))
                {
                    return false;
                }
            }

            _count--;
            return true;
        }
    }
}
