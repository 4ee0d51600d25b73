using Ioasis.Core;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A descriptor that tells a program what happens in a set: IOASIDs allocated, bound, unbound, freed and recycled, by whomever.
/// It holds neither the set nor an IOASID: what ends, ends, and its events can be read afterwards.
/// </summary>
internal sealed class IoasidEventsFile(PasidSet set) : IoasidQueueFile<IoasidSetEvent>, IPasidObserver
{
    /// <summary>Hears what happens from now on, and nothing before.</summary>
    public void Begin() => set.Subscribe(this);

    /// <inheritdoc/>
    public void OnPasidEvent(PasidEventKind kind, Ioasid ioasid)
    {
        IoasidSetEvent added = new()
        {
            Kind = kind switch
            {
                PasidEventKind.Allocated => IoasidSetEventKind.Allocated,
                PasidEventKind.Bound => IoasidSetEventKind.Bound,
                PasidEventKind.Unbound => IoasidSetEventKind.Unbound,
                PasidEventKind.Freed => IoasidSetEventKind.Freed,
                _ => IoasidSetEventKind.Recycled,
            },
            Ioasid = ioasid.Pasid.Value,
            Guest = ioasid.Guest?.Value ?? IoasidSetEvent.NoGuest,
            SetId = set.Id.Value,
        };
        lock (QueueLock)
        {
            if (!AddOrLose(added))
            {
                return;
            }
        }

        Waiters.Wake();
    }

    /// <inheritdoc/>
    protected override void Release() => set.Unsubscribe(this);

    /// <inheritdoc/>
    protected override void SetLost(ref IoasidSetEvent added, uint lost) => added.Lost = lost;
}
