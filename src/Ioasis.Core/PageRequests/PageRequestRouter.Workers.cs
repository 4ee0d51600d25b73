using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;

namespace Ioasis.Core;

/// <content>
/// Threads of its own that run handlers. One that has nothing to do looks at the backlog for a moment before it sleeps, so that
/// the next fault of a device that is faulting costs no switch of threads; and ends when it has slept for long.
/// </content>
[SuppressMessage("Design", "CA1001", Justification = "A semaphore whose wait handle nobody asks for has nothing to dispose of.")]
internal sealed partial class PageRequestRouter
{
    // Faults of a device that touches one new page after the other are closer than this. Waking a thread costs about as much.
    private static readonly TimeSpan s_alert = TimeSpan.FromMicroseconds(Environment.ProcessorCount > 1 ? 50 : 0);

    private readonly SemaphoreSlim _wake = new(0);

    // Under the lock: threads that exist, those that look at the backlog, those that sleep or are about to.
    private int _workers;
    private int _alert;
    private int _asleep;

    // The queue's length, to be looked at without the lock.
    private int _backlog;

    /// <summary>Threads that run handlers or wait for them.</summary>
    internal int WorkerCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _workers;
            }
        }
    }

    private void WakeWorker()
    {
        bool wakes;
        using (_lock.Acquire())
        {
            if (_queue.Count <= _alert)
            {
                // Those that are awake look once more before they sleep.
                return;
            }

            wakes = _asleep > 0;
            if (wakes)
            {
                _asleep--;
            }
            else if (_workers < _options.Workers)
            {
                _workers++;
            }
            else
            {
                // All are busy, and look again when they are done.
                return;
            }
        }

        if (wakes)
        {
            _ = _wake.Release();
        }
        else
        {
            new Thread(Work) { IsBackground = true, Name = "page requests" }.UnsafeStart();
        }
    }

    private void Work()
    {
        while (true)
        {
            while (TryRun())
            {
            }

            using (_lock.Acquire())
            {
                if (_queue.Count > 0)
                {
                    continue;
                }

                _alert++;
            }

            StayAlert();
            using (_lock.Acquire())
            {
                _alert--;
                if (_queue.Count > 0)
                {
                    continue;
                }

                _asleep++;
            }

            if (!_wake.Wait(_options.WorkerSleep))
            {
                using (_lock.Acquire())
                {
                    if (_asleep > 0)
                    {
                        _asleep--;
                        _workers--;
                        return;
                    }
                }

                // Somebody has just counted on this one.
                _wake.Wait();
            }
        }
    }

    // Others who want the processor get it: the device's thread may wait for this very one to run.
    private void StayAlert()
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _backlog) == 0 && Stopwatch.GetElapsedTime(start) < s_alert)
        {
            Thread.SpinWait(8);
            _ = Thread.Yield();
        }
    }
}
