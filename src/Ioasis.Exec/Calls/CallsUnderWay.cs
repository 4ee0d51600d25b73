namespace Ioasis.Exec;

/// <summary>
/// The calls that are being answered. A process can be killed in the middle of one: its parent learns of the end at once, while the call is still
/// carried out here and holds the file that it is on. The machine's kernel tells of an end only when that has been let go. Thread-safe.
/// </summary>
internal sealed class CallsUnderWay
{
    private readonly object _lock = new();
    private readonly List<ulong> _calls = [];
    private long _deaths;

    /// <summary>Calls that ended after their callers.</summary>
    public long Deaths => Volatile.Read(ref _deaths);

    /// <summary>A call begins.</summary>
    public void Begin(ulong id)
    {
        lock (_lock)
        {
            _calls.Add(id);
        }
    }

    /// <summary>A call ends: it holds nothing any more.</summary>
    public void End(ulong id, bool isCallerGone)
    {
        lock (_lock)
        {
            _ = _calls.Remove(id);
            Volatile.Write(ref _deaths, _deaths + (isCallerGone ? 1 : 0));
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Waits for the calls whose callers are gone.</summary>
    /// <param name="id">The call that waits for them; nothing is waited for if its own caller is gone, so that no two wait for each other.</param>
    /// <param name="deaths"><see cref="Deaths"/> when it was tried.</param>
    /// <param name="source">Tells who is gone.</param>
    /// <returns>Whether there were any since then: it is worth another try.</returns>
    public bool WaitForDead(ulong id, long deaths, ICallSource source)
    {
        lock (_lock)
        {
            List<ulong> dead = _calls.FindAll(call => call != id && !source.IsValid(call));
            if (!source.IsValid(id))
            {
                return false;
            }

            while (_calls.Exists(dead.Contains))
            {
                _ = Monitor.Wait(_lock);
            }

            return dead.Count > 0 || _deaths != deaths;
        }
    }
}
