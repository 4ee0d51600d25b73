using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Dsa;

/// <summary>What an accelerator did so far.</summary>
/// <param name="Accepted">Descriptors accepted.</param>
/// <param name="Refused">Offers that were told to retry, or dropped if they could not be told.</param>
/// <param name="Completed">Descriptors ended, with success or without.</param>
/// <param name="Failed">Of those, without success.</param>
/// <param name="Aborted">Descriptors dropped by an abort, by a reset, or because their PASID was stopped.</param>
/// <param name="PageWaits">Pages asked for.</param>
/// <param name="LostCompletions">Records that could not be written.</param>
/// <param name="Bytes">Bytes that operations went over.</param>
internal readonly record struct DsaStatistics(
    long Accepted, long Refused, long Completed, long Failed, long Aborted, long PageWaits, long LostCompletions, long Bytes);

/// <content>What work queues take, and for whom.</content>
public sealed partial class DsaDevice : IPasidUser
{
    private readonly List<WorkItem> _items = [];
    private readonly Queue<WorkItem> _ready = new();
    private readonly HashSet<uint> _stopped = [];
    private DsaStatistics _statistics;
    private long _sequence;

    /// <summary>What it did so far.</summary>
    internal DsaStatistics Statistics
    {
        get
        {
            using (_lock.Acquire())
            {
                return _statistics;
            }
        }
    }

    /// <summary>Descriptors that it has taken and that have not ended.</summary>
    public int Pending
    {
        get
        {
            using (_lock.Acquire())
            {
                return _items.Count;
            }
        }
    }

    /// <inheritdoc/>
    public override IPasidUser? PasidUser => _options.PasidBits > 0 ? this : null;

    /// <inheritdoc/>
    string IPasidUser.Name => _options.Name;

    /// <summary>A portal for deferrable writes (ENQCMD). It refuses while its queue is not enabled, or is dedicated.</summary>
    /// <param name="queue">Number of the work queue.</param>
    /// <param name="isLimited">Whether it takes no more than the queue's threshold, as the portals that processes get.</param>
    public ISharedWorkQueue GetPortal(int queue, bool isLimited = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(queue);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(queue, _queues.Length);
        return new Portal(this, _queues[queue], isLimited);
    }

    /// <inheritdoc/>
    void IPasidUser.BeginPasid(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            _ = _stopped.Remove(pasid.Value);
        }
    }

    /// <inheritdoc/>
    Errno IPasidUser.StopPasid(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            _ = _stopped.Add(pasid.Value);
            DropItems(item => item.Pasid == pasid);
            EndCommand();
        }

        Deliver();
        return Errno.Success;
    }

    /// <inheritdoc/>
    bool IPasidUser.IsPasidDrained(Pasid pasid, out string? holds)
    {
        using (_lock.Acquire())
        {
            int left = _items.Count(item => item.Pasid == pasid);
            holds = left == 0 ? null : $"{left} descriptors that are being worked on";
            return left == 0;
        }
    }

    private bool Submit(DsaQueue queue, bool isLimited, bool isDeferrable, ReadOnlySpan<byte> command)
    {
        uint first = BinaryPrimitives.ReadUInt32LittleEndian(command);
        using (_lock.Acquire())
        {
            Pasid pasid = !queue.HasPasid ? default : queue.IsDedicated ? queue.Pasid : new(first & Pasid.MaxValue);
            int limit = isLimited && !queue.IsDedicated ? queue.Threshold : queue.Size;
            if (queue.State != DsaQueueState.Enabled
                || isDeferrable == queue.IsDedicated
                || queue.Count >= limit
                || _stopped.Contains(pasid.Value))
            {
                _statistics = _statistics with { Refused = _statistics.Refused + 1 };
                return false;
            }

            WorkItem item = new(queue, pasid, command) { Sequence = ++_sequence };
            _items.Add(item);
            queue.Count++;
            _ready.Enqueue(item);
            _statistics = _statistics with { Accepted = _statistics.Accepted + 1 };
        }

        RunPosted();
        return true;
    }

    // Under the lock: what nobody works on is gone at once, the rest when its piece has ended.
    private void DropItems(Predicate<WorkItem> isMeant)
    {
        foreach (WorkItem item in _items.FindAll(isMeant))
        {
            item.IsAborted = true;
            if (item.Place != Place.Running)
            {
                Abort(item);
            }
        }
    }

    private void Abort(WorkItem item)
    {
        Remove(item);
        _statistics = _statistics with { Aborted = _statistics.Aborted + 1 };
    }

    private void MakeReady(WorkItem item)
    {
        item.Place = Place.Ready;
        _ready.Enqueue(item);
    }

    private bool HasEarlier(WorkItem item) =>
        _items.Exists(other => other.Queue == item.Queue && other.Pasid == item.Pasid && other.Sequence < item.Sequence);

    private void Remove(WorkItem item)
    {
        item.Place = Place.Gone;
        item.Queue.Count--;
        _ = _items.Remove(item);
        foreach (WorkItem waiting in _items)
        {
            if (waiting.Place == Place.Waiting && waiting.IsDrain && waiting.Ticket is null && !HasEarlier(waiting))
            {
                MakeReady(waiting);
            }
        }
    }

    private enum Place
    {
        Ready,
        Running,
        Waiting,
        Gone,
    }

    private sealed class Portal(DsaDevice device, DsaQueue queue, bool isLimited) : ISharedWorkQueue
    {
        public bool TryEnqueue(ReadOnlySpan<byte> command) =>
            command.Length == DsaDescriptor.Size && device.Submit(queue, isLimited, isDeferrable: true, command);
    }

    private sealed class WorkItem(DsaQueue queue, Pasid pasid, ReadOnlySpan<byte> command)
    {
        public DsaQueue Queue { get; } = queue;

        public Pasid Pasid { get; } = pasid;

        public DsaDescriptor Descriptor { get; } = DsaDescriptor.Read(command);

        /// <summary>The descriptor as it came; the check of reserved fields is the last to need it.</summary>
        public byte[] Bytes { get; } = command.ToArray();

        public long Sequence { get; init; }

        /// <summary>Under the lock.</summary>
        public Place Place { get; set; }

        /// <summary>Under the lock.</summary>
        public bool IsAborted { get; set; }

        public bool IsDrain => Descriptor.Operation == DsaOperation.Drain;

        /// <summary>A page that it, or the descriptor of the batch that is being worked on, waits for.</summary>
        public PageTicket? Ticket { get; set; }

        public int Attempts { get; set; }

        public ulong FaultAddress { get; set; }

        public bool IsWriteFault { get; set; }

        public bool IsStarted { get; set; }

        /// <summary>A move that goes from the end, because its buffers overlap so.</summary>
        public bool IsBackward { get; set; }

        /// <summary>Bytes, of a batch descriptors, that are done.</summary>
        public uint Done { get; set; }

        /// <summary>State of the CRC; bytes of a delta record that are written.</summary>
        public uint Value { get; set; }

        /// <summary>Offset of the last entry of a delta record; -1 before the first.</summary>
        public int LastOffset { get; set; } = -1;

        public DsaCompletion Result { get; set; }

        /// <summary>The completion record, once the operation has ended.</summary>
        public byte[]? Record { get; set; }

        public WorkItem? Batch { get; init; }

        public WorkItem? Child { get; set; }

        public bool HasFailedChild { get; set; }
    }
}
