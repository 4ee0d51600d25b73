using Ioasis.Embedded;
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

    private readonly PathCalls _paths;
    private readonly IoctlCalls _ioctls;
    private readonly HandleTable _handles;
    private readonly Processes _processes;
    private readonly EventLoop _loop;
    private readonly DevicePages _pages = new();
    private readonly RegisterTraps _traps;
    private readonly ILogger _logger;
    private readonly List<Thread> _threads = [];
    private NotificationSource? _source;
    private bool _mustPoll;
    private long _calls;

    private Supervisor(ViewTree tree, EmbeddedPlatform platform, ProgramPages pages, HandleTable handles, ILogger logger)
    {
        _logger = logger;
        _handles = handles;
        _loop = new();
        _paths = new(tree);
        _ioctls = new(_loop, new MemoryFiles(platform.ClientMemory));
        pages.DeviceFiles = identity => handles.Find(identity) is { Kind: HandleKind.Device };
        _processes = new(memory => platform.CreateProcess(new() { Memory = memory }), pages, _loop);
        _traps = new(_processes, handles);
        Tracer = new(_traps.CarryOut);
        _traps.Tracer = Tracer;
        handles.Mappings = () => platform.Audit.Areas;
        handles.HandleClosed = handle =>
        {
            _processes.Forget(handle);
            _pages.Forget(handle);
        };
        _loop.Add(handles.Inotify, handles.Drain);
    }

    /// <summary>Waits for the program.</summary>
    public Tracer Tracer { get; }

    /// <summary>Processes of the program that called, or executed another program.</summary>
    public int ProcessCount => _processes.Total;

    /// <summary>System calls that came here.</summary>
    public long CallCount => Volatile.Read(ref _calls);

    /// <summary>Mappings that the program left when it closed what they were in.</summary>
    public long LeftMapped => _handles.LeftMapped;

    /// <summary>Makes a supervisor.</summary>
    /// <returns>Null, or a sentence that says what is missing.</returns>
    public static string? TryCreate(
        ViewTree tree, EmbeddedPlatform platform, ProgramPages pages, ILogger logger, out Supervisor? supervisor)
    {
        supervisor = null;
        KernelProcess holder = platform.CreateProcess(new());
        string? error = HandleTable.TryCreate(holder, out HandleTable? handles);
        if (error is null)
        {
            supervisor = new(tree, platform, pages, handles!, logger);
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
        _loop.Dispose();
        _handles.Dispose();
        _processes.Dispose();
        _handles.Holder.Exit();
        _paths.Dispose();
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

            _ = Interlocked.Increment(ref _calls);
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

            source.Reply(notification.Id, answer);
        }
    }

    private Answer Handle(in Notification call)
    {
        // Our own thread on its way to start the program.
        if (call.Number is CallNumber.Execute or CallNumber.ExecuteAt)
        {
            _processes.OnExecute(call.Thread);
            return Answer.Continue;
        }

        _handles.Drain();
        Caller caller = new(call, _source!, _processes, _handles);
        int first = (int)call.Argument0;
        return call.Number switch
        {
            CallNumber.Ioctl => _ioctls.Call(caller, first, (uint)call.Argument1, call.Argument2),
            CallNumber.Read => FileCalls.TransferHere(caller, writes: false, first, call.Argument1, call.Argument2),
            CallNumber.Write => FileCalls.TransferHere(caller, writes: true, first, call.Argument1, call.Argument2),
            CallNumber.ReadAt => FileCalls.TransferAt(caller, writes: false, first, call.Argument1, call.Argument2, (long)call.Argument3),
            CallNumber.WriteAt => FileCalls.TransferAt(caller, writes: true, first, call.Argument1, call.Argument2, (long)call.Argument3),
            CallNumber.Map => FileCalls.Map(caller, _pages, _traps, (int)call.Argument4, call.Argument1, call.Argument5),
            CallNumber.OpenAt => _paths.Open(caller, first, call.Argument1, call.Argument2),
            CallNumber.Open => _paths.Open(caller, SystemCalls.AtFdCwd, call.Argument0, call.Argument1),
            CallNumber.OpenAt2 => OpenWithStructure(caller, call),
            CallNumber.StatAt => _paths.Stat(caller, first, call.Argument1, call.Argument2, (int)call.Argument3),
            CallNumber.FStat => _paths.Stat(caller, first, 0, call.Argument1, SystemCalls.AtEmptyPath),
            CallNumber.Stat => _paths.Stat(caller, SystemCalls.AtFdCwd, call.Argument0, call.Argument1, 0),
            CallNumber.LStat =>
                _paths.Stat(caller, SystemCalls.AtFdCwd, call.Argument0, call.Argument1, SystemCalls.AtSymlinkNoFollow),
            CallNumber.Statx =>
                _paths.Statx(caller, first, call.Argument1, (int)call.Argument2, (uint)call.Argument3, call.Argument4),
            CallNumber.Access => _paths.Access(caller, SystemCalls.AtFdCwd, call.Argument0, (int)call.Argument1),
            CallNumber.AccessAt or CallNumber.AccessAt2 => _paths.Access(caller, first, call.Argument1, (int)call.Argument2),
            CallNumber.ReadLink =>
                _paths.ReadLink(caller, SystemCalls.AtFdCwd, call.Argument0, call.Argument1, (int)call.Argument2),
            CallNumber.ChangeMode or CallNumber.ChangeOwner or CallNumber.ChangeLinkOwner =>
                _paths.Touch(caller, SystemCalls.AtFdCwd, call.Argument0, Errno.Success),
            CallNumber.ChangeModeAt or CallNumber.ChangeOwnerAt => _paths.Touch(caller, first, call.Argument1, Errno.Success),
            CallNumber.GetAttribute or CallNumber.GetLinkAttribute or CallNumber.ListAttributes or CallNumber.ListLinkAttributes =>
                _paths.Touch(caller, SystemCalls.AtFdCwd, call.Argument0, Errno.NotSupported),
            CallNumber.ReadLinkAt => _paths.ReadLink(caller, first, call.Argument1, call.Argument2, (int)call.Argument3),
            _ => Answer.Continue,
        };
    }

    // The flags are the first word of struct open_how.
    private Answer OpenWithStructure(in Caller caller, in Notification call)
    {
        ulong flags = 0;
        return caller.Read(call.Argument2, System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<ulong>(ref flags))) == sizeof(ulong)
            ? _paths.Open(caller, (int)call.Argument0, call.Argument1, flags)
            : Answer.Continue;
    }
}
