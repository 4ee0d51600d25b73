using Ioasis.Replay.Input;

namespace Ioasis.Replay.Planning;

/// <summary>Sorts accesses by step while they come; the log's order stays among equals.</summary>
/// <param name="sorted">Where they go.</param>
internal sealed class ScheduleOrder(SpilledList<ScheduledDma> sorted)
{
    private const int Batch = 1 << 14;

    private ScheduledDma[] _waiting = new ScheduledDma[Batch];
    private ulong[] _keys = [];
    private int _count;
    private int _due = Batch;

    /// <summary>Adds one.</summary>
    /// <returns>Whether <see cref="Release"/> is due.</returns>
    public bool Add(in ScheduledDma access)
    {
        if (_count == _waiting.Length)
        {
            Array.Resize(ref _waiting, _count * 2);
        }

        _waiting[_count++] = access;
        return _count >= _due;
    }

    /// <summary>Passes on those that nothing still to come goes before.</summary>
    /// <param name="before">No access still to come is placed after an earlier step than this one.</param>
    public void Release(int before)
    {
        if (_keys.Length < _count)
        {
            _keys = new ulong[_waiting.Length];
        }

        bool rises = true;
        for (int i = 0; i < _count; i++)
        {
            _keys[i] = ((ulong)(_waiting[i].AfterStep + 1) << 32) | (uint)_waiting[i].Access;
            rises &= i == 0 || _keys[i - 1] < _keys[i];
        }

        if (!rises)
        {
            Array.Sort(_keys, _waiting, 0, _count);
        }

        int passed = 0;
        while (passed < _count && _waiting[passed].AfterStep < before)
        {
            sorted.Add(_waiting[passed++]);
        }

        _count -= passed;
        Array.Copy(_waiting, passed, _waiting, 0, _count);
        _due = (2 * _count) + Batch;
    }
}
