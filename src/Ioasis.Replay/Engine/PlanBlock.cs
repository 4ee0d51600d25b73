using Ioasis.Primitives;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>A call that the replay has to make, with what it has to know of the areas.</summary>
internal struct PlannedCall
{
    /// <summary>The call.</summary>
    public PlanCall Call;

    /// <summary>Map: recorded physical address of the first byte. Unmap: bytes that are mapped there, and go.</summary>
    public ulong Value;

    /// <summary>Unmap: where its areas begin in the block.</summary>
    public int FirstEnded;

    /// <summary>Unmap: how many areas end; 0 for a map.</summary>
    public int EndedCount;

    /// <summary>Whether it maps one area.</summary>
    public readonly bool IsMap => EndedCount == 0;
}

/// <summary>A device that the replay has to have.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Id">Its requester ID.</param>
internal readonly record struct PlannedDevice(string Name, DeviceId Id);

/// <summary>
/// A piece of a plan, on its way from who plans to who replays: only one of them has it at a time. Used again and again, so that a
/// long recording allocates nothing.
/// </summary>
internal sealed class PlanBlock
{
    private PlannedCall[] _calls = new PlannedCall[1 << 10];
    private AddressRange[] _ended = new AddressRange[1 << 10];
    private int _count;
    private int _endedCount;

    /// <summary>The calls, in order.</summary>
    public ReadOnlySpan<PlannedCall> Calls => _calls.AsSpan(0, _count);

    /// <summary>Devices that are new: they come before the calls.</summary>
    public List<PlannedDevice> NewDevices { get; } = [];

    /// <summary>Calls with which a sample of the hardware's counters is due, by their numbers in the block, and the time it counts for.</summary>
    public List<(int Call, double Seconds)> Samples { get; } = [];

    /// <summary>How much of the recording the block ends with, 0 to 1.</summary>
    public double Fraction { get; set; }

    /// <summary>Whether it is the last one.</summary>
    public bool IsLast { get; set; }

    /// <summary>The areas that an unmap ends, by start.</summary>
    public ReadOnlySpan<AddressRange> EndedBy(in PlannedCall call) => _ended.AsSpan(call.FirstEnded, call.EndedCount);

    /// <summary>Empties it.</summary>
    public void Reset()
    {
        _count = 0;
        _endedCount = 0;
        NewDevices.Clear();
        Samples.Clear();
        IsLast = false;
    }

    /// <summary>Adds a map.</summary>
    public void Map(in PlanCall call, in LiveArea area)
    {
        ref PlannedCall added = ref Add();
        added.Call = call;
        added.Value = area.Physical;
        added.EndedCount = 0;
    }

    /// <summary>Adds an unmap.</summary>
    public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        if (_endedCount + ended.Length > _ended.Length)
        {
            Array.Resize(ref _ended, Math.Max(_ended.Length * 2, _endedCount + ended.Length));
        }

        ref PlannedCall added = ref Add();
        added.Call = call;
        added.Value = 0;
        added.FirstEnded = _endedCount;
        added.EndedCount = ended.Length;
        foreach (ref readonly LiveArea area in ended)
        {
            _ended[_endedCount++] = new(area.Start, area.Start + (area.Length - 1));
            added.Value += area.Length;
        }
    }

    /// <summary>With the call that was added last, a sample of the hardware's counters is due.</summary>
    public void Sample(double seconds) => Samples.Add((_count - 1, seconds));

    private ref PlannedCall Add()
    {
        if (_count == _calls.Length)
        {
            Array.Resize(ref _calls, _count * 2);
        }

        return ref _calls[_count++];
    }
}
