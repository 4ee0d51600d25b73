using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A descriptor that tells a program what happens in a set: IOASIDs allocated, bound, unbound, freed and recycled, by whomever.
/// It holds neither the set nor an IOASID: what ends, ends, and its events can be read afterwards.
/// </summary>
internal sealed class IoasidEventsFile : OpenFile, IPasidObserver
{
    // A subscriber that does not read fills no memory: the rest is counted.
    private const int QueueLimit = 1024;

    private readonly PasidSet _set;
    private readonly Lock _lock = new();
    private readonly Queue<IoasidSetEvent> _events = new();
    private uint _lost;

    /// <summary>Makes a subscription that hears nothing yet; see <see cref="Begin"/>.</summary>
    public IoasidEventsFile(PasidSet set) => _set = set;

    /// <inheritdoc/>
    public override WaitQueue Waiters { get; } = new();

    /// <summary>Hears what happens from now on.</summary>
    public void Begin() => _set.Subscribe(this);

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return Errno.NotTypewriter;
    }

    /// <summary>Reads whole events, as many as fit; 0 bytes if there is none. A buffer that none fits is EINVAL.</summary>
    public override Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        int size = Unsafe.SizeOf<IoasidSetEvent>();
        if (destination.Length < size)
        {
            return Errno.InvalidArgument;
        }

        lock (_lock)
        {
            while (destination.Length - count >= size && _events.TryDequeue(out IoasidSetEvent next))
            {
                MemoryMarshal.Write(destination[count..], next);
                count += size;
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override PollEvents Poll()
    {
        lock (_lock)
        {
            return _events.Count > 0 ? PollEvents.In : PollEvents.None;
        }
    }

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
            SetId = _set.Id.Value,
        };
        lock (_lock)
        {
            if (_events.Count >= QueueLimit)
            {
                _lost += _lost < uint.MaxValue ? 1u : 0;
                return;
            }

            added.Lost = _lost;
            _lost = 0;
            _events.Enqueue(added);
        }

        Waiters.Wake();
    }

    /// <inheritdoc/>
    protected override void Release() => _set.Unsubscribe(this);
}
