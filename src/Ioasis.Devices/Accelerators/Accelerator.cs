using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>How an accelerator is built.</summary>
public sealed record AcceleratorOptions
{
    /// <summary>A name for people.</summary>
    public string Name { get; init; } = "accelerator";

    /// <summary>Descriptors that are accepted and not completed, at most.</summary>
    public int QueueSize { get; init; } = 64;

    /// <summary>How often a page may be asked for again without any progress before the descriptor fails.</summary>
    public int FaultRetries { get; init; } = 16;
}

/// <summary>What an accelerator did so far.</summary>
/// <param name="Accepted">Descriptors accepted.</param>
/// <param name="Refused">Offers that were told to retry.</param>
/// <param name="Completed">Descriptors ended, with success or without.</param>
/// <param name="Failed">Of those, without success.</param>
/// <param name="Aborted">Descriptors dropped because their PASID was stopped.</param>
/// <param name="PageWaits">Pages asked for.</param>
/// <param name="LostCompletions">Records that could not be written.</param>
/// <param name="Bytes">Bytes copied, filled, compared or summed.</param>
public readonly record struct AcceleratorStatistics(
    long Accepted, long Refused, long Completed, long Failed, long Aborted, long PageWaits, long LostCompletions, long Bytes);

/// <summary>
/// A data mover with one shared work queue: processes give it descriptors by ENQCMD, and it works with their own addresses, as
/// their PASIDs allow. Descriptors of all processes take turns, a page at a time; one that waits for a page holds up nobody.
/// </summary>
/// <remarks>
/// It runs either step by step (<see cref="Step"/>, deterministic) or on threads of its own (<see cref="Start"/>). When a PASID
/// is stopped, its descriptors are dropped without a completion record; the step that is under way ends first.
/// </remarks>
public sealed partial class Accelerator : ISharedWorkQueue, IPasidUser, IDisposable
{
    private readonly DeviceConnection _connection;
    private readonly AcceleratorOptions _options;
    private readonly IoLock _lock = new();
    private readonly List<WorkItem> _items = [];
    private readonly Queue<WorkItem> _ready = new();
    private readonly HashSet<uint> _stopped = [];
    private readonly SemaphoreSlim _wake = new(0);
    private readonly List<Thread> _threads = [];
    private AcceleratorStatistics _statistics;
    private long _sequence;
    private volatile bool _ends;

    /// <summary>Builds an accelerator. The machine must tell it of the life of PASIDs (<see cref="IPasidUser"/>).</summary>
    public Accelerator(DeviceConnection connection, AcceleratorOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(connection);
        _connection = connection;
        _options = options ?? new();
    }

    private enum Place
    {
        Ready,
        Running,
        Waiting,
        Gone,
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <summary>Where it is.</summary>
    public DeviceConnection Connection => _connection;

    /// <summary>What it did so far.</summary>
    public AcceleratorStatistics Statistics
    {
        get
        {
            using (_lock.Acquire())
            {
                return _statistics;
            }
        }
    }

    /// <summary>Descriptors accepted and not completed.</summary>
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
    public bool TryEnqueue(ReadOnlySpan<byte> command)
    {
        if (command.Length != AcceleratorDescriptor.Size)
        {
            return false;
        }

        Pasid pasid = new(BinaryPrimitives.ReadUInt32LittleEndian(command) & Pasid.MaxValue);
        AcceleratorDescriptor descriptor = AcceleratorDescriptor.Read(command);
        using (_lock.Acquire())
        {
            if (_ends || _items.Count >= _options.QueueSize || _stopped.Contains(pasid.Value))
            {
                _statistics = _statistics with { Refused = _statistics.Refused + 1 };
                return false;
            }

            WorkItem item = new(pasid, descriptor) { Sequence = ++_sequence };
            _items.Add(item);
            _ready.Enqueue(item);
            _statistics = _statistics with { Accepted = _statistics.Accepted + 1 };
        }

        Wake();
        return true;
    }

    /// <summary>Does a piece of work, at most a page, for the descriptor whose turn it is.</summary>
    /// <returns>Whether there was work; descriptors that wait for pages or for others are none.</returns>
    public bool Step()
    {
        WorkItem? item;
        using (_lock.Acquire())
        {
            do
            {
                if (!_ready.TryDequeue(out item))
                {
                    return false;
                }
            }
            while (item.Place != Place.Ready);

            item.Place = Place.Running;
        }

        Progress progress = Execute(item);
        bool wakes;
        using (_lock.Acquire())
        {
            item.Place = Place.Waiting;
            if (item.IsAborted)
            {
                Remove(item);
                _statistics = _statistics with { Aborted = _statistics.Aborted + 1 };
            }
            else if (progress == Progress.Done)
            {
                Remove(item);
            }
            else if (progress == Progress.More || (progress == Progress.NeedsPage && item.Ticket is not { IsAnswered: false }))
            {
                MakeReady(item);
            }
            else if (progress == Progress.NeedsOthers && !HasEarlier(item))
            {
                MakeReady(item);
            }

            wakes = _ready.Count > 0;
        }

        if (wakes)
        {
            Wake();
        }

        return true;
    }

    /// <summary>Works until nothing is left but what waits for an answer from outside.</summary>
    /// <returns>Steps done.</returns>
    public int Run()
    {
        int steps = 0;
        while (Step())
        {
            steps++;
        }

        return steps;
    }

    /// <summary>Works on threads of its own from now on, until it is disposed.</summary>
    public void Start(int threads = 1)
    {
        for (int i = 0; i < threads; i++)
        {
            Thread thread = new(Work) { IsBackground = true, Name = _options.Name };
            _threads.Add(thread);
            thread.Start();
        }
    }

    /// <inheritdoc/>
    public void BeginPasid(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            _ = _stopped.Remove(pasid.Value);
        }
    }

    /// <inheritdoc/>
    public Errno StopPasid(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            _ = _stopped.Add(pasid.Value);
            foreach (WorkItem item in _items.FindAll(item => item.Pasid == pasid))
            {
                item.IsAborted = true;
                if (item.Place != Place.Running)
                {
                    Remove(item);
                    _statistics = _statistics with { Aborted = _statistics.Aborted + 1 };
                }
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public bool IsPasidDrained(Pasid pasid, out string? holds)
    {
        using (_lock.Acquire())
        {
            int left = _items.Count(item => item.Pasid == pasid);
            holds = left == 0 ? null : $"{left} descriptors that are being worked on";
            return left == 0;
        }
    }

    /// <summary>Stops its threads; what is not completed stays so.</summary>
    public void Dispose()
    {
        _ends = true;
        _ = _wake.Release(Math.Max(1, _threads.Count));
        _threads.ForEach(static thread => thread.Join());
        _threads.Clear();
        _wake.Dispose();
    }

    private void Work()
    {
        while (!_ends)
        {
            if (!Step())
            {
                _wake.Wait();
            }
        }
    }

    // One thread at most is woken for each item that became ready; those that find nothing sleep again.
    private void Wake()
    {
        if (_threads.Count > 0 && !_ends)
        {
            _ = _wake.Release();
        }
    }

    private void MakeReady(WorkItem item)
    {
        item.Place = Place.Ready;
        _ready.Enqueue(item);
    }

    private bool HasEarlier(WorkItem item) =>
        _items.Exists(other => other.Pasid == item.Pasid && other.Sequence < item.Sequence);

    private void Remove(WorkItem item)
    {
        item.Place = Place.Gone;
        _ = _items.Remove(item);
        foreach (WorkItem waiting in _items)
        {
            if (waiting.Place == Place.Waiting && waiting.Descriptor.Operation == AcceleratorOperation.Drain
                && waiting.Ticket is null && !HasEarlier(waiting))
            {
                MakeReady(waiting);
            }
        }
    }

    // The answer to a page request. It may come while the step that asked is still running; then the step's end sees it.
    private void OnPageAnswered(WorkItem item)
    {
        using (_lock.Acquire())
        {
            if (item.Place != Place.Waiting)
            {
                return;
            }

            MakeReady(item);
        }

        Wake();
    }
}
