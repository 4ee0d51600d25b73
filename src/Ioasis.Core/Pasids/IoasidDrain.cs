using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>The drain at the end of a life: those who were users when it began. One thread at a time runs it.</summary>
internal sealed class IoasidDrain(IPasidDrain[] users, long started)
{
    private readonly bool[] _stopped = new bool[users.Length];

    public long Started => started;

    public string Participant { get; private set; } = string.Empty;

    public string Holds { get; private set; } = string.Empty;

    // All are stopped before the first is waited for: the disconnect comes first (S1.8).
    public bool Run(Ioasid ioasid)
    {
        for (int i = 0; i < users.Length; i++)
        {
            if (!_stopped[i])
            {
                Errno error = users[i].Stop(ioasid);
                _stopped[i] = error == Errno.Success;
                if (!_stopped[i])
                {
                    (Participant, Holds) = (users[i].Name, string.Create(
                        CultureInfo.InvariantCulture, $"it cannot be stopped: {error}"));
                }
            }
        }

        for (int i = 0; i < users.Length; i++)
        {
            if (!_stopped[i])
            {
                return false;
            }

            if (!users[i].IsDrained(ioasid, out string? holds))
            {
                (Participant, Holds) = (users[i].Name, holds ?? string.Empty);
                return false;
            }
        }

        return true;
    }
}
