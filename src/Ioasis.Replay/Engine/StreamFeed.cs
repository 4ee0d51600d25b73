using System.Diagnostics;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>
/// A recording block by block as it is read. The first is a large one: it shows the devices, and whose the maps are that nothing names.
/// </summary>
internal sealed class StreamFeed : EventFeed
{
    /// <summary>Events of the first block.</summary>
    public const int FirstBlock = 1 << 16;

    private const int LaterBlock = 1 << 13;

    private readonly InputSource _source;
    private readonly MappingReader _reader;
    private readonly DeviceTable _devices = new();
    private readonly List<int> _numbers = [];
    private readonly EventBlock _block = new();
    private bool _begun;
    private int _told;
    private long _readTicks;

    /// <summary>Makes a feed.</summary>
    /// <param name="source">What the reader reads from; it stays the caller's.</param>
    /// <param name="reader">The reader.</param>
    public StreamFeed(InputSource source, MappingReader reader)
    {
        _source = source;
        _reader = reader;
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
            if (_block.IsLast)
            {
                found.UnionWith(Trace.DmaEventsByDevice.Keys.Select(device => _numbers[device]));
            }
            else
            {
                foreach (ref readonly MappingEvent e in _block.Span)
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
        EventBlock block = _block;
        Fill(block);

        // The reader goes on naming devices, and planning does: here they have numbers of their own, in the order of the blocks.
        foreach (string name in block.NewDevices)
        {
            _numbers.Add(_devices.Intern(name));
        }

        foreach (ref MappingEvent e in block.Span)
        {
            if (e.Device >= 0)
            {
                e.Device = _numbers[e.Device];
            }
        }

        return block;
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
