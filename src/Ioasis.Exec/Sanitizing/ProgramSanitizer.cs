using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec.Sanitizing;

/// <summary>
/// Follows what a program maps and unmaps and what its devices then do: each access that the IOMMU refuses, each one to memory that is not there any more, and each call that
/// cannot have been meant becomes a report. Thread-safe.
/// </summary>
/// <remarks>Faults are read before each map and unmap, so that each is judged by what was mapped when it happened.</remarks>
/// <param name="platform">The machine.</param>
/// <param name="pages">The program's memory, as devices reach it.</param>
/// <param name="options">What is looked for.</param>
internal sealed class DmaSanitizer(EmbeddedPlatform platform, ProgramPages pages, SanitizeOptions options)
{
    private const int FaultsToKeep = 64;
    private const int MostReports = 1000;
    private const int Killed = 9;

    private readonly Lock _lock = new();
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private readonly Dictionary<(Handle Handle, uint Space), MappingHistory> _spaces = [];
    private readonly List<DmaReport> _reports = [];
    private readonly List<IommuFault> _faults = [];
    private readonly HashSet<string> _modules = new(StringComparer.Ordinal);
    private readonly HashSet<int> _processes = [];
    private readonly HashSet<int> _threadGroups = [];
    private volatile bool _isEnded;
    private volatile int _program;
    private int _seenStale;

    /// <summary>The first faults, for the summary.</summary>
    public IReadOnlyList<IommuFault> Faults => _faults;

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
        if (!_isEnded)
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

    /// <summary>Whether the runtime of .NET is asked for the addresses of methods: unless the user has decided on it.</summary>
    public static bool AsksForManagedMethods => Environment.GetEnvironmentVariable(ManagedMethods.Variable) is null;

    private double Now => _watch.Elapsed.TotalSeconds;

    /// <summary>Judges what was refused so far.</summary>
    public void Drain()
    {
        lock (_lock)
        {
            while (platform.TryDequeueFault(out IommuFault fault))
            {
                if (_faults.Count < FaultsToKeep)
                {
                    _faults.Add(fault);
                }

                Report(Judge(fault));
            }

            if (pages.StaleCount > _seenStale)
            {
                IReadOnlyList<StaleDma> stale = pages.FirstStale;
                for (; _seenStale < stale.Count; _seenStale++)
                {
                    Report(Judge(stale[_seenStale]));
                }
            }
        }
    }

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
        switch (handle.Kind, request)
        {
            case (HandleKind.Container or HandleKind.Iommu, VfioRequests.IommuMapDma) when before.Length >= Marshal.SizeOf<VfioIommuType1DmaMap>():
                var vfio = MemoryMarshal.Read<VfioIommuType1DmaMap>(before);
                Mapped(caller, process, (handle, 0), vfio.Iova, vfio.Size, vfio.Vaddr, AccessOf((vfio.Flags & VfioDmaMapFlags.Read) != 0, (vfio.Flags & VfioDmaMapFlags.Write) != 0), result, isFile: false);
                break;

            case (HandleKind.Container or HandleKind.Iommu, VfioRequests.IommuUnmapDma) when before.Length >= Marshal.SizeOf<VfioIommuType1DmaUnmap>():
                var vfioUnmap = MemoryMarshal.Read<VfioIommuType1DmaUnmap>(before);
                bool isAll = (vfioUnmap.Flags & VfioDmaUnmapFlags.All) != 0;
                ulong unmapped = MemoryMarshal.Read<VfioIommuType1DmaUnmap>(after).Size;
                Unmapped(caller, (handle, 0), isAll ? 0 : vfioUnmap.Iova, isAll ? ulong.MaxValue : vfioUnmap.Size, isAll, result < 0 ? null : unmapped, result);
                break;

            case (HandleKind.Iommu, IommufdRequests.IoasMap or IommufdRequests.IoasMapFile) when before.Length >= Marshal.SizeOf<IommuIoasMap>():
                // Both have the same fields but for the memory.
                var map = MemoryMarshal.Read<IommuIoasMap>(before);
                ulong iova = MemoryMarshal.Read<IommuIoasMap>(after).Iova;
                Mapped(
                    caller, process, (handle, map.IoasId), iova, map.Length, map.UserVa,
                    AccessOf((map.Flags & IoasMapFlags.Readable) != 0, (map.Flags & IoasMapFlags.Writable) != 0), result, isFile: request == IommufdRequests.IoasMapFile);
                break;

            case (HandleKind.Iommu, IommufdRequests.IoasUnmap) when before.Length >= Marshal.SizeOf<IommuIoasUnmap>():
                var unmap = MemoryMarshal.Read<IommuIoasUnmap>(before);
                ulong count = MemoryMarshal.Read<IommuIoasUnmap>(after).Length;
                Unmapped(caller, (handle, unmap.IoasId), unmap.Iova, unmap.Length, unmap is { Iova: 0, Length: ulong.MaxValue }, result < 0 ? null : count, result);
                break;

            case (HandleKind.Iommu, IommufdRequests.Destroy) when result >= 0 && before.Length >= Marshal.SizeOf<IommuDestroy>():
                Left((handle, MemoryMarshal.Read<IommuDestroy>(before).Id));
                break;

            default:
                break;
        }
    }

    /// <summary>No process of the program has a handle any more.</summary>
    public void Closed(Handle handle)
    {
        Drain();
        lock (_lock)
        {
            foreach ((Handle Handle, uint Space) key in _spaces.Keys.Where(key => key.Handle == handle).ToArray())
            {
                Left(key);
            }
        }
    }

    /// <summary>The program is at its end.</summary>
    /// <returns>What it did wrong, the worst first, and of one kind the earliest first.</returns>
    public IReadOnlyList<DmaReport> Finish()
    {
        Drain();
        lock (_lock)
        {
            foreach ((Handle Handle, uint Space) key in _spaces.Keys.ToArray())
            {
                Left(key);
            }

            return Finished();
        }
    }

    private List<DmaReport> Finished()
    {
        // The runtime writes its map to the end.
        ManagedMethods methods = new();
        methods.Read(_threadGroups, isOurs: AsksForManagedMethods);
        SourceLines lines = new(methods, _modules);
        lines.Learn(_reports.SelectMany(static report => (ProgramMoment?[])[report.Call, report.Mapping?.Mapped, report.Mapping?.Unmapped]));
        return
        [
            .. _reports.Select(report => report with
            {
                Call = lines.Named(report.Call),
                Mapping = report.Mapping is { } mapping ? mapping with { Mapped = lines.Named(mapping.Mapped)!, Unmapped = lines.Named(mapping.Unmapped) } : null,
            })
            .Where(report => !options.Suppressions.Any(suppression => suppression.Matches(report)))
            .OrderBy(static report => report.Mistake >= DmaMistake.Overlap ? 1 : 0).ThenBy(static report => report.Seconds).ThenBy(static report => report.Mistake),
        ];
    }

    private void Mapped(
        in Caller caller, ProgramProcess process, (Handle, uint) space, ulong iova, ulong length, ulong memory, Access access, int result, bool isFile)
    {
        if (result < 0 && result != -(int)Errno.Exists)
        {
            return;
        }

        ProgramMoment moment = MomentOf(caller);
        lock (_lock)
        {
            MappingHistory history = Of(space);
            if (_processes.Add(process.Memory.Process))
            {
                _ = _threadGroups.Add(CallStack.ThreadGroupOf(caller.Thread));
            }

            TrackedMapping mapping = new(iova, length, memory, access, moment) { Process = process.Memory.Process, IsFile = isFile };
            if (result < 0)
            {
                Report(new(DmaMistake.Overlap, null, Access.None, iova, length, history.Live.FirstOrDefault(other => other.Overlaps(iova, length)), Now) { Call = moment });
                return;
            }

            if (!isFile && history.Sharing(mapping.Process, memory, length) is { } other)
            {
                Report(new(DmaMistake.Overlap, null, Access.None, iova, length, other, Now) { Call = moment });
            }

            history.Add(mapping);
        }
    }

    private void Unmapped(in Caller caller, (Handle, uint) space, ulong iova, ulong length, bool isAll, ulong? count, int result)
    {
        bool isNothing = count is 0 || result == -(int)Errno.NoEntry;
        if (result < 0 && !isNothing)
        {
            return;
        }

        ProgramMoment moment = MomentOf(caller);
        lock (_lock)
        {
            MappingHistory history = Of(space);
            if (isNothing && !isAll)
            {
                Report(new(DmaMistake.NothingUnmapped, null, Access.None, iova, length, history.LastAt(iova), Now) { Call = moment });
                return;
            }

            history.End(iova, length, moment);
        }
    }

    private void Left((Handle, uint) space)
    {
        lock (_lock)
        {
            if (!_spaces.Remove(space, out MappingHistory? history) || _isEnded)
            {
                return;
            }

            foreach (TrackedMapping mapping in history.Live)
            {
                Report(new(DmaMistake.LeftMapped, null, Access.None, mapping.Iova, mapping.Length, mapping, Now));
            }
        }
    }

    private DmaReport Judge(in IommuFault fault)
    {
        ulong iova = fault.Iova.Value;
        DeviceId device = fault.DeviceId;
        Access access = fault.Access;
        TrackedMapping? live = null;
        TrackedMapping? ended = null;
        TrackedMapping? before = null;
        foreach (MappingHistory space in _spaces.Values)
        {
            live ??= space.At(iova);
            ended ??= space.LastAt(iova);
            before ??= space.Before(iova);
        }

        return live is not null && (live.Access & access) != access ? new(DmaMistake.Direction, device, access, iova, 0, live, Now)
            : live is null && ended is not null ? new(DmaMistake.AfterUnmap, device, access, iova, 0, ended, Now)
            : live is null && before is not null ? new(DmaMistake.PastEnd, device, access, iova, 0, before, Now) { Distance = iova - (before.Iova + before.Length) }
            : new(DmaMistake.NeverMapped, device, access, iova, 0, live, Now);
    }

    private DmaReport Judge(in StaleDma dma)
    {
        TrackedMapping? mapping = null;
        foreach (MappingHistory space in _spaces.Values)
        {
            mapping ??= space.OfMemory(dma.Process, dma.Address);
        }

        ulong iova = mapping is null ? 0 : mapping.Iova + (dma.Address - mapping.Memory);
        return new(DmaMistake.FreedMemory, null, dma.Writes ? Access.Write : Access.Read, iova, 0, mapping, Now);
    }

    // A flood is one report: the same mistake with the same mapping, or in the same page.
    private void Report(DmaReport report)
    {
        DmaReport? same = _reports.Find(other => other.Mistake == report.Mistake && other.Device == report.Device && other.Access == report.Access
            && (report.Mapping is not null && report.Device is not null ? ReferenceEquals(other.Mapping, report.Mapping) : other.Iova >> 12 == report.Iova >> 12));
        if (same is not null)
        {
            same.Count++;
        }
        else if (_reports.Count < MostReports)
        {
            _reports.Add(report);
        }

        _isEnded |= options.IsFatal && report.Mistake < DmaMistake.Overlap && !options.Suppressions.Any(suppression => suppression.Matches(report));
    }

    private MappingHistory Of((Handle, uint) space)
    {
        if (!_spaces.TryGetValue(space, out MappingHistory? history))
        {
            _spaces[space] = history = new();
        }

        return history;
    }

    private ProgramMoment MomentOf(in Caller caller) => new(Now, caller.Thread, CallStack.Take(caller.Thread, _modules));

    private static Access AccessOf(bool reads, bool writes) => (reads ? Access.Read : Access.None) | (writes ? Access.Write : Access.None);
}
