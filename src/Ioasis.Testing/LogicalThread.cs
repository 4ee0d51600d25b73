using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>Where a logical thread stands.</summary>
internal enum LogicalState
{
    /// <summary>It can run.</summary>
    Ready,

    /// <summary>It polls for something: it can run once another thread has done something.</summary>
    PollWait,

    /// <summary>It cannot run before a lock was released.</summary>
    LockWait,

    /// <summary>Its body has ended.</summary>
    Finished,
}

/// <summary>A run was cut off: unwinds the logical threads that are still in the middle of something.</summary>
internal sealed class ScheduleAbortedException : Exception
{
}

/// <summary>A logical thread of one run: the injector of the OS thread that carries it.</summary>
internal sealed class LogicalThread(ScheduleRun run, int index, string name, Action body) : IInjector
{
    public int Index => index;

    public string Name => name;

    public Action Body => body;

    public SleepingSemaphore Wake { get; } = new();

    public LogicalState State { get; set; }

    /// <summary>Points passed so far: the name of a place in a schedule.</summary>
    public int Points { get; set; }

    /// <summary>The lock that a <see cref="LogicalState.LockWait"/> is for.</summary>
    public ulong WaitsFor { get; set; }

    /// <summary>The run's progress when the thread last saw its condition unfulfilled.</summary>
    public long WaitStamp { get; set; }

    public InjectionKind? LastKind { get; set; }

    public ulong LastDetail { get; set; }

    /// <summary>Since its last wait it has done nothing that another thread could be waiting for.</summary>
    public bool Polling { get; set; }

    /// <summary>A lock that it is about to take: held if the next point is not a wait for it.</summary>
    public ulong PendingLock { get; set; }

    public List<ulong> Held { get; } = [];

    public Exception? Error { get; set; }

    public Errno OnPoint(InjectionKind kind) => run.Arrive(this, kind, 0);

    public Errno OnPoint(InjectionKind kind, ulong detail) => run.Arrive(this, kind, detail);

    public void Note(string text) => run.Note(this, text);

    /// <summary>The value of the access that was just made.</summary>
    public void Annotate(InjectionKind kind, ulong detail, ulong value) => run.Annotate(this, kind, detail, value);

    public void Left() => run.Left();

    /// <summary>What the OS thread executes.</summary>
    public void Execute()
    {
        Wake.Wait();
        Injection.Current = this;
        try
        {
            if (!run.Aborting)
            {
                body();
            }
        }
        catch (ScheduleAbortedException)
        {
            // The run is over; so is this thread.
        }
#pragma warning disable CA1031 // Whatever a body throws is the finding of the run.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Error = error;
        }
        finally
        {
            Injection.Current = null;
        }

        run.End(this);
    }
}

/// <summary>OS threads that carry logical threads, kept from run to run, all on one processor: only one of them runs at a time.</summary>
internal sealed class CarrierPool : IDisposable
{
    private readonly Stack<Carrier> _idle = new();
    private readonly int _processor = ProcessorAffinity.Choose();

    public void Start(LogicalThread thread)
    {
        Carrier? carrier;
        lock (_idle)
        {
            _ = _idle.TryPop(out carrier);
        }

        (carrier ?? new Carrier(this)).Start(thread);
    }

    /// <summary>
    /// Ends the carriers that are idle and waits until they are gone: after a run that was cut off nothing thread-local
    /// shall survive, nor shall anybody wait for what their threads were in the middle of.
    /// </summary>
    public void Dispose()
    {
        lock (_idle)
        {
            while (_idle.TryPop(out Carrier? carrier))
            {
                carrier.Stop();
            }
        }
    }

    // A semaphore of which nobody takes the wait handle has nothing to dispose of, and threads that were cut off may still release it.
#pragma warning disable CA1001
    private sealed class Carrier
#pragma warning restore CA1001
    {
        private readonly CarrierPool _pool;
        private readonly SleepingSemaphore _work = new();
        private readonly Thread _osThread;
        private LogicalThread? _thread;

        public Carrier(CarrierPool pool)
        {
            _pool = pool;
            _osThread = new(Loop, 1 << 20) { IsBackground = true, Name = "logical thread" };
            _osThread.Start();
        }

        public void Start(LogicalThread thread)
        {
            _thread = thread;
            _work.Release();
        }

        public void Stop()
        {
            _thread = null;
            _work.Release();
            _osThread.Join();
        }

        private void Loop()
        {
            ProcessorAffinity.Bind(_pool._processor);
            while (true)
            {
                _work.Wait();
                LogicalThread? thread = _thread;
                if (thread is null)
                {
                    return;
                }

                thread.Execute();
                _thread = null;
                lock (_pool._idle)
                {
                    _pool._idle.Push(this);
                }

                thread.Left();
            }
        }
    }
}
