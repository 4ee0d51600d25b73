using System.Diagnostics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// Where calls wait for a file to become ready. The one who waits registers first and looks afterwards, so that nothing
/// that happens in between is lost. Thread-safe.
/// </summary>
internal sealed class WaitQueue
{
    // A leaf: nothing is called and nothing waits under it, so the explorer of schedules need not own it.
    private readonly Lock _lock = new();
    private readonly List<Waiter> _waiters = [];
    private bool _isInterrupted;

    /// <summary>Wakes everyone, to look again.</summary>
    public void Wake() => Wake(interrupted: false, forGood: false);

    /// <summary>Ends every wait: the process that waits is dying.</summary>
    /// <param name="forGood">Whether those who come later do not wait either.</param>
    public void Interrupt(bool forGood) => Wake(interrupted: true, forGood);

    private void Wake(bool interrupted, bool forGood)
    {
        lock (_lock)
        {
            _isInterrupted |= forGood;
            foreach (Waiter waiter in _waiters)
            {
                waiter.Set(interrupted);
            }
        }
    }

    /// <summary>A call that waits, on one queue or on several.</summary>
    internal sealed class Waiter : IDisposable
    {
        private readonly ManualResetEventSlim _event = new();
        private readonly List<WaitQueue> _queues = [];
        private readonly long _start = Stopwatch.GetTimestamp();
        private volatile bool _interrupted;

        /// <summary>Adds a queue that can wake this call.</summary>
        public void Add(WaitQueue queue)
        {
            _queues.Add(queue);
            lock (queue._lock)
            {
                queue._waiters.Add(this);
                _interrupted |= queue._isInterrupted;
            }
        }

        /// <summary>Waits for a wake-up since the last call.</summary>
        /// <param name="timeoutMilliseconds">Counted from the making of this object; negative for ever.</param>
        /// <returns>Success, <see cref="Errno.TimedOut"/> or <see cref="Errno.Interrupted"/>.</returns>
        public Errno Wait(int timeoutMilliseconds)
        {
            if (_interrupted)
            {
                return Errno.Interrupted;
            }

            int left = -1;
            if (timeoutMilliseconds >= 0)
            {
                double passed = Stopwatch.GetElapsedTime(_start).TotalMilliseconds;
                left = passed >= timeoutMilliseconds ? 0 : (int)Math.Ceiling(timeoutMilliseconds - passed);
                if (left == 0)
                {
                    return Errno.TimedOut;
                }
            }

            if (Injection.IsSupported && Injection.Current is not null)
            {
                // A logical thread lets the others run instead of blocking.
                while (!_event.IsSet)
                {
                    _ = Injection.Hit(InjectionKind.Wait);
                }
            }
            else
            {
                _ = _event.Wait(left);
            }

            _event.Reset();
            return _interrupted ? Errno.Interrupted : Errno.Success;
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            foreach (WaitQueue queue in _queues)
            {
                lock (queue._lock)
                {
                    _ = queue._waiters.Remove(this);
                }
            }

            // Nobody can set the event any more.
            _event.Dispose();
        }

        internal void Set(bool interrupted)
        {
            _interrupted |= interrupted;
            _event.Set();
        }
    }
}
