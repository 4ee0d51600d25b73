using Ioasis.Embedded;
using Ioasis.Exec.Sanitizing;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Which system call is answered by what, and what the answers need: the handles, the processes, the view of devices. Where a call comes
/// from makes no difference here. Thread-safe.
/// </summary>
internal sealed class CallTable : IDisposable
{
    private readonly HandleTable _handles;
    private readonly PathCalls _paths;
    private readonly IoctlCalls _ioctls;
    private readonly EventLoop _loop = new();
    private readonly DevicePages _pages = new();
    private readonly Processes _processes;
    private readonly RegisterTraps _traps;
    private readonly MemoryCalls _memory;
    private readonly ProgramSanitizer? _sanitizer;

    public CallTable(ViewTree tree, EmbeddedPlatform platform, ProgramPages pages, HandleTable handles, ProgramSanitizer? sanitizer = null)
    {
        _handles = handles;
        _paths = new(tree);
        _ioctls = new(_loop, new MemoryFiles(platform.ClientMemory), platform.IommufdExtension, sanitizer);
        pages.DeviceFiles = identity => handles.Find(identity) is { Kind: HandleKind.Device };
        _processes = new(memory => platform.CreateProcess(new() { Memory = memory }), pages, _loop)
        {
            Closing = sanitizer is null ? null : sanitizer.Change,
        };
        _traps = new(_processes, handles);
        _memory = new(_processes, pages);
        _sanitizer = sanitizer;
        handles.Closing = sanitizer is null ? null : sanitizer.Change;
        handles.Mappings = () => platform.Audit.Areas;
        handles.HandleClosed = handle =>
        {
            sanitizer?.Closed(handle);
            _processes.Forget(handle);
            _pages.Forget(handle);
        };
        _loop.Add(handles.Inotify, handles.Drain);
    }

    /// <summary>The processes of the program.</summary>
    public Processes Processes => _processes;

    /// <summary>Whether the program has no descriptor and no mapping of what is ours.</summary>
    public bool IsIdle
    {
        get
        {
            _handles.Drain();
            return _handles.IsEmpty;
        }
    }

    /// <summary>Accesses of mapped registers.</summary>
    public RegisterTraps Traps => _traps;

    /// <inheritdoc/>
    public void Dispose()
    {
        _loop.Dispose();
        _handles.Dispose();
        _processes.Dispose();
        _handles.Holder.Exit();
        _paths.Dispose();
    }

    /// <summary>Whether a call takes away memory that no device can have: it goes on at once. Takes no lock and does not allocate.</summary>
    public bool IsOfNoInterest(in Notification call) => _memory.IsOfNoInterest(call);

    /// <summary>Answers a call.</summary>
    public Answer Handle(in Notification call, ICallSource source)
    {
        if (MemoryCalls.Takes(call))
        {
            _memory.Look(call, source);
            if (!MemoryCalls.MapsFile(call))
            {
                return Answer.Continue;
            }
        }

        _handles.Drain();
        Caller caller = new(call, source, _processes, _handles);
        int first = (int)call.Argument0;
        if (_sanitizer is { } sanitizer && call.Number is CallNumber.Read or CallNumber.Write or CallNumber.ReadAt or CallNumber.WriteAt && caller.FindHandle(first) is not null)
        {
            sanitizer.Called(call.Thread);
        }

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
