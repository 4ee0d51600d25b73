using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// The open files of our kernel that the program has. For each, the program holds an unnamed file of tmpfs: dup, fork, exec, SCM_RIGHTS and
/// mappings are then the machine's kernel's affair, and it tells of the last close (inotify). Thread-safe.
/// </summary>
internal sealed unsafe class HandleTable : IDisposable
{
    private const uint Closed = 0x8 | 0x10;
    private const int EventHeader = 16;

    /// <summary>The name that Linux gives a queue of faults.</summary>
    public const string FaultQueue = "anon_inode:[iommufd-pgfault]";

    private readonly ConcurrentDictionary<FileIdentity, Handle> _handles = new();
    private readonly Dictionary<int, Handle> _watched = [];
    private readonly List<Handle> _queues = [];
    private readonly Lock _lock = new();
    private readonly KernelProcess _holder;
    private readonly byte[] _events = new byte[4096];
    private readonly byte[] _folder;

    // Handles that are there, and those whose release is under way in another thread.
    private int _unreleased;

    private HandleTable(KernelProcess holder, int inotify, byte[] folder)
    {
        _holder = holder;
        Inotify = inotify;
        _folder = folder;
    }

    /// <summary>The descriptor that can be read when something was closed.</summary>
    public int Inotify { get; }

    /// <summary>Called after a handle is gone, before the next call of the program is answered.</summary>
    public Action<Handle>? HandleClosed { get; set; }

    /// <summary>Marks the time in which a handle is closed; null where nobody wants to know.</summary>
    public Func<IDisposable>? Closing { get; set; }

    /// <summary>Counts the mappings that there are for devices.</summary>
    public Func<long>? Mappings { get; set; }

    /// <summary>Mappings that went with the close of a handle, for nobody had taken them back.</summary>
    public long LeftMapped { get; private set; }

    /// <summary>How many there are.</summary>
    public int Count => _handles.Count;

    /// <summary>Whether there are none, so that no descriptor can be one.</summary>
    public bool IsEmpty => _handles.IsEmpty;

    /// <summary>The process that holds every handle's file.</summary>
    public KernelProcess Holder => _holder;

    /// <summary>Makes a table.</summary>
    /// <returns>Null, or a sentence that says what is missing.</returns>
    public static string? TryCreate(KernelProcess holder, out HandleTable? table)
    {
        table = null;
        nint inotify = SystemCalls.InotifyInit();
        if (inotify < 0)
        {
            return $"inotify cannot be had ({SystemCalls.ToErrno(inotify)}): see fs.inotify.max_user_instances.";
        }

        foreach (string folder in (ReadOnlySpan<string>)["/dev/shm", "/tmp", "/var/tmp"])
        {
            nint file = SystemCalls.Open(folder, SystemCalls.OpenTemporary | SystemCalls.OpenReadWrite | SystemCalls.OpenCloseOnExec, 0x180);
            if (file >= 0)
            {
                _ = SystemCalls.Close((int)file);
                table = new(holder, (int)inotify, SystemCalls.ToPath(folder));
                return null;
            }
        }

        _ = SystemCalls.Close((int)inotify);
        return "neither /dev/shm nor /tmp takes an unnamed file (O_TMPFILE): mount a tmpfs at /dev/shm.";
    }

    /// <summary>Finds the handle behind a descriptor of a process.</summary>
    public Handle? Find(in FileIdentity identity) => _handles.TryGetValue(identity, out Handle? handle) ? handle : null;

    /// <summary>Makes a handle, and a file for the program.</summary>
    /// <param name="kind">What it stands for.</param>
    /// <param name="process">Who has opened the file.</param>
    /// <param name="opened">Its descriptor in that process.</param>
    /// <param name="node">Its path or name.</param>
    /// <param name="deviceNumber">Major and minor number of its node.</param>
    /// <param name="flags">Flags of open that stay with the file.</param>
    /// <param name="handle">The handle.</param>
    /// <param name="file">The file to give to the program; the caller closes it.</param>
    public Errno Add(
        HandleKind kind, KernelProcess process, int opened, string node, ulong deviceNumber, int flags, out Handle? handle, out int file)
    {
        handle = null;
        file = -1;
        int held = process.Pass(opened, _holder);
        if (held < 0)
        {
            return (Errno)(-held);
        }

        Handle made = new(kind, held, node) { DeviceNumber = deviceNumber };
        Errno error = kind == HandleKind.Queue ? OpenQueue(made, out file) : OpenFile(made, flags, out file);
        if (error != Errno.Success)
        {
            _ = _holder.Close(held);
            return error;
        }

        _ = Interlocked.Increment(ref _unreleased);
        handle = made;
        return Errno.Success;
    }

    /// <summary>Learns of everything that was closed until now. Before the next call is answered, whatever was closed before it is gone.</summary>
    public void Drain()
    {
        if (Volatile.Read(ref _unreleased) == 0)
        {
            return;
        }

        // Whoever comes here meanwhile waits until what was closed is gone.
        lock (_lock)
        {
            while (SystemCalls.Read(Inotify, _events) is var bytes && bytes > 0)
            {
                for (int at = 0; at < bytes;)
                {
                    ReadOnlySpan<byte> entry = _events.AsSpan(at);
                    int watch = BinaryPrimitives.ReadInt32LittleEndian(entry);
                    uint what = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]);
                    if ((what & Closed) != 0 && _watched.TryGetValue(watch, out Handle? handle))
                    {
                        Remove(handle);
                    }

                    at += EventHeader + BinaryPrimitives.ReadInt32LittleEndian(entry[12..]);
                }
            }

            for (int i = _queues.Count - 1; i >= 0; i--)
            {
                if (_queues[i].Pump!.IsClosed)
                {
                    Remove(_queues[i]);
                }
                else
                {
                    _ = _queues[i].Pump!.Settle();
                }
            }
        }
    }

    /// <summary>Takes a handle away: no process has its file any more, or none ever got it.</summary>
    public void Remove(Handle handle)
    {
        lock (_lock)
        {
            Detach(handle);
            Release(handle);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Handle handle in _handles.Values)
        {
            Remove(handle);
        }

        _ = SystemCalls.Close(Inotify);
    }

    private Errno OpenFile(Handle handle, int flags, out int file)
    {
        nint opened;
        file = -1;
        fixed (byte* folder = _folder)
        {
            opened = SystemCalls.Open(
                SystemCalls.AtFdCwd,
                folder,
                SystemCalls.OpenTemporary | SystemCalls.OpenReadWrite | SystemCalls.OpenCloseOnExec | (flags & SystemCalls.OpenNonBlocking),
                0x180);
        }

        if (opened < 0)
        {
            return SystemCalls.ToErrno(opened);
        }

        file = (int)opened;
        byte[] self = SystemCalls.ToPath(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{file}"));
        fixed (byte* path = self)
        {
            nint reference = SystemCalls.Open(SystemCalls.AtFdCwd, path, SystemCalls.OpenPath | SystemCalls.OpenCloseOnExec);
            nint watch = reference < 0 ? reference : Watch(handle, path);
            if (watch < 0)
            {
                _ = SystemCalls.Close(file);
                if (reference >= 0)
                {
                    _ = SystemCalls.Close((int)reference);
                }

                file = -1;
                return SystemCalls.ToErrno(watch);
            }

            handle.Path = (int)reference;
        }

        handle.Identity = Identify(file);
        _handles[handle.Identity] = handle;
        return Errno.Success;
    }

    private Errno OpenQueue(Handle handle, out int file)
    {
        file = -1;
        int* pair = stackalloc int[2];
        nint result = SystemCalls.SocketPair(pair);
        if (result < 0)
        {
            return SystemCalls.ToErrno(result);
        }

        file = pair[0];
        handle.Pump = new(_holder, handle.Descriptor, pair[1], string.Equals(handle.Node, FaultQueue, StringComparison.Ordinal) ? Marshal.SizeOf<IommuHwptPgfault>() : 1);
        handle.Identity = Identify(file);
        lock (_lock)
        {
            _queues.Add(handle);
        }

        _handles[handle.Identity] = handle;
        return Errno.Success;
    }

    private nint Watch(Handle handle, byte* path)
    {
        lock (_lock)
        {
            nint watch = SystemCalls.InotifyAdd(Inotify, path, Closed);
            if (watch >= 0)
            {
                handle.Watch = (int)watch;
                _watched[handle.Watch] = handle;
            }

            return watch;
        }
    }

    private void Detach(Handle handle)
    {
        handle.IsClosed = true;
        _ = _handles.TryRemove(handle.Identity, out _);
        _ = _queues.Remove(handle);
        if (_watched.Remove(handle.Watch))
        {
            _ = SystemCalls.InotifyRemove(Inotify, handle.Watch);
        }
    }

    private void Release(Handle handle)
    {
        long before = Mappings?.Invoke() ?? 0;
        using (Closing?.Invoke())
        {
            HandleClosed?.Invoke(handle);
            _ = _holder.Close(handle.Descriptor);
        }

        LeftMapped += Math.Max(0, before - (Mappings?.Invoke() ?? 0));

        // The last that has the queue: whoever waits there looks up for good.
        handle.Pump?.Dispose();
        if (handle.Path >= 0)
        {
            _ = SystemCalls.Close(handle.Path);
        }

        _ = Interlocked.Decrement(ref _unreleased);
    }

    private static FileIdentity Identify(int file)
    {
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        byte empty = 0;
        _ = SystemCalls.Stat(file, &empty, stat, SystemCalls.AtEmptyPath);
        return new(*(ulong*)stat, *(ulong*)(stat + 8));
    }
}
