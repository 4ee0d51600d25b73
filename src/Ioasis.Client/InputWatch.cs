using System.Runtime.CompilerServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// Waits for input of a kernel's descriptors on behalf of everybody who awaits some: one thread for all of them, which ends a second
/// after the last one has got what it waited for. Thread-safe.
/// </summary>
internal sealed class InputWatch
{
    private const int IdleMilliseconds = 1000;
    private static readonly ConditionalWeakTable<IKernelAbi, InputWatch> s_watches = [];

    private readonly IKernelAbi _kernel;
    private readonly Lock _lock = new();
    private readonly List<Waiter> _waiters = [];

    // There as long as the thread is.
    private KernelDescriptor? _wake;

    private InputWatch(IKernelAbi kernel) => _kernel = kernel;

    /// <summary>The watch of a kernel.</summary>
    public static InputWatch Of(IKernelAbi kernel) => s_watches.GetValue(kernel, static k => new(k));

    /// <summary>Waits until a descriptor has something to read, or an error to tell.</summary>
    public Task WaitAsync(KernelDescriptor descriptor, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return Task.FromCanceled(cancellationToken);
        }

        Waiter waiter = new(descriptor);
        Errno error;
        lock (_lock)
        {
            error = _wake is null ? Start() : Errno.Success;
            if (error == Errno.Success)
            {
                _waiters.Add(waiter);
                _ = _wake!.CountErrno();
            }
        }

        if (error != Errno.Success)
        {
            waiter.LetGo();
            IommuException.ThrowIf(error, "eventfd", $"a wait for descriptor {descriptor.Number}");
        }

        if (cancellationToken.CanBeCanceled)
        {
            CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
                (state, token) =>
                {
                    ((Waiter)state!).Done.TrySetCanceled(token);
                    Wake();
                },
                waiter);
            _ = waiter.Done.Task.ContinueWith(
                static (_, state) => ((CancellationTokenRegistration)state!).Dispose(),
                registration,
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
        }

        return waiter.Done.Task;
    }

    /// <summary>Has the thread look again at who waits for what.</summary>
    public void Wake()
    {
        lock (_lock)
        {
            _ = _wake?.CountErrno();
        }
    }

    private Errno Start()
    {
        Errno error = KernelDescriptor.MakeEventErrno(_kernel, out _wake);
        if (error == Errno.Success)
        {
            new Thread(Run) { IsBackground = true, Name = "input of descriptors" }.Start();
        }

        return error;
    }

    private void Run()
    {
        bool isIdle = false;
        while (TryTake(isIdle, out Waiter[] waiters, out PollDescriptor[] descriptors))
        {
            int ready = _kernel.Poll(descriptors, waiters.Length == 0 ? IdleMilliseconds : -1);
            isIdle = ready <= 0;
            for (int i = 0; i < waiters.Length; i++)
            {
                waiters[i].Look(ready, descriptors[i].Ready);
            }
        }
    }

    // What to wait for; false if nobody has waited for a second: then the thread ends.
    private bool TryTake(bool isIdle, out Waiter[] waiters, out PollDescriptor[] descriptors)
    {
        lock (_lock)
        {
            // First the counter: what is counted from here on ends the next poll at once, what came before is looked at now.
            Span<byte> count = stackalloc byte[sizeof(ulong)];
            _ = _kernel.Read(_wake!.Number, count);
            _waiters.RemoveAll(static waiter => waiter.Forgotten());
            waiters = [.. _waiters];
            descriptors =
            [
                .. waiters.Select(static waiter => new PollDescriptor { Descriptor = waiter.Number, Events = PollEvents.In }),
                new() { Descriptor = _wake.Number, Events = PollEvents.In },
            ];
            if (!isIdle || waiters.Length > 0)
            {
                return true;
            }

            _wake.Dispose();
            _wake = null;
            return false;
        }
    }

    private sealed class Waiter
    {
        private readonly KernelDescriptor _descriptor;

        public Waiter(KernelDescriptor descriptor)
        {
            bool held = false;
            descriptor.DangerousAddRef(ref held);
            _descriptor = descriptor;
        }

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Number => _descriptor.Number;

        public void Look(int polled, PollEvents ready)
        {
            if (polled < 0)
            {
                // The process dies, or the kernel is gone.
                Done.TrySetException(new IommuException((Errno)(-polled), "poll", FormattableString.Invariant($"descriptor {Number}")));
            }
            else if (ready != PollEvents.None)
            {
                Done.TrySetResult();
            }
        }

        /// <summary>Ends a wait for what was disposed of, and lets go of the descriptor of one that is done, while nothing polls it.</summary>
        public bool Forgotten()
        {
            if (_descriptor.IsDisposed)
            {
                Done.TrySetException(new ObjectDisposedException(nameof(KernelDescriptor)));
            }

            if (!Done.Task.IsCompleted)
            {
                return false;
            }

            LetGo();
            return true;
        }

        public void LetGo() => _descriptor.DangerousRelease();
    }
}
