using Ioasis.Embedded;
using Ioasis.Exec.Sanitizing;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Exec;

/// <summary>
/// Runs a program that takes our kernel for the machine's: its system calls on <c>/dev/iommu</c>, <c>/dev/vfio</c> and on what it gets
/// from there come here, and so do its questions to sysfs. It is not changed, not rebuilt, and needs no right that its user has
/// not. Nothing it does harms this process, and nothing of it is left when it is gone (S1.15, invariant 7).
/// </summary>
internal sealed class Supervisor : IDisposable
{
    private const int Listeners = 2;

    private readonly HandleTable _handles;
    private readonly CallTable _calls;
    private readonly CallsUnderWay _underWay = new();
    private readonly ProgramSanitizer? _sanitizer;
    private readonly ILogger _logger;
    private readonly List<Thread> _threads = [];
    private NotificationSource? _source;
    private bool _mustPoll;
    private long _count;

    private Supervisor(ViewTree tree, EmbeddedPlatform platform, ProgramPages pages, HandleTable handles, ProgramSanitizer? sanitizer, ILogger logger)
    {
        _sanitizer = sanitizer;
        _logger = logger;
        _handles = handles;
        _calls = new(tree, platform, pages, handles, sanitizer);
        Tracer = new(_calls.Traps.CarryOut);
        _calls.Traps.Watcher = Tracer.Attach;
    }

    /// <summary>Waits for the program.</summary>
    public Tracer Tracer { get; }

    /// <summary>Processes of the program that called, or executed another program.</summary>
    public int ProcessCount => _calls.Processes.Total;

    /// <summary>System calls that came here.</summary>
    public long CallCount => Volatile.Read(ref _count);

    /// <summary>Mappings that the program left when it closed what they were in.</summary>
    public long LeftMapped => _handles.LeftMapped;

    /// <summary>Makes a supervisor.</summary>
    /// <returns>Null, or a sentence that says what is missing.</returns>
    public static string? TryCreate(
        ViewTree tree, EmbeddedPlatform platform, ProgramPages pages, ProgramSanitizer? sanitizer, ILogger logger, out Supervisor? supervisor)
    {
        supervisor = null;
        KernelProcess holder = platform.CreateProcess(new());
        string? error = HandleTable.TryCreate(holder, out HandleTable? handles);
        if (error is null)
        {
            supervisor = new(tree, platform, pages, handles!, sanitizer, logger);
        }

        return error;
    }

    /// <summary>Begins to answer calls.</summary>
    public void Serve(NotificationSource source)
    {
        _source = source;
        _mustPoll = !source.UseSynchronousWakeUp();
        for (int i = 0; i < (_mustPoll ? 1 : Listeners); i++)
        {
            Thread thread = new(Listen, 1024 * 1024) { IsBackground = true, Name = "ioasis listener" };
            _threads.Add(thread);
            thread.Start();
        }
    }

    /// <summary>Waits until no process of the program is left.</summary>
    public void WaitForEnd()
    {
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _handles.Drain();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        WaitForEnd();
        _calls.Dispose();
        _source?.Dispose();
        Tracer.Dispose();
    }

    private void Listen()
    {
        const short HangUp = 0x10;
        NotificationSource source = _source!;
        while (true)
        {
            if (_mustPoll && (SystemCalls.Poll(source.Descriptor, 1, -1) & HangUp) != 0)
            {
                return;
            }

            nint result = source.Take(out Notification notification);
            if (result < 0)
            {
                // The caller died before we looked, or nobody is left.
                if (result != -(int)Errno.NoEntry && result != -(int)Errno.Interrupted)
                {
                    return;
                }

                if ((SystemCalls.Poll(source.Descriptor, 1, 0) & HangUp) != 0)
                {
                    return;
                }

                continue;
            }

            _ = Interlocked.Increment(ref _count);

            // Our own thread too comes here on its way to the program and to its end: nothing that it may hold is needed for this answer.
            if (_calls.IsOfNoInterest(notification))
            {
                _ = source.TryReply(notification.Id, Answer.Continue);
                continue;
            }

            _underWay.Begin(notification.Id);
            Answer answer;
            try
            {
                answer = Handle(notification);
            }
#pragma warning disable CA1031 // Whatever goes wrong with one call, the program gets an answer and others go on (invariant 7).
            catch (Exception e)
#pragma warning restore CA1031
            {
                _logger.LogError(e, "system call {Number} of thread {Thread} failed", notification.Number, notification.Thread);
                answer = Answer.Of(Errno.IoError);
            }

            _underWay.End(notification.Id, isCallerGone: !source.TryReply(notification.Id, answer));
        }
    }

    private Answer Handle(in Notification call)
    {
        if (_sanitizer is { } sanitizer)
        {
            sanitizer.Drain();
            if (sanitizer.EndIfOver(call.Thread))
            {
                return Answer.Of(Errno.Interrupted);
            }
        }

        // Our own thread on its way to start the program.
        if (call.Number is CallNumber.Execute or CallNumber.ExecuteAt)
        {
            _calls.Processes.OnExecute(call.Thread);
            return Answer.Continue;
        }

        while (true)
        {
            long deaths = _underWay.Deaths;
            Answer answer = _calls.Handle(call, _source!);

            // A process that is dead holds nothing: its parent may have been told of its end already.
            if (!answer.IsError(Errno.Busy) || !_underWay.WaitForDead(call.Id, deaths, _source!))
            {
                return answer;
            }
        }
    }
}
