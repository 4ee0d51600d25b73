using Microsoft.Extensions.Logging;

namespace Ioasis.Core;

/// <summary>For a driver: keeps a flood of one kind of log lines down to a rate, and says how many were left out. Not thread-safe.</summary>
/// <param name="time">The clock.</param>
/// <param name="logger">Where the lines go.</param>
/// <param name="name">Whose lines they are.</param>
/// <param name="perSecond">Most lines in a second.</param>
internal sealed class LogLimiter(TimeProvider time, ILogger logger, string name, int perSecond)
{
    private long _windowStart = time.GetTimestamp();
    private int _loggedInWindow;
    private long _suppressed;

    /// <summary>Whether one more line may be logged now; if not, it is counted.</summary>
    public bool MayLog()
    {
        if (time.GetElapsedTime(_windowStart) >= TimeSpan.FromSeconds(1))
        {
            if (_suppressed != 0)
            {
                logger.LogWarning("{Name}: {Count} more faults were not logged", name, _suppressed);
            }

            _windowStart = time.GetTimestamp();
            _loggedInWindow = 0;
            _suppressed = 0;
        }

        if (_loggedInWindow < perSecond)
        {
            _loggedInWindow++;
            return true;
        }

        _suppressed++;
        return false;
    }
}
