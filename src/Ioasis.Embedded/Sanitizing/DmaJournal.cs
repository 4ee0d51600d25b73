using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>
/// What a program mapped and unmapped, and what was wrong with it: each access of a device that the IOMMU refused, each one to memory that is not there any more, and each
/// call that cannot have been meant becomes a report. Thread-safe.
/// </summary>
internal sealed class DmaJournal
{
    private const int MostReports = 1000;
    private const ulong PageSize = 4096;

    private readonly SanitizeOptions _options;
    private readonly StaleUses _uses;
    private readonly Lock _lock = new();
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private readonly Dictionary<(object Owner, uint Space), MappingHistory> _spaces = [];
    private readonly List<DmaReport> _reports = [];
    private volatile bool _isOver;
    private volatile bool _hasFreed;

    /// <summary>Begins.</summary>
    /// <param name="options">What is looked for.</param>
    public DmaJournal(SanitizeOptions options)
    {
        _options = options;
        _uses = new(Report);
    }

    /// <summary>Whether a mistake was fatal (<see cref="SanitizeOptions.IsFatal"/>).</summary>
    public bool IsOver => _isOver;

    /// <summary>Seconds since it began.</summary>
    public double Now => _watch.Elapsed.TotalSeconds;

    /// <summary>Whether the IOMMU's descriptors are called so for a map or an unmap, or to destroy what maps.</summary>
    public static bool IsOfInterest(uint request) => request is VfioRequests.IommuMapDma or VfioRequests.IommuUnmapDma
        or IommufdRequests.IoasMap or IommufdRequests.IoasMapFile or IommufdRequests.IoasUnmap or IommufdRequests.Destroy;

    /// <summary>Whether a call has an IOMMU forget what it holds of an address space, as the program wants it or because that changes.</summary>
    public static bool Forgets(uint request) => request is IommufdRequests.HwptInvalidate or IommufdRequests.Destroy
        or VfioRequests.DeviceAttachIommufdPt or VfioRequests.DeviceDetachIommufdPt;

    /// <summary>A call on a descriptor of a container or of iommufd was carried out.</summary>
    /// <param name="owner">The open file.</param>
    /// <param name="process">The process whose memory is meant.</param>
    /// <param name="request">The call.</param>
    /// <param name="before">Its argument.</param>
    /// <param name="after">What the call made of it.</param>
    /// <param name="result">0 or more, or <c>-errno</c>.</param>
    /// <param name="moment">Tells when and from where; asked at most once.</param>
    public void Called(object owner, int process, uint request, ReadOnlySpan<byte> before, ReadOnlySpan<byte> after, int result, Func<ProgramMoment> moment)
    {
        switch (request)
        {
            case VfioRequests.IommuMapDma when before.Length >= Marshal.SizeOf<VfioIommuType1DmaMap>():
                var vfio = MemoryMarshal.Read<VfioIommuType1DmaMap>(before);
                Access access = AccessOf((vfio.Flags & VfioDmaMapFlags.Read) != 0, (vfio.Flags & VfioDmaMapFlags.Write) != 0);
                Mapped((owner, 0), process, vfio.Iova, vfio.Size, vfio.Vaddr, access, result, isFile: false, moment);
                break;

            case VfioRequests.IommuUnmapDma when before.Length >= Marshal.SizeOf<VfioIommuType1DmaUnmap>():
                var vfioUnmap = MemoryMarshal.Read<VfioIommuType1DmaUnmap>(before);
                bool isAll = (vfioUnmap.Flags & VfioDmaUnmapFlags.All) != 0;
                ulong unmapped = MemoryMarshal.Read<VfioIommuType1DmaUnmap>(after).Size;
                Unmapped((owner, 0), isAll ? 0 : vfioUnmap.Iova, isAll ? ulong.MaxValue : vfioUnmap.Size, isAll, result < 0 ? null : unmapped, result, moment);
                break;

            case IommufdRequests.IoasMap or IommufdRequests.IoasMapFile when before.Length >= Marshal.SizeOf<IommuIoasMap>():
                // Both have the same fields but for the memory.
                var map = MemoryMarshal.Read<IommuIoasMap>(before);
                Mapped(
                    (owner, map.IoasId), process, MemoryMarshal.Read<IommuIoasMap>(after).Iova, map.Length, map.UserVa,
                    AccessOf((map.Flags & IoasMapFlags.Readable) != 0, (map.Flags & IoasMapFlags.Writable) != 0), result, isFile: request == IommufdRequests.IoasMapFile, moment);
                break;

            case IommufdRequests.IoasUnmap when before.Length >= Marshal.SizeOf<IommuIoasUnmap>():
                var unmap = MemoryMarshal.Read<IommuIoasUnmap>(before);
                ulong count = MemoryMarshal.Read<IommuIoasUnmap>(after).Length;
                Unmapped((owner, unmap.IoasId), unmap.Iova, unmap.Length, unmap is { Iova: 0, Length: ulong.MaxValue }, result < 0 ? null : count, result, moment);
                break;

            case IommufdRequests.Destroy when result >= 0 && before.Length >= Marshal.SizeOf<IommuDestroy>():
                Left((owner, MemoryMarshal.Read<IommuDestroy>(before).Id));
                break;

            default:
                break;
        }
    }

    /// <summary>An open file has its last descriptor closed.</summary>
    public void Closed(object owner)
    {
        lock (_lock)
        {
            foreach ((object Owner, uint Space) key in _spaces.Keys.Where(key => ReferenceEquals(key.Owner, owner)).ToArray())
            {
                Left(key);
            }
        }
    }

    /// <summary>The program is at its end: what is mapped was left so.</summary>
    public void End()
    {
        lock (_lock)
        {
            _uses.End();
            foreach ((object Owner, uint Space) key in _spaces.Keys.ToArray())
            {
                Left(key);
            }
        }
    }

    /// <summary>What was wrong so far, the worst first, and of one kind the earliest first.</summary>
    /// <param name="named">Gives the frames of a moment their names.</param>
    public IReadOnlyList<DmaReport> Reports(Func<IReadOnlyList<DmaReport>, Func<ProgramMoment?, ProgramMoment?>>? named = null)
    {
        lock (_lock)
        {
            Func<ProgramMoment?, ProgramMoment?> name = named?.Invoke(_reports) ?? (static moment => moment);
            return
            [
                .. _reports.Select(report => report with
                {
                    Call = name(report.Call),
                    Mapping = report.Mapping is { } mapping ? mapping with { Mapped = name(mapping.Mapped)!, Unmapped = name(mapping.Unmapped) } : null,
                })
                .Where(report => !IsSuppressed(report))
                .OrderBy(static report => report.Mistake >= DmaMistake.Overlap ? 1 : 0).ThenBy(static report => report.Seconds).ThenBy(static report => report.Mistake),
            ];
        }
    }

    /// <summary>An IOMMU refused an access.</summary>
    public void Judge(in IommuFault fault)
    {
        ulong iova = fault.Iova.Value;
        DeviceId device = fault.DeviceId;
        Access access = fault.Access;
        lock (_lock)
        {
            TrackedMapping? live = null;
            TrackedMapping? ended = null;
            TrackedMapping? before = null;
            foreach (MappingHistory space in _spaces.Values)
            {
                live ??= space.At(iova);
                ended ??= space.LastAt(iova);
                before ??= space.Before(iova);
            }

            Report(
                live is not null && (live.Access & access) != access ? new(DmaMistake.Direction, device, access, iova, 0, live, Now)
                : live is null && ended is not null ? new(DmaMistake.AfterUnmap, device, access, iova, 0, ended, Now)
                : live is null && before is not null ? new(DmaMistake.PastEnd, device, access, iova, 0, before, Now) { Distance = iova - (before.Iova + before.Length) }
                : new(DmaMistake.NeverMapped, device, access, iova, 0, live, Now));
        }
    }

    /// <summary>An access reached memory that the program had freed or replaced: it was not carried out.</summary>
    /// <param name="process">Whose memory.</param>
    /// <param name="address">Where.</param>
    /// <param name="writes">Whether it was a write.</param>
    public void JudgeFreed(int process, ulong address, bool writes)
    {
        lock (_lock)
        {
            TrackedMapping? mapping = null;
            foreach (MappingHistory space in _spaces.Values)
            {
                mapping ??= space.OfMemory(process, address);
            }

            ulong iova = mapping is null ? 0 : mapping.Iova + (address - mapping.Memory);
            Report(new(DmaMistake.FreedMemory, null, writes ? Access.Write : Access.Read, iova, 0, mapping, Now));
        }
    }

    /// <summary>The program frees memory, or gives it to another use. What of it is mapped is mapped to what is not the program's any more.</summary>
    /// <param name="process">Whose memory.</param>
    /// <param name="address">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="moment">Tells from where; asked only if any of it is mapped.</param>
    public void Freed(int process, ulong address, ulong length, Func<ProgramMoment> moment)
    {
        lock (_lock)
        {
            ProgramMoment? from = null;
            foreach (MappingHistory space in _spaces.Values)
            {
                foreach (TrackedMapping mapping in space.Live)
                {
                    if (length > 0 && mapping.SharesMemory(process, address, length))
                    {
                        (mapping.Freed ??= []).Add(new(address, length, from ??= moment()));
                        _hasFreed = true;
                    }
                }
            }
        }
    }

    /// <summary>An access was carried out.</summary>
    /// <param name="device">The requester.</param>
    /// <param name="access">Read or write.</param>
    /// <param name="iova">First byte.</param>
    /// <param name="length">Bytes.</param>
    public void JudgeUsed(DeviceId device, Access access, ulong iova, ulong length)
    {
        if (!_hasFreed)
        {
            return;
        }

        lock (_lock)
        {
            foreach (TrackedMapping mapping in _spaces.Values.SelectMany(static space => space.Live).Where(mapping => mapping.Freed is not null && mapping.Overlaps(iova, length)))
            {
                foreach (FreedRange freed in mapping.Freed!)
                {
                    // The first byte of the access that is freed, as memory.
                    ulong first = mapping.Memory + (Math.Max(iova, mapping.Iova) - mapping.Iova);
                    ulong last = mapping.Memory + (Math.Min(iova + (length - 1), mapping.Iova + (mapping.Length - 1)) - mapping.Iova);
                    ulong hit = Math.Max(first, freed.Memory);
                    if (hit <= last && hit - freed.Memory < freed.Length)
                    {
                        Report(new(DmaMistake.FreedMemory, device, access, mapping.Iova + (hit - mapping.Memory), 0, mapping, Now) { Freed = freed.Moment });
                    }
                }
            }
        }
    }

    /// <summary>An access was let pass by the IOMMU and found no memory, perhaps: if so, what is mapped there is gone.</summary>
    /// <param name="device">The requester.</param>
    /// <param name="access">Read or write.</param>
    /// <param name="iova">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="isGone">Whether no memory is at an address of the program.</param>
    public void JudgeGone(DeviceId device, Access access, ulong iova, ulong length, Func<ulong, bool> isGone)
    {
        lock (_lock)
        {
            foreach (MappingHistory space in _spaces.Values)
            {
                for (ulong done = 0; done < length; done = ((iova + done) | (PageSize - 1)) + 1 - iova)
                {
                    if (space.At(iova + done) is { IsFile: false } mapping && (mapping.Access & access) == access && isGone(mapping.Memory + (iova + done - mapping.Iova)))
                    {
                        Report(new(DmaMistake.FreedMemory, device, access, iova + done, 0, mapping, Now));
                        return;
                    }
                }
            }
        }
    }

    /// <summary>An access begins: see <see cref="StaleUses"/>.</summary>
    public long? BeginUse()
    {
        lock (_lock)
        {
            return _uses.Begin();
        }
    }

    /// <summary>An access used a translation that the program's page tables do not have.</summary>
    /// <param name="device">The requester.</param>
    /// <param name="access">Read or write.</param>
    /// <param name="iova">Where.</param>
    /// <param name="reached">The IOVA of the second stage that it went to; null if that is not known.</param>
    /// <param name="current">The one that the tables lead to; null for none.</param>
    /// <param name="begun">What <see cref="BeginUse"/> returned.</param>
    public void UsedStale(DeviceId device, Access access, ulong iova, ulong? reached, ulong? current, long begun)
    {
        lock (_lock)
        {
            TrackedMapping? mapping = Find(reached);
            _uses.Used(
                new(DmaMistake.StaleTranslation, device, access, iova, 0, mapping, Now)
                {
                    Reached = mapping?.Memory + (reached - mapping?.Iova),
                    Current = Find(current) is { } other ? other.Memory + (current - other.Iova) : null,
                },
                begun);
        }
    }

    /// <summary>A thread makes a call on a device or an address space that is no invalidation: see <see cref="StaleUses"/>.</summary>
    public void Call(int thread)
    {
        lock (_lock)
        {
            _uses.Call(thread);
        }
    }

    /// <summary>What is mapped may change until what this returns is disposed of.</summary>
    public IDisposable Change()
    {
        lock (_lock)
        {
            _uses.BeginCall();
        }

        return new ChangeEnd(this);
    }

    /// <summary>A thread had an IOMMU forget.</summary>
    /// <param name="thread">The thread.</param>
    /// <param name="covers">Whether an access is among what was forgotten.</param>
    public void Invalidated(int thread, Func<DmaReport, bool> covers)
    {
        lock (_lock)
        {
            _uses.Invalidated(thread, covers);
        }
    }

    private TrackedMapping? Find(ulong? iova) => iova is { } address ? _spaces.Values.Select(space => space.At(address)).FirstOrDefault(static mapping => mapping is not null) : null;

    private void Mapped(
        (object, uint) space, int process, ulong iova, ulong length, ulong memory, Access access, int result, bool isFile, Func<ProgramMoment> from)
    {
        if (result < 0 && result != -(int)Errno.Exists)
        {
            return;
        }

        ProgramMoment moment = from();
        lock (_lock)
        {
            MappingHistory history = Of(space);
            TrackedMapping mapping = new(iova, length, memory, access, moment) { Process = process, IsFile = isFile };
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

    private void Unmapped((object, uint) space, ulong iova, ulong length, bool isAll, ulong? count, int result, Func<ProgramMoment> from)
    {
        bool isNothing = count is 0 || result == -(int)Errno.NoEntry;
        if (result < 0 && !isNothing)
        {
            return;
        }

        ProgramMoment moment = from();
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

    private void Left((object, uint) space)
    {
        lock (_lock)
        {
            if (!_spaces.Remove(space, out MappingHistory? history) || _isOver)
            {
                return;
            }

            foreach (TrackedMapping mapping in history.Live)
            {
                Report(new(DmaMistake.LeftMapped, null, Access.None, mapping.Iova, mapping.Length, mapping, Now));
            }
        }
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

        _isOver |= _options.IsFatal && report.Mistake < DmaMistake.Overlap && !IsSuppressed(report);
    }

    private bool IsSuppressed(DmaReport report) => _options.Suppressions.Any(suppression => suppression.Matches(report));

    private MappingHistory Of((object, uint) space)
    {
        if (!_spaces.TryGetValue(space, out MappingHistory? history))
        {
            _spaces[space] = history = new();
        }

        return history;
    }

    private static Access AccessOf(bool reads, bool writes) => (reads ? Access.Read : Access.None) | (writes ? Access.Write : Access.None);

    private sealed class ChangeEnd(DmaJournal journal) : IDisposable
    {
        public void Dispose()
        {
            lock (journal._lock)
            {
                journal._uses.EndCall();
            }
        }
    }
}
