using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Globalization;
using Ioasis.Kernel;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>A process of the program, from its first call to us, or from its exec, on.</summary>
/// <param name="id">Its number.</param>
/// <param name="pidFd">By which its end is told.</param>
/// <param name="kernel">What it is to our kernel.</param>
/// <param name="memory">Its memory.</param>
internal sealed class ProgramProcess(int id, int pidFd, KernelProcess kernel, ProgramMemory memory)
{
    private readonly ConcurrentDictionary<Handle, int> _descriptors = new();
    private int _isOver;

    /// <summary>Its number.</summary>
    public int Id => id;

    /// <summary>By which its end is told.</summary>
    public int PidFd => pidFd;

    /// <summary>What it is to our kernel.</summary>
    public KernelProcess Kernel => kernel;

    /// <summary>Its memory.</summary>
    public ProgramMemory Memory => memory;

    /// <summary>It may have another program, with other memory, from now on: the next call finds out.</summary>
    public bool MayHaveExecuted { get; set; }

    /// <summary>The descriptor in our kernel of a handle of the process.</summary>
    /// <returns>The descriptor, or <c>-errno</c>.</returns>
    public int Find(Handle handle, KernelProcess holder)
    {
        if (_descriptors.TryGetValue(handle, out int descriptor))
        {
            return descriptor;
        }

        int passed = holder.Pass(handle.Descriptor, kernel);
        if (passed >= 0 && !_descriptors.TryAdd(handle, passed))
        {
            _ = kernel.Close(passed);
            return _descriptors.TryGetValue(handle, out descriptor) ? descriptor : -(int)Errno.BadDescriptor;
        }

        // Closed by another thread while this call came: whoever sees it later lets it go.
        if (handle.IsClosed)
        {
            Forget(handle);
            return -(int)Errno.BadDescriptor;
        }

        return passed;
    }

    /// <summary>The process has the descriptor that it opened the handle with.</summary>
    public void Remember(Handle handle, int descriptor) => _descriptors[handle] = descriptor;

    /// <summary>No process has the handle any more.</summary>
    public void Forget(Handle handle)
    {
        if (_descriptors.TryRemove(handle, out int descriptor))
        {
            _ = kernel.Close(descriptor);
        }
    }

    /// <summary>The process is gone, or its memory is.</summary>
    public void End()
    {
        if (Interlocked.Exchange(ref _isOver, 1) == 0)
        {
            kernel.Exit();
            memory.Dispose();
            _ = SystemCalls.Close(pidFd);
        }
    }
}

/// <summary>The processes of the program, found by the thread that calls. Thread-safe.</summary>
internal sealed class Processes : IDisposable
{
    private const uint OfThread = 0x80;
    private const int ThreadsToSweep = 128;
    private const short In = 1;

    private readonly ConcurrentDictionary<int, Known> _threads = new();
    private readonly ConcurrentDictionary<int, ProgramProcess> _processes = new();
    private readonly Lock _lock = new();
    private readonly Func<ProgramMemory, KernelProcess> _create;
    private readonly ProgramPages _pages;
    private readonly EventLoop _loop;

    public Processes(Func<ProgramMemory, KernelProcess> create, ProgramPages pages, EventLoop loop)
    {
        _create = create;
        _pages = pages;
        _loop = loop;
    }

    /// <summary>Marks the time in which what a process has open is closed; null where nobody wants to know.</summary>
    public Func<IDisposable>? Closing { get; init; }

    /// <summary>Processes that there were.</summary>
    public int Total { get; private set; }

    /// <summary>Those that there are.</summary>
    public IEnumerable<ProgramProcess> All => _processes.Values;

    /// <summary>Finds the process of a thread that waits for the answer to a call.</summary>
    public Errno Find(int thread, out ProgramProcess? process)
    {
        if (_threads.TryGetValue(thread, out Known known)
            && known.PidFd >= 0
            && !known.Process.MayHaveExecuted
            && (SystemCalls.Poll(known.PidFd, In, 0) & In) == 0)
        {
            process = known.Process;
            process.Memory.Thread = thread;
            return Errno.Success;
        }

        lock (_lock)
        {
            return FindSlowly(thread, out process);
        }
    }

    /// <summary>
    /// Finds the process of a thread that waits, if it has called before; one that did not is not made for this. What may execute another program
    /// is still the one that it was.
    /// </summary>
    public ProgramProcess? FindKnown(int thread)
    {
        if (_threads.TryGetValue(thread, out Known known) && (SystemCalls.Poll(known.PidFd, In, 0) & In) == 0)
        {
            return known.Process;
        }

        return !_processes.TryGetValue(FindProcessOf(thread), out ProgramProcess? process) ? null
            : process.MayHaveExecuted || Find(thread, out ProgramProcess? found) != Errno.Success ? process
            : found;
    }

    /// <summary>A thread asks for another program in its process.</summary>
    public void OnExecute(int thread)
    {
        int id = FindProcessOf(thread);
        if (_processes.TryGetValue(id, out ProgramProcess? process))
        {
            process.MayHaveExecuted = true;
        }
    }

    /// <summary>A handle is gone.</summary>
    public void Forget(Handle handle)
    {
        // A process that is about to end is waited for: it lets the handle go too.
        lock (_lock)
        {
            foreach (ProgramProcess process in _processes.Values)
            {
                process.Forget(handle);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (ProgramProcess process in _processes.Values)
        {
            End(process);
        }
    }

    private Errno FindSlowly(int thread, out ProgramProcess? process)
    {
        process = null;
        int id = FindProcessOf(thread);
        if (id < 0)
        {
            return Errno.NoEntry;
        }

        if (_processes.TryGetValue(id, out ProgramProcess? found)
            && (found.MayHaveExecuted || (SystemCalls.Poll(found.PidFd, In, 0) & In) != 0))
        {
            End(found);
            found = null;
        }

        if (found is null)
        {
            Errno error = Create(thread, id, out found);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        if (_threads.Count >= ThreadsToSweep)
        {
            Sweep();
        }

        // Without such descriptors (before Linux 6.9) each call looks.
        nint pidFd = SystemCalls.PidFdOpen(thread, thread == id ? 0 : OfThread);
        if (_threads.TryRemove(thread, out Known old) && old.PidFd >= 0)
        {
            _ = SystemCalls.Close(old.PidFd);
        }

        if (pidFd >= 0)
        {
            _threads[thread] = new(found!, (int)pidFd);
        }

        process = found;
        process!.Memory.Thread = thread;
        return Errno.Success;
    }

    private Errno Create(int thread, int id, out ProgramProcess? process)
    {
        process = null;
        nint pidFd = SystemCalls.PidFdOpen(id, 0);
        if (pidFd < 0)
        {
            return SystemCalls.ToErrno(pidFd);
        }

        Errno error = ProgramMemory.TryOpen(thread, _pages, out ProgramMemory? memory);
        if (error != Errno.Success)
        {
            _ = SystemCalls.Close((int)pidFd);
            return error;
        }

        ProgramProcess made = new(id, (int)pidFd, _create(memory!), memory!);
        _processes[id] = made;
        Total++;
        _loop.Add((int)pidFd, () => OnDeath(made));
        process = made;
        return Errno.Success;
    }

    private void OnDeath(ProgramProcess process)
    {
        lock (_lock)
        {
            End(process);
        }
    }

    private void End(ProgramProcess process)
    {
        _loop.Remove(process.PidFd);
        _ = ((ICollection<KeyValuePair<int, ProgramProcess>>)_processes).Remove(new(process.Id, process));
        foreach ((int thread, Known known) in _threads)
        {
            if (known.Process == process && _threads.TryRemove(thread, out _))
            {
                _ = SystemCalls.Close(known.PidFd);
            }
        }

        using (Closing?.Invoke())
        {
            process.End();
        }
    }

    // Threads that ended while their process lives on.
    private void Sweep()
    {
        foreach ((int thread, Known known) in _threads)
        {
            if ((SystemCalls.Poll(known.PidFd, In, 0) & In) != 0 && _threads.TryRemove(thread, out _))
            {
                _ = SystemCalls.Close(known.PidFd);
            }
        }
    }

    // "Tgid:" of /proc/N/status.
    private static int FindProcessOf(int thread)
    {
        nint file = SystemCalls.Open(string.Create(CultureInfo.InvariantCulture, $"/proc/{thread}/status"), SystemCalls.OpenCloseOnExec);
        if (file < 0)
        {
            return -1;
        }

        Span<byte> text = stackalloc byte[512];
        nint count = SystemCalls.Read((int)file, text);
        _ = SystemCalls.Close((int)file);
        text = text[..(int)Math.Max(0, count)];
        int at = text.IndexOf("\nTgid:\t"u8);
        return at >= 0 && Utf8Parser.TryParse(text[(at + 7)..], out int id, out _) ? id : -1;
    }

    private readonly record struct Known(ProgramProcess Process, int PidFd);
}
