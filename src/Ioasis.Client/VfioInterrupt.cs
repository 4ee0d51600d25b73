using System.Threading.Tasks.Sources;

namespace Ioasis.Client;

/// <summary>A vector of a <see cref="VfioInterruptSet"/>. One waiter at a time; waiting allocates nothing.</summary>
public sealed class VfioInterrupt : IValueTaskSource<ulong>
{
    private readonly Lock _lock = new();
    private ManualResetValueTaskSourceCore<ulong> _core = new() { RunContinuationsAsynchronously = true };
    private CancellationTokenRegistration _registration;
    private ulong _pending;
    private bool _isGivenOut;
    private bool _waits;
    private bool _ended;

    internal VfioInterrupt(int vector) => Vector = vector;

    /// <summary>Its number.</summary>
    public int Vector { get; }

    /// <summary>Waits until the interrupt fires; at once if it has since the last wait.</summary>
    /// <param name="cancellationToken">Ends the wait; no interrupt is lost by that.</param>
    /// <returns>How often it fired since the last wait, at least once.</returns>
    /// <exception cref="InvalidOperationException">Somebody waits already.</exception>
    /// <exception cref="ObjectDisposedException">The interrupts are, or become, disabled.</exception>
    public ValueTask<ulong> WaitAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ValueTask<ulong> task;
        lock (_lock)
        {
            if (_isGivenOut)
            {
                throw new InvalidOperationException($"Vector {Vector} is awaited already.");
            }

            if (_pending > 0)
            {
                ulong count = _pending;
                _pending = 0;
                return new(count);
            }

            ObjectDisposedException.ThrowIf(_ended, this);
            _core.Reset();
            _isGivenOut = true;
            _waits = true;
            task = new(this, _core.Version);
        }

        if (cancellationToken.CanBeCanceled)
        {
            short version = _core.Version;
            CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
                static (state, token) => ((VfioInterrupt)state!).Cancel(token), this);
            lock (_lock)
            {
                if (_waits && _core.Version == version)
                {
                    _registration = registration;
                    registration = default;
                }
            }

            registration.Dispose();
        }

        return task;
    }

    /// <inheritdoc/>
    ulong IValueTaskSource<ulong>.GetResult(short token)
    {
        lock (_lock)
        {
            // Whoever takes the result, even if it is an exception, makes room for the next wait.
            try
            {
                return _core.GetResult(token);
            }
            finally
            {
                _isGivenOut &= token != _core.Version;
            }
        }
    }

    /// <inheritdoc/>
    ValueTaskSourceStatus IValueTaskSource<ulong>.GetStatus(short token) => _core.GetStatus(token);

    /// <inheritdoc/>
    void IValueTaskSource<ulong>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    internal void Add(ulong count)
    {
        CancellationTokenRegistration registration;
        lock (_lock)
        {
            if (!_waits)
            {
                _pending += count;
                return;
            }

            registration = EndWait();
            _core.SetResult(count);
        }

        registration.Dispose();
    }

    internal void End()
    {
        CancellationTokenRegistration registration = default;
        lock (_lock)
        {
            _ended = true;
            if (_waits)
            {
                registration = EndWait();
                _core.SetException(new ObjectDisposedException(nameof(VfioInterruptSet)));
            }
        }

        registration.Dispose();
    }

    private void Cancel(CancellationToken token)
    {
        lock (_lock)
        {
            if (_waits)
            {
                // The registration is the caller: it goes by itself.
                _ = EndWait();
                _core.SetException(new OperationCanceledException(token));
            }
        }
    }

    private CancellationTokenRegistration EndWait()
    {
        CancellationTokenRegistration registration = _registration;
        _registration = default;
        _waits = false;
        return registration;
    }
}
