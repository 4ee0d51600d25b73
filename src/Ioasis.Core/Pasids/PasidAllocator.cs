using System.Collections.Concurrent;
using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Core;

/// <summary>How a <see cref="PasidAllocator"/> works.</summary>
internal sealed record PasidAllocatorOptions
{
    /// <summary>How long a drain is waited for before it is reported and left to <see cref="PasidAllocator.Poll"/>.</summary>
    public TimeSpan DrainPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where log lines go.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Cursors of cyclic allocation, a power of 2; with 1 the numbers depend on the order of calls only.</summary>
    internal int Shards { get; init; } = (int)Math.Min(16, BitOperations.RoundUpToPowerOf2((uint)Environment.ProcessorCount));
}

/// <summary>
/// All PASIDs of a system: who has which (S2.4). IOASIDs are allocated in sets, which reserve quotas; so the numbers cannot
/// run out for one that keeps to its quota. Look-ups take no lock; allocation in different sets scales. It never touches an
/// IOMMU: who gives a PASID to a device is a user of the IOASID and takes part in its drain (<see cref="IPasidDrain"/>).
/// </summary>
/// <remarks>Thread-safe. PASID 0 is reserved (S2.6). docs/ioasid.md tells the whole story.</remarks>
internal sealed partial class PasidAllocator
{
    private readonly PagedTable<PasidSet> _setsById = new();
    private readonly ConcurrentDictionary<object, PasidSet> _setsByToken = new(ReferenceEqualityComparer.Instance);
    private readonly IoLock _lock = new();
    private readonly ILogger _logger;
    private readonly int _shards;

    // Sets that exist, and destroyed ones of which something is in use still. Under the lock.
    private readonly HashSet<PasidSet> _sets = [];
    private PasidNumbers _numbers;
    private PasidNumbers _setNumbers;
    private bool _installed;

    /// <summary>Makes an allocator of 2^20 numbers, unless fewer are installed before the first set is made.</summary>
    public PasidAllocator(PasidAllocatorOptions? options = null)
    {
        options ??= new();
        DrainPatience = options.DrainPatience;
        TimeProvider = options.TimeProvider;
        _logger = options.Logger;
        _shards = options.Shards;
        Capacity = Pasid.MaxValue + 1;
        _numbers = NewNumbers(Capacity);
        _setNumbers = NewNumbers(Capacity);
        RootQuota = new(Capacity - 1);
    }

    /// <summary>Numbers from 0 to this one, exclusive, exist. PASID 0 and reserved ranges are not given to anybody.</summary>
    public uint Capacity { get; private set; }

    /// <summary>The root of the hierarchy of quotas: its maximum is what can be reserved in all.</summary>
    public PasidQuota RootQuota { get; }

    /// <summary>How long a drain is waited for.</summary>
    public TimeSpan DrainPatience { get; }

    /// <summary>The places of all numbers.</summary>
    internal IoasidTable Places { get; } = new();

    internal IoLock Lock => _lock;

    internal TimeProvider TimeProvider { get; }

    /// <summary>What is in use, counted one by one; for audits, while nothing else runs.</summary>
    public PasidAudit Audit
    {
        get
        {
            using (_lock.Acquire())
            {
                int live = 0, parked = 0;
                foreach (PasidSet set in _sets)
                {
                    PasidSetStatistics statistics = set.Statistics;
                    live += (int)statistics.Count;
                    parked += (int)statistics.Parked;
                }

                int reserved = 1 + (int)_reserved.Sum(static range => range.Last - range.First + 1) + (int)_shrunk;
                return new(_sets.Count, live, parked, _numbers.CountTaken() - reserved, RootQuota.Read().Current);
            }
        }
    }

    /// <summary>Makes a set, with its quota reserved (S0.1, S0.4).</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoSpace"/> over the remaining capacity or a maximum of the hierarchy (S0.2), or when there are
    /// as many sets as PASIDs (S0.5); <see cref="Errno.Exists"/> if the token has a set; <see cref="Errno.InvalidArgument"/> for
    /// an account of another allocator; <see cref="Errno.NoEntry"/> for one that was removed. After an error nothing has changed.
    /// </returns>
    public Errno TryCreateSet(in PasidSetOptions options, out PasidSet? set)
    {
        set = null;
        PasidQuota account = options.Account ?? RootQuota;
        PasidQuota root = account;
        while (root.Parent is { } parent)
        {
            root = parent;
        }

        if (root != RootQuota)
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            if (options.Token is { } token && _setsByToken.ContainsKey(token))
            {
                return Errno.Exists;
            }

            // The limit is the capacity that was installed, whatever is left of it (S0.5).
            uint id = _setNumbers.TakeLowest(1, Pasid.MaxValue);
            if (id == PasidNumbers.None)
            {
                return Errno.NoSpace;
            }

            Errno error = account.TryCharge(options.Quota);
            if (error != Errno.Success)
            {
                _setNumbers.Release(id);
                return error;
            }

            _installed = true;
            set = new(this, new(id), options);
            _ = _sets.Add(set);
            if (set.Token is not null)
            {
                _setsByToken[set.Token] = set;
            }

            Places.SetSet(id, set);
            _setsById.Set(id, set);
            return Errno.Success;
        }
    }

    /// <summary>Finds a set by its number: an index, no scan and no lock (S0.8).</summary>
    public PasidSet? FindSet(PasidSetId id) => _setsById.Find(id.Value);

    /// <summary>Finds the set of a token: a hash, no scan and no lock (S0.8).</summary>
    public PasidSet? FindSet(object token) => _setsByToken.GetValueOrDefault(token);

    /// <summary>Frees a set by its number; see <see cref="PasidSet.FreeAll(PasidSetDisposition, TimeSpan?)"/>.</summary>
    /// <returns>As there, or <see cref="Errno.NoEntry"/> for a number of no set, which does nothing (S0.12).</returns>
    public Errno FreeSet(PasidSetId id, PasidSetDisposition disposition) =>
        FindSet(id)?.FreeAll(disposition) ?? Errno.NoEntry;

    /// <summary>
    /// Finds an IOASID, whatever its state, without a reference: it may end at once, but stays what it is (S0.15). Takes no lock.
    /// </summary>
    /// <returns>The IOASID; none (<see cref="Ioasid.IsNone"/>) if the number is nobody's.</returns>
    public Ioasid Find(Pasid pasid) => Places.Find(pasid.Value);

    /// <summary>Finds a live IOASID and takes a reference, in one step (S0.13). Takes no lock.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/>.</returns>
    public Errno TryGet(Pasid pasid, out Ioasid ioasid)
    {
        ioasid = Places.Find(pasid.Value);
        if (!ioasid.TryGet())
        {
            ioasid = default;
            return Errno.NoEntry;
        }

        return Errno.Success;
    }

    /// <summary>As <see cref="TryGet(Pasid, out Ioasid)"/>, for whoever owns the set.</summary>
    /// <param name="pasid">The number.</param>
    /// <param name="token">Must be the set's token.</param>
    /// <param name="ioasid">The IOASID, with a reference.</param>
    /// <returns>Success; <see cref="Errno.NoEntry"/>; <see cref="Errno.NotPermitted"/> for another token.</returns>
    public Errno TryGet(Pasid pasid, object? token, out Ioasid ioasid)
    {
        ioasid = Places.Find(pasid.Value);
        if (!ioasid.IsNone && !ReferenceEquals(ioasid.Set.Token, token))
        {
            bool live = ioasid.IsLive;
            ioasid = default;
            return live ? Errno.NotPermitted : Errno.NoEntry;
        }

        if (!ioasid.TryGet())
        {
            ioasid = default;
            return Errno.NoEntry;
        }

        return Errno.Success;
    }

    /// <summary>Finds the set of an IOASID (S0.13). Takes no lock.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if the number is nobody's.</returns>
    public Errno TryGetSet(Pasid pasid, out PasidSet? set)
    {
        Ioasid found = Places.Find(pasid.Value);
        set = found.IsNone ? null : found.Set;
        return set is null ? Errno.NoEntry : Errno.Success;
    }

    /// <summary>A destroyed set cannot be found any more.</summary>
    internal void Forget(PasidSet set)
    {
        using (_lock.Acquire())
        {
            if (ReferenceEquals(_setsById.Find(set.Id.Value), set))
            {
                _setsById.Set(set.Id.Value, null);
                if (set.Token is not null)
                {
                    _ = _setsByToken.TryRemove(set.Token, out _);
                }
            }
        }
    }

    /// <summary>Gives back the number of a destroyed set of which nothing is in use any more.</summary>
    internal void ForgetIfIdle(PasidSet set)
    {
        if (!set.IsDestroyed)
        {
            return;
        }

        using (_lock.Acquire())
        {
            bool idle;
            using (set.Lock.Acquire())
            {
                idle = set.IsIdle;
            }

            if (idle && _sets.Remove(set))
            {
                Places.SetSet(set.Id.Value, null);
                _setNumbers.Release(set.Id.Value);
            }
        }
    }

    private PasidNumbers NewNumbers(uint capacity)
    {
        PasidNumbers numbers = new(capacity, _shards);
        _ = numbers.TryTake(0);
        return numbers;
    }
}

/// <summary>What an allocator has in use.</summary>
/// <param name="Sets">Sets, destroyed ones of which something is held still included.</param>
/// <param name="Live">IOASIDs that are not parked.</param>
/// <param name="Parked">IOASIDs that are.</param>
/// <param name="Numbers">Numbers taken, reserved ones not counted.</param>
/// <param name="Reserved">Sum of the quotas.</param>
internal readonly record struct PasidAudit(int Sets, int Live, int Parked, int Numbers, uint Reserved)
{
    /// <summary>Whether nothing is in use.</summary>
    public bool IsEmpty => this == default;
}
