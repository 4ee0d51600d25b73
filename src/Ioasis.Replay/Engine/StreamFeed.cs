using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>
/// A recording block by block as it is read: in the caller's thread, or in one of its own that is a few blocks ahead. Both give the same
/// blocks. The first is a large one: it shows the devices, and whose the maps are that nothing names.
/// </summary>
internal sealed class StreamFeed : EventFeed
{
    /// <summary>Events of the first block.</summary>
    public const int FirstBlock = 1 << 16;

    private const int LaterBlock = 1 << 13;
    private const int BlocksAhead = 4;

    private readonly InputSource _source;
    private readonly MappingReader _reader;
    private readonly DeviceTable _devices = new();
    private readonly List<int> _numbers = [];
    private readonly BlockingCollection<EventBlock>? _full;
    private readonly BlockingCollection<EventBlock>? _empty;
    private readonly Thread? _thread;
    private readonly CancellationTokenSource _stop = new();
    private ExceptionDispatchInfo? _failure;
    private EventBlock? _given;
    private bool _begun;
    private int _told;
    private long _readTicks;

    /// <summary>Makes a feed; begins to read if it does so in a thread of its own.</summary>
    /// <param name="source">What the reader reads from; it stays the caller's.</param>
    /// <param name="reader">The reader.</param>
    /// <param name="inThread">Whether to read in a thread of its own.</param>
    public StreamFeed(InputSource source, MappingReader reader, bool inThread)
    {
        _source = source;
        _reader = reader;
        if (!inThread)
        {
            return;
        }

        _full = new(BlocksAhead);
        _empty = new(BlocksAhead);
        for (int i = 0; i < BlocksAhead; i++)
        {
            _empty.Add(new());
        }

        _thread = new(ReadAll) { IsBackground = true, Name = "recording" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public override KernelTrace Trace => _reader.Trace;

    /// <inheritdoc/>
    public override DeviceTable Devices => _devices;

    /// <inheritdoc/>
    public override int[] Candidates
    {
        get
        {
            // In the last block the reader knows them; before, those that a map or unmap went to.
            HashSet<int> found = [];
            if (_given!.IsLast)
            {
                found.UnionWith(Trace.DmaEventsByDevice.Keys.Select(device => _numbers[device]));
            }
            else
            {
                foreach (ref readonly MappingEvent e in _given.Span)
                {
                    if (e.Device >= 0 && e.Evidence != Evidence.Attach)
                    {
                        found.Add(e.Device);
                    }
                }
            }

            return [.. found.Order()];
        }
    }

    /// <inheritdoc/>
    public override TimeSpan ReadTime => Stopwatch.GetElapsedTime(0, Volatile.Read(ref _readTicks));

    /// <inheritdoc/>
    public override EventBlock Next()
    {
        EventBlock block;
        if (_full is null)
        {
            block = _given ?? new();
            Fill(block);
        }
        else
        {
            if (_given is not null)
            {
                _empty!.Add(_given);
            }

            if (!_full.TryTake(out block!, Timeout.Infinite))
            {
                _failure!.Throw();
            }
        }

        // The reader goes on naming devices: here they have numbers of their own, which nobody else touches.
        foreach (string name in block.NewDevices)
        {
            _numbers.Add(_devices.Intern(name));
        }

        for (int i = 0; i < block.Count; i++)
        {
            ref MappingEvent e = ref block.Events[i];
            if (e.Device >= 0)
            {
                e.Device = _numbers[e.Device];
            }
        }

        return _given = block;
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        // Who waits for standard input may wait for ever: the thread is a background thread, and uses nothing that is disposed of here.
        _stop.Cancel();
        _thread?.Join(TimeSpan.FromSeconds(1));
        base.Dispose();
    }

    private void ReadAll()
    {
        try
        {
            bool more = true;
            while (more)
            {
                EventBlock block = _empty!.Take(_stop.Token);
                Fill(block);
                more = !block.IsLast;
                _full!.Add(block, _stop.Token);
            }
        }
        catch (OperationCanceledException e)
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }
#pragma warning disable CA1031 // Whatever it is, it is thrown again in the thread that waits for the block.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }

        _full!.CompleteAdding();
    }

    private void Fill(EventBlock block)
    {
        long began = Stopwatch.GetTimestamp();
        int size = _begun ? LaterBlock : FirstBlock;
        _begun = true;
        block.Reset(size);
        MappingEvent[] events = block.Events;
        int count = 0;
        while (count < size && _reader.TryRead(out events[count]))
        {
            count++;
        }

        block.Count = count;
        block.IsLast = count < size;
        block.Fraction = block.IsLast ? 1 : _source.Fraction;
        for (DeviceTable devices = _reader.Trace.Devices; _told < devices.Count; _told++)
        {
            block.NewDevices.Add(devices.Name(_told));
        }

        block.Invalidations.AddRange(_reader.NewInvalidations);
        _reader.NewInvalidations.Clear();
        block.Marks.AddRange(_reader.NewMarks);
        _reader.NewMarks.Clear();
        Volatile.Write(ref _readTicks, _readTicks + Stopwatch.GetTimestamp() - began);
    }
}
