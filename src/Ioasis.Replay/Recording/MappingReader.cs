using System.Text;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Turns the events of a kernel trace into maps and unmaps with devices, in the recording's order. It runs ahead of what it
/// gives out by at most <see cref="Attribution.WindowSize"/>, so that its memory does not grow with the recording. This
/// folder never replays anything.
/// </summary>
internal sealed class MappingReader
{
    private readonly KernelEventSource _source;
    private readonly Attribution _attribution;
    private readonly Dictionary<int, TraceMark> _marks = [];
    private readonly HashSet<int> _attached = [];
    private readonly HashSet<int> _grouped = [];
    private readonly CancellationToken _cancellation;
    private long[] _deviceEvents = new long[16];
    private long[] _cpuEvents = new long[8];
    private bool _begun;
    private bool _mapped;
    private bool _ended;

    /// <summary>Reads a source from where it stands.</summary>
    public MappingReader(KernelEventSource source, AttributionRule rule, CancellationToken cancellationToken = default)
    {
        _source = source;
        _cancellation = cancellationToken;
        Trace = new(source.Input);
        _attribution = new(Trace, rule);
    }

    /// <summary>All else that the recording tells; whole when <see cref="TryRead"/> has returned false.</summary>
    public KernelTrace Trace { get; }

    /// <summary>Times of the IOTLB invalidations that were read since the caller cleared it last.</summary>
    public List<long> NewInvalidations { get; } = [];

    /// <summary>Marks that were read since the caller cleared it last.</summary>
    public List<TraceMark> NewMarks { get; } = [];

    /// <summary>The next map or unmap.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="TraceInputException">The file cannot be read, is cut off, or holds no event.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public bool TryRead(out MappingEvent mapping)
    {
        KernelEvent e = default;
        while (!_ended && !_attribution.IsFull)
        {
            if (!_source.TryRead(ref e))
            {
                _ended = true;
                Finish();
                break;
            }

            Event(e);
            if ((e.Line & 0xfff) == 0)
            {
                _cancellation.ThrowIfCancellationRequested();
            }
        }

        return _attribution.TryTake(out mapping);
    }

    private void Event(in KernelEvent e)
    {
        if (!_begun)
        {
            _begun = true;
            Begin(_source.Input.Machine);
        }

        Attribution.TaskState task;
        MappingEvent mapping;
        switch (e.Kind)
        {
            case KernelEventKind.Map or KernelEventKind.Unmap:
                // Direct regions, of addresses to themselves, come before their device's attach.
                _mapped |= e.Kind == KernelEventKind.Map && e.Address != e.Value;
                task = _attribution.TaskOf(e);
                mapping = new()
                {
                    TimeNs = e.TimeNs,
                    Iova = e.Address,
                    Length = e.Length,
                    Value = e.Value,
                    Line = e.Line,
                    Device = -1,
                    Task = e.Pid,
                    Context = e.Context,
                    Cpu = (ushort)Math.Max(e.Cpu, 0),
                    IsUnmap = e.Kind == KernelEventKind.Unmap,
                };
                if (mapping.IsUnmap)
                {
                    _attribution.Unmap(task, e, mapping);
                }
                else
                {
                    _attribution.Map(task, e, mapping);
                }

                break;

            case KernelEventKind.Other or KernelEventKind.Known or KernelEventKind.Unknown:
                break;

            case KernelEventKind.Mark:
                Mark(e);
                break;

            case KernelEventKind.FlushRange:
                NewInvalidations.Add(e.TimeNs);
                break;

            case KernelEventKind.AddDeviceToGroup:
                int added = Trace.Devices.Intern(e.Device);
                _grouped.Add(added);
                if (e.Value > 0)
                {
                    Trace.GroupOf[added] = (int)Math.Min(e.Value - 1, int.MaxValue);
                }

                break;

            case KernelEventKind.AttachDevice:
                int attached = Trace.Devices.Intern(e.Device);
                Trace.AttachesComeFirst |= _attached.Count == 0 && !_mapped;
                _grouped.Add(attached);
                _attached.Add(attached);
                _attribution.ClaimDirect(_attribution.TaskOf(e), attached);
                break;

            case >= KernelEventKind.ProbeMap and <= KernelEventKind.ProbeOther:
                RecorderProbe(e);
                break;

            default:
                DeviceEvent(e);
                break;
        }

        _source.Names.Count();
        _source.Input.At(e.TimeNs);
        CountCpu(e.Cpu);
    }

    // The domains that the groups were attached to before the recording began, as the recorder found them.
    private void Begin(RecordedMachine machine)
    {
        foreach (RecordedDevice device in machine.Devices)
        {
            Trace.GroupOf[Trace.Devices.Intern(device.Name)] = device.Group;
        }

        foreach (RecordedDomain domain in machine.Domains)
        {
            foreach (RecordedDevice device in machine.Devices)
            {
                if (device.Group == domain.Group)
                {
                    _attribution.Domains.Attach(domain.Address, Trace.Devices.Intern(device.Name));
                }
            }
        }
    }

    // Events that name a device, before or behind the map or unmap that they tell of.
    private void DeviceEvent(in KernelEvent e)
    {
        Attribution.TaskState task = _attribution.TaskOf(e);
        int device = CountDevice(e.Device);
        ReadOnlySpan<(ulong Address, ulong Length)> one = [(e.Address, e.Length)];
        switch (e.Kind)
        {
            case KernelEventKind.DmaMapPhys:
                _attribution.ClaimOne(task, unmap: false, e, device, Evidence.DmaMapPhys);
                break;

            case KernelEventKind.DmaMapPage:
                _attribution.ClaimOne(task, unmap: false, e, device, Evidence.DmaMapPage);
                break;

            case KernelEventKind.DmaMapResource:
                _attribution.ClaimOne(task, unmap: false, e, device, Evidence.DmaMapResource);
                break;

            case KernelEventKind.DmaUnmapPhys:
                _attribution.ClaimOne(task, unmap: true, e, device, Evidence.DmaUnmapPhys);
                break;

            case KernelEventKind.DmaUnmapPage:
                _attribution.ClaimOne(task, unmap: true, e, device, Evidence.DmaUnmapPage);
                break;

            case KernelEventKind.DmaUnmapResource:
                _attribution.ClaimOne(task, unmap: true, e, device, Evidence.DmaUnmapResource);
                break;

            case KernelEventKind.DmaAlloc:
                _attribution.ClaimMaps(task, e, one, device, Evidence.DmaAlloc);
                break;

            case KernelEventKind.DmaAllocPages:
                _attribution.ClaimMaps(task, e, one, device, Evidence.DmaAllocPages);
                break;

            case KernelEventKind.DmaAllocSgt:
                _attribution.ClaimMaps(task, e, one, device, Evidence.DmaAllocSgt);
                break;

            case KernelEventKind.DmaMapSg:
                _attribution.ClaimMaps(task, e, e.Ranges, device, Evidence.DmaMapSg);
                break;

            case KernelEventKind.DmaUnmapSg:
                Attribution.Announce(task, e, device, Evidence.DmaUnmapSg);
                break;

            case KernelEventKind.DmaFree:
                Attribution.Announce(task, e, device, Evidence.DmaFree);
                break;

            case KernelEventKind.DmaFreePages:
                Attribution.Announce(task, e, device, Evidence.DmaFreePages);
                break;

            case KernelEventKind.DmaFreeSgt:
                Attribution.Announce(task, e, device, Evidence.DmaFreeSgt);
                break;

            case KernelEventKind.IovaLink:
                Attribution.Probe(task.Links, device, e.Address + e.Value);
                break;

            case KernelEventKind.IovaDestroy:
                Attribution.Probe(task.Destroys, device, e.Address);
                break;
        }
    }

    private void RecorderProbe(in KernelEvent e)
    {
        switch (e.Kind)
        {
            case KernelEventKind.ProbeAttach:
                if (!e.Device.IsEmpty)
                {
                    _attribution.Domains.Attach(e.Domain, Trace.Devices.Intern(e.Device));
                }

                return;

            case KernelEventKind.ProbeFree:
                _attribution.Domains.Free(e.Domain);
                return;
        }

        const int dmaApi = 2;
        bool isForDmaApi = e.DomainType < 0 || (e.DomainType & dmaApi) != 0;
        Attribution.TaskState task = _attribution.TaskOf(e);
        if (e.Stack != 0)
        {
            NestedProbe(task.Calls, e, isForDmaApi);
            return;
        }

        ref Attribution.ContextState context = ref task.Of(e.Context);
        if (!isForDmaApi)
        {
            // VFIO and iommufd map for their users, whatever DMA the task did before.
            context.DmaDevice = -1;
        }

        switch (e.Kind)
        {
            case KernelEventKind.ProbeMap:
                context.BeginMap(e.Domain, e.Address, e.Length);
                break;

            case KernelEventKind.ProbeMapList:
                context.BeginMap(e.Domain, e.Address, 0);
                break;

            case KernelEventKind.ProbeUnmap:
                context.BeginUnmap(e.Domain, e.Address, e.Length);
                break;

            case KernelEventKind.ProbeDma:
                context.DmaDevice = e.Device.IsEmpty ? -1 : CountDevice(e.Device);
                break;

            case KernelEventKind.ProbeOther:
                context.DmaDevice = -1;
                break;
        }
    }

    // A probe that says where on the stack it is.
    private void NestedProbe(ProbedCalls calls, in KernelEvent e, bool isForDmaApi)
    {
        switch (e.Kind)
        {
            case KernelEventKind.ProbeMap:
                calls.BeginMap(e.Stack, e.Domain, isForDmaApi, e.Address, Math.Max(e.Length, 1));
                break;

            case KernelEventKind.ProbeMapList:
                calls.BeginMap(e.Stack, e.Domain, isForDmaApi, e.Address, 0);
                break;

            case KernelEventKind.ProbeUnmap:
                calls.BeginUnmap(e.Stack, e.Domain, isForDmaApi, e.Address, e.Length);
                break;

            case KernelEventKind.ProbeDma:
                calls.BeginDma(e.Stack, e.Device.IsEmpty ? -1 : CountDevice(e.Device));
                break;

            case KernelEventKind.ProbeOther:
                calls.BeginDma(e.Stack, -1);
                break;
        }
    }

    private void Finish()
    {
        _source.Finish();
        InputLog input = _source.Input;
        if (input.Events == 0)
        {
            throw input.NoEvents();
        }

        foreach ((string name, long count, KernelEventKind kind) in _source.Names.All())
        {
            input.SetEvents(name, count, kind == KernelEventKind.Unknown);
        }

        int cpus = Array.FindLastIndex(_cpuEvents, static n => n != 0) + 1;
        input.EventsByCpu = _cpuEvents[..cpus];
        Trace.Marks = _marks;
        Trace.AttachedDevices = _attached;
        Trace.DevicesInGroupEvents = _grouped.Count;
        Dictionary<int, long> events = [];
        for (int device = 0; device < Trace.Devices.Count; device++)
        {
            if (device < _deviceEvents.Length && _deviceEvents[device] > 0)
            {
                events.Add(device, _deviceEvents[device]);
            }
        }

        Trace.DmaEventsByDevice = events;
    }

    // mark 12: text
    private void Mark(in KernelEvent e)
    {
        TextCursor cursor = new(e.Fields);
        if (cursor.Skip("mark "u8) && cursor.TryDecimal(out ulong number) && number <= int.MaxValue && cursor.Skip(": "u8))
        {
            ReadOnlySpan<byte> text = cursor.Rest;
            text = text[..Math.Min(text.Length, 120)].TrimEnd((byte)' ');
            TraceMark mark = new((int)number, e.TimeNs, Encoding.UTF8.GetString(text), e.Line);
            _marks[(int)number] = mark;
            NewMarks.Add(mark);
        }
    }

    private int CountDevice(ReadOnlySpan<byte> name)
    {
        int device = Trace.Devices.Intern(name);
        if (device >= _deviceEvents.Length)
        {
            Array.Resize(ref _deviceEvents, device * 2);
        }

        _deviceEvents[device]++;
        return device;
    }

    private void CountCpu(int cpu)
    {
        if (cpu < 0)
        {
            return;
        }

        if (cpu >= _cpuEvents.Length)
        {
            Array.Resize(ref _cpuEvents, cpu + 8);
        }

        _cpuEvents[cpu]++;
    }
}
