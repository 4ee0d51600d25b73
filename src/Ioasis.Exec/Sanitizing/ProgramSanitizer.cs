using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Primitives;

namespace Ioasis.Exec.Sanitizing;

/// <summary>Follows what a program of another process maps and unmaps and what its devices then do (<see cref="DmaJournal"/>). Thread-safe.</summary>
/// <remarks>Faults are read before each map and unmap, so that each is judged by what was mapped when it happened.</remarks>
internal sealed class ProgramSanitizer
{
    private const int FaultsToKeep = 64;
    private const int Killed = 9;

    private readonly Lock _lock = new();
    private readonly EmbeddedPlatform _platform;
    private readonly ProgramPages _pages;
    private readonly DmaJournal _journal;
    private readonly List<IommuFault> _faults = [];
    private readonly HashSet<string> _modules = new(StringComparer.Ordinal);
    private readonly HashSet<int> _processes = [];
    private readonly HashSet<int> _threadGroups = [];
    private volatile int _program;
    private int _seenStale;

    /// <summary>Begins to look.</summary>
    /// <param name="platform">The machine.</param>
    /// <param name="pages">The program's memory, as devices reach it.</param>
    /// <param name="options">What is looked for.</param>
    public ProgramSanitizer(EmbeddedPlatform platform, ProgramPages pages, SanitizeOptions options)
    {
        _platform = platform;
        _pages = pages;
        _journal = new(options);
        foreach (EmbeddedIommu iommu in platform.Iommus)
        {
            iommu.WatchDma(new(platform, iommu, _journal, isInProcess: false));
        }
    }

    /// <summary>The first faults, for the summary.</summary>
    public IReadOnlyList<IommuFault> Faults => _faults;

    /// <summary>Whether the runtime of .NET is asked for the addresses of methods: unless the user has decided on it.</summary>
    public static bool AsksForManagedMethods => Environment.GetEnvironmentVariable(ManagedMethods.Variable) is null;

    /// <summary>The process that the program began with; 0 before it did.</summary>
    public int Program
    {
        get => _program;
        set => _program = value;
    }

    /// <summary>Ends the program if a mistake was fatal: the process that it began with, and the one of a thread that calls.</summary>
    /// <returns>Whether it is over.</returns>
    public bool EndIfOver(int thread)
    {
        if (!_journal.IsOver)
        {
            return false;
        }

        // The one that waits for the other goes first: it must not go on when that is gone.
        if (_program > 0)
        {
            _ = SystemCalls.Kill(_program, Killed);
        }

        _ = SystemCalls.Kill(thread, Killed);
        return true;
    }

    /// <summary>Judges what was refused so far.</summary>
    public void Drain()
    {
        lock (_lock)
        {
            while (_platform.TryDequeueFault(out IommuFault fault))
            {
                if (_faults.Count < FaultsToKeep)
                {
                    _faults.Add(fault);
                }

                _journal.Judge(fault);
            }

            if (_pages.StaleCount > _seenStale)
            {
                IReadOnlyList<StaleDma> stale = _pages.FirstStale;
                for (; _seenStale < stale.Count; _seenStale++)
                {
                    StaleDma dma = stale[_seenStale];
                    _journal.JudgeFreed(dma.Process, dma.Address, dma.Writes);
                }
            }
        }
    }

    /// <summary>A thread calls on a device or an address space, and not to have an IOMMU forget.</summary>
    public void Called(int thread) => _journal.Call(thread);

    /// <summary>What is mapped may change until what this returns is disposed of.</summary>
    public IDisposable Change() => _journal.Change();

    /// <summary>A call had an IOMMU forget (<see cref="DmaJournal.Forgets"/>).</summary>
    /// <param name="thread">Who called.</param>
    /// <param name="process">Its process.</param>
    /// <param name="request">The call.</param>
    /// <param name="argument">What the call left of its argument.</param>
    public void Forgot(int thread, ProgramProcess process, uint request, ReadOnlySpan<byte> argument) =>
        _journal.Invalidated(thread, GuestInvalidation.Of(_platform, request, argument, (address, destination) => process.Memory.Read(address, destination) == Errno.Success));

    /// <summary>A call on a descriptor of ours was carried out.</summary>
    /// <param name="caller">Who called.</param>
    /// <param name="process">Its process.</param>
    /// <param name="handle">The descriptor's file.</param>
    /// <param name="request">The call.</param>
    /// <param name="before">Its argument.</param>
    /// <param name="after">What the call made of it.</param>
    /// <param name="result">0 or more, or <c>-errno</c>.</param>
    public void Called(in Caller caller, ProgramProcess process, Handle handle, uint request, ReadOnlySpan<byte> before, ReadOnlySpan<byte> after, int result)
    {
        if (handle.Kind is not (HandleKind.Container or HandleKind.Iommu) || !DmaJournal.IsOfInterest(request))
        {
            return;
        }

        int thread = caller.Thread;
        int memory = process.Memory.Process;
        _journal.Called(handle, memory, request, before, after, result, () => MomentOf(thread, memory));
    }

    /// <summary>No process of the program has a handle any more.</summary>
    public void Closed(Handle handle)
    {
        Drain();
        _journal.Closed(handle);
    }

    /// <summary>The program is at its end.</summary>
    /// <returns>What it did wrong, the worst first, and of one kind the earliest first.</returns>
    public IReadOnlyList<DmaReport> Finish()
    {
        Drain();
        _journal.End();

        // The runtime writes its map to the end.
        ManagedMethods methods = new();
        methods.Read(_threadGroups, isOurs: AsksForManagedMethods);
        SourceLines lines = new(methods, _modules);
        return _journal.Reports(reports =>
        {
            lines.Learn(reports.SelectMany(static report => report.Moments));
            return lines.Named;
        });
    }

    private ProgramMoment MomentOf(int thread, int process)
    {
        lock (_lock)
        {
            if (_processes.Add(process))
            {
                _ = _threadGroups.Add(CallStack.ThreadGroupOf(thread));
            }
        }

        return new(_journal.Now, thread, CallStack.Take(thread, _modules));
    }
}
