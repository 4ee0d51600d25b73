using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A guest's events of one kind on their way to a program (Linux: <c>iommufd_veventq</c>). It holds a limited number; what
/// does not fit is lost, which gaps in the numbers tell, and a header without event at the end as long as nothing follows.
/// </summary>
internal sealed class VirtualEventQueueObject : KernelObject, IEventQueue
{
    private readonly IoLock _lock = new();
    private readonly Queue<(uint Sequence, byte[] Data)> _events = new();
    private readonly VirtualIommuObject _virtualIommu;
    private readonly uint _depth;
    private uint _sequence;
    private uint _lostSequence;
    private bool _lost;

    /// <summary>Makes a queue; the virtual IOMMU is used from now on.</summary>
    public VirtualEventQueueObject(VirtualIommuObject virtualIommu, uint type, uint depth)
    {
        virtualIommu.Keep();
        _virtualIommu = virtualIommu;
        _depth = depth;
        Type = type;
    }

    /// <summary>Kind of the events.</summary>
    public uint Type { get; }

    /// <inheritdoc/>
    public WaitQueue Waiters { get; } = new();

    /// <inheritdoc/>
    public bool CanRead
    {
        get
        {
            using (_lock.Acquire())
            {
                return _events.Count > 0 || _lost;
            }
        }
    }

    /// <summary>An event has happened.</summary>
    public void Add(ReadOnlySpan<byte> data)
    {
        using (_lock.Acquire())
        {
            bool fits = (uint)_events.Count < _depth && Injection.Hit(InjectionKind.Allocate) == Errno.Success;
            if (fits)
            {
                _events.Enqueue((_sequence, data.ToArray()));
            }
            else
            {
                _lostSequence = _sequence;
            }

            // A loss is told at the end only; before an event, the gap tells it.
            _lost = !fits;
            _sequence = (_sequence + 1) & int.MaxValue;
        }

        Waiters.Wake();
    }

    /// <summary>Gives whole events, each behind its header, as many as fit; <see cref="Errno.InvalidArgument"/> if the first does not.</summary>
    public Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        int headerSize = Unsafe.SizeOf<IommufdVeventHeader>();
        if (destination.Length < headerSize)
        {
            return Errno.InvalidArgument;
        }

        using (_lock.Acquire())
        {
            while (_events.TryPeek(out (uint Sequence, byte[] Data) next))
            {
                if (destination.Length - count < headerSize + next.Data.Length)
                {
                    return count == 0 ? Errno.InvalidArgument : Errno.Success;
                }

                _ = _events.Dequeue();
                IommufdVeventHeader header = new() { Sequence = next.Sequence };
                MemoryMarshal.Write(destination[count..], header);
                next.Data.CopyTo(destination[(count + headerSize)..]);
                count += headerSize + next.Data.Length;
            }

            if (_lost && destination.Length - count >= headerSize)
            {
                IommufdVeventHeader header = new() { Flags = VeventFlags.LostEvents, Sequence = _lostSequence };
                MemoryMarshal.Write(destination[count..], header);
                count += headerSize;
                _lost = false;
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public Errno Peek(Span<byte> destination, out int count)
    {
        int headerSize = Unsafe.SizeOf<IommufdVeventHeader>();
        using (_lock.Acquire())
        {
            bool isEvent = _events.TryPeek(out (uint Sequence, byte[] Data) next);
            count = isEvent ? headerSize + next.Data.Length : _lost ? headerSize : 0;
            if (destination.Length < count)
            {
                count = 0;
                return Errno.InvalidArgument;
            }

            if (isEvent)
            {
                MemoryMarshal.Write(destination, new IommufdVeventHeader { Sequence = next.Sequence });
                next.Data.CopyTo(destination[headerSize..]);
            }
            else if (_lost)
            {
                MemoryMarshal.Write(destination, new IommufdVeventHeader { Flags = VeventFlags.LostEvents, Sequence = _lostSequence });
            }
        }

        return Errno.Success;
    }

    /// <summary>Nothing can be answered.</summary>
    public Errno Write(ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public override void Destroy()
    {
        _virtualIommu.Remove(this);
        _virtualIommu.Release();
    }
}
