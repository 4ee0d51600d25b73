using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// Faults of guests' first stages on their way to the guests: put here while the fault queue is read, delivered in order when no
/// lock is held. What nobody takes in time is dropped and counted, not kept: the host has its own report.
/// </summary>
internal sealed class GuestEventQueue
{
    /// <summary>Events that wait at most.</summary>
    public const int Capacity = 4096;

    private readonly ConcurrentQueue<(RiscVVirtualIommu Guest, IommuDevice Device, FaultRecord Record)> _events = new();
    private int _isDelivering;
    private long _dropped;

    /// <summary>Events that were dropped.</summary>
    public long Dropped => Volatile.Read(ref _dropped);

    /// <summary>Whether a fault is one of a guest's own tables, which the host knows nothing of.</summary>
    public static bool IsGuests(FaultCause cause) => cause is FaultCause.InstructionPageFault or FaultCause.ReadPageFault
        or FaultCause.WritePageFault or FaultCause.TransactionTypeDisallowed or FaultCause.PdtEntryLoadAccessFault
        or FaultCause.PdtEntryNotValid or FaultCause.PdtEntryMisconfigured or FaultCause.PdtDataCorruption;

    /// <summary>Takes a fault. Called by one thread at a time.</summary>
    /// <returns>Whether there was room.</returns>
    public bool TryAdd(RiscVVirtualIommu guest, IommuDevice device, in FaultRecord record)
    {
        if (_events.Count >= Capacity)
        {
            Volatile.Write(ref _dropped, _dropped + 1);
            return false;
        }

        _events.Enqueue((guest, device, record));
        return true;
    }

    /// <summary>Hands on what is there; one thread at a time, so that the order stays. Others leave it to that one.</summary>
    public void Deliver()
    {
        while (!_events.IsEmpty && Interlocked.CompareExchange(ref _isDelivering, 1, 0) == 0)
        {
            while (_events.TryDequeue(out (RiscVVirtualIommu Guest, IommuDevice Device, FaultRecord Record) next))
            {
                next.Guest.Report(next.Device, next.Record);
            }

            Volatile.Write(ref _isDelivering, 0);
        }
    }
}
