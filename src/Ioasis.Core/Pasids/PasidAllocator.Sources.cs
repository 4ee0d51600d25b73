using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// A custom source of numbers (S0.16): in a guest, the host is asked through a virtual command interface. Thread-safe; called
/// without any lock of the allocator, and may block.
/// </summary>
internal interface IPasidSource
{
    /// <summary>A name for people.</summary>
    string Name { get; }

    /// <summary>Gets a number that suits a request.</summary>
    /// <returns>Success, or why there is none: <see cref="Errno.NoSpace"/>, …</returns>
    Errno TryAllocate(in PasidRequest request, out Pasid pasid);

    /// <summary>Gives a number back that <see cref="TryAllocate"/> gave; once.</summary>
    void Free(Pasid pasid);
}

/// <content>
/// Custom sources, and how one takes over from another: only while no IOASID exists, so that each number goes back to where it
/// came from. The first that is registered is active; others stand by, in order, and follow when it is removed. The same
/// source may be registered by several (two virtual IOMMUs with one host) and goes with its last registration.
/// </content>
internal sealed partial class PasidAllocator
{
    private readonly List<(IPasidSource Source, int Count)> _sources = [];
    private IPasidSource? _source;

    /// <summary>In <see cref="Source"/> while it is being switched: who sees it waits and looks again.</summary>
    internal static IPasidSource Switching { get; } = new SwitchingSource();

    /// <summary>The custom source that is active, or null for the allocator's own numbers.</summary>
    internal IPasidSource? Source => Volatile.Read(ref _source);

    /// <summary>Registers a custom source.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if it would become active while IOASIDs are live or parked.</returns>
    public Errno TryRegisterSource(IPasidSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        using (_lock.Acquire())
        {
            int index = _sources.FindIndex(entry => ReferenceEquals(entry.Source, source));
            if (index >= 0)
            {
                _sources[index] = (source, _sources[index].Count + 1);
                return Errno.Success;
            }

            if (_sources.Count == 0 && !TrySwitch(source))
            {
                return Errno.Busy;
            }

            _sources.Add((source, 1));
            return Errno.Success;
        }
    }

    /// <summary>Takes back a registration; the last one removes the source.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if it is not registered; <see cref="Errno.Busy"/> if it is active and IOASIDs are
    /// live or parked: then it stays registered.
    /// </returns>
    public Errno TryUnregisterSource(IPasidSource source)
    {
        using (_lock.Acquire())
        {
            int index = _sources.FindIndex(entry => ReferenceEquals(entry.Source, source));
            if (index < 0)
            {
                return Errno.NoEntry;
            }

            if (_sources[index].Count > 1)
            {
                _sources[index] = (source, _sources[index].Count - 1);
                return Errno.Success;
            }

            if (index == 0 && !TrySwitch(_sources.Count > 1 ? _sources[1].Source : null))
            {
                return Errno.Busy;
            }

            _sources.RemoveAt(index);
            return Errno.Success;
        }
    }

    /// <summary>Waits until a switch of the source is over.</summary>
    internal void AwaitSwitch()
    {
        using (_lock.Acquire())
        {
        }
    }

    // Under the lock. An allocation reads the source in the critical section of its set in which it counts itself: so either
    // it is counted here, or it sees the mark and waits.
    private bool TrySwitch(IPasidSource? next)
    {
        IPasidSource? old = _source;
        Volatile.Write(ref _source, Switching);
        bool idle = true;
        foreach (PasidSet set in _sets)
        {
            using (set.Lock.Acquire())
            {
                idle &= set.IsIdle;
            }
        }

        Volatile.Write(ref _source, idle ? next : old);
        return idle;
    }

    private Errno TakeFromSource(in PasidRequest request, IPasidSource source, out Pasid pasid)
    {
        Errno error = source.TryAllocate(request, out Pasid given);
        pasid = Pasid.Invalid;
        if (error != Errno.Success)
        {
            return error;
        }

        bool suits = given.IsPresent && (request.Policy == PasidPolicy.Fixed
            ? given == request.First
            : given.Value >= request.First.Value && given.Value <= request.Last.Value);
        if (!_numbers.TryTake(given.Value))
        {
            // It gave a number that is in use, or none that exists. Giving it back would free another's (S2.8).
            return Errno.IoError;
        }

        if (!suits)
        {
            _numbers.Release(given.Value);
            source.Free(given);
            return Errno.IoError;
        }

        pasid = given;
        return Errno.Success;
    }

    private sealed class SwitchingSource : IPasidSource
    {
        public string Name => "none";

        public Errno TryAllocate(in PasidRequest request, out Pasid pasid)
        {
            pasid = Pasid.Invalid;
            return Errno.TryAgain;
        }

        public void Free(Pasid pasid)
        {
        }
    }
}
