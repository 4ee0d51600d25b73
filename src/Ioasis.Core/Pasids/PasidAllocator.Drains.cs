using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Ioasis.Core;

/// <content>Drains that did not end in time: they are told, kept, and tried again; what they cover is never freed (S2.1).</content>
internal sealed partial class PasidAllocator
{
    private readonly ConcurrentDictionary<Ioasid, byte> _late = new();
    private readonly ConcurrentDictionary<(Ioasid Ioasid, IPasidDrain User), PasidDrainReport> _lateUsers = new();

    /// <summary>Who holds up which drain.</summary>
    public IReadOnlyList<PasidDrainReport> GetDrainReports() =>
        [.. _late.Keys.Select(static ioasid => ioasid.ReportDrain()).OfType<PasidDrainReport>(), .. _lateUsers.Values];

    /// <summary>Goes on with the drains that did not end in time. Does not wait; call it now and then.</summary>
    public void Poll()
    {
        foreach (Ioasid ioasid in _late.Keys)
        {
            if (ioasid.TryFinishDrain())
            {
                OnDrainEnded(ioasid);
            }
        }
    }

    internal void OnDrainLate(Ioasid ioasid)
    {
        if (_late.TryAdd(ioasid, 0) && ioasid.ReportDrain() is { } report)
        {
            Warn(report);
        }
    }

    internal void OnDrainEnded(Ioasid ioasid)
    {
        if (!_late.IsEmpty)
        {
            _ = _late.TryRemove(ioasid, out _);
        }
    }

    internal void OnUserLate(IPasidDrain user, PasidDrainReport report)
    {
        if (!_lateUsers.ContainsKey((report.Ioasid, user)))
        {
            Warn(report);
        }

        _lateUsers[(report.Ioasid, user)] = report;
    }

    internal void OnUserGone(IPasidDrain user, Ioasid ioasid)
    {
        if (!_lateUsers.IsEmpty)
        {
            _ = _lateUsers.TryRemove((ioasid, user), out _);
        }
    }

    private void Warn(PasidDrainReport report) => _logger.LogWarning(
        "PASID {Pasid} is not drained after {Duration}: {Participant} waits for {Holds}; it stays taken",
        report.Ioasid.Pasid,
        report.Duration,
        report.Participant,
        report.Holds);
}
