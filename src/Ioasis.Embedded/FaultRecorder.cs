using System.Collections.Concurrent;
using Ioasis.Core;

namespace Ioasis.Embedded;

/// <summary>Keeps fault records until somebody reads them, up to a limit.</summary>
internal sealed class FaultRecorder(int capacity) : IIommuFaultSink
{
    private readonly ConcurrentQueue<IommuFault> _faults = new();
    private readonly Lock _lock = new();
    private int _count;
    private long _total;
    private long _dropped;
    private long _losses;
    private volatile IIommuFaultSink[] _others = [];

    /// <summary>Faults so far, those included that were dropped.</summary>
    public long Total => Volatile.Read(ref _total);

    /// <summary>Records that were dropped because nobody read them.</summary>
    public long Dropped => Volatile.Read(ref _dropped);

    /// <summary>How often the IOMMU itself dropped records.</summary>
    public long Losses => Volatile.Read(ref _losses);

    /// <inheritdoc/>
    public void OnFault(in IommuFault fault)
    {
        _ = Interlocked.Increment(ref _total);
        PlatformInstruments.CountFault(fault);
        foreach (IIommuFaultSink other in _others)
        {
            other.OnFault(fault);
        }

        if (Interlocked.Increment(ref _count) > capacity)
        {
            _ = Interlocked.Decrement(ref _count);
            _ = Interlocked.Increment(ref _dropped);
            return;
        }

        _faults.Enqueue(fault);
    }

    /// <inheritdoc/>
    public void OnFaultsLost()
    {
        _ = Interlocked.Increment(ref _losses);
        foreach (IIommuFaultSink other in _others)
        {
            other.OnFaultsLost();
        }
    }

    /// <summary>Tells another one too, by the thread that records: it must be quick.</summary>
    public void Add(IIommuFaultSink other)
    {
        lock (_lock)
        {
            _others = [.. _others, other];
        }
    }

    /// <summary>Tells it no more.</summary>
    public void Remove(IIommuFaultSink other)
    {
        lock (_lock)
        {
            _others = [.. _others.Where(sink => !ReferenceEquals(sink, other))];
        }
    }

    /// <summary>Takes the oldest record.</summary>
    public bool TryDequeue(out IommuFault fault)
    {
        if (!_faults.TryDequeue(out fault))
        {
            return false;
        }

        _ = Interlocked.Decrement(ref _count);
        return true;
    }
}
