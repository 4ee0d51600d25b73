using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ioasis.Primitives;

/// <summary>
/// Epoch-based reclamation, our RCU: readers enter and leave without a lock and without waiting, and what was unlinked is
/// freed when every reader that could have seen it has left (S0.15, S4.3). Thread-safe.
/// </summary>
/// <remarks>
/// <para>Every retirement starts a new epoch. A reader writes down the epoch that it entered in; an object can go once
/// every reader inside entered in a later epoch than the one the object was retired in. A reader stores its epoch, then
/// fences, then loads links; a retirer changes the link, then fences, then looks at the readers: at least one sees the
/// other.</para>
/// <para>A thread that stays inside holds up all reclamation of this instance, never other threads.</para>
/// </remarks>
internal sealed class EpochReclaimer
{
    private const int ChunkLog2 = 6;
    private const int ChunkCount = 1024;

    private readonly Slot[]?[] _chunks = new Slot[]?[ChunkCount];
    private readonly Queue<Retired> _retired = [];
    private readonly Lock _lock = new();
    private readonly Action? _wait;
    private int _usedChunks;
    private int _pending;

    // 0 in a slot means outside.
    private long _epoch = 1;

    /// <summary>Makes a reclaimer.</summary>
    /// <param name="wait">
    /// Called again and again while <see cref="Synchronize"/> waits; without it, the thread spins and yields.
    /// </param>
    public EpochReclaimer(Action? wait = null) => _wait = wait;

    /// <summary>How many retired objects wait for readers to leave.</summary>
    public int Pending => Volatile.Read(ref _pending);

    /// <summary>Whether the calling thread is inside.</summary>
    public bool IsInside => SlotOfThread().Depth > 0;

    /// <summary>
    /// Enters: what is found from now on stays until the scope is disposed, by the same thread. May be nested. Does not
    /// allocate, except in the first call of a thread.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Scope Enter()
    {
        ref Slot slot = ref SlotOfThread();
        if (slot.Depth++ == 0)
        {
            // An exchange for its fence.
            _ = Interlocked.Exchange(ref slot.Epoch, Volatile.Read(ref _epoch));
        }

        return new(ref slot);
    }

    /// <summary>
    /// Has <paramref name="reclaim"/> called once no reader can hold the object any more: by a later call of
    /// <see cref="Retire"/>, <see cref="Drain"/> or <see cref="Synchronize"/>, of any thread. The object must have been
    /// unlinked before. Objects go in the order in which they were retired.
    /// </summary>
    /// <param name="state">What <paramref name="reclaim"/> gets.</param>
    /// <param name="reclaim">Frees the object; must not throw.</param>
    public void Retire<TState>(TState state, Action<TState> reclaim)
    {
        ArgumentNullException.ThrowIfNull(reclaim);
        lock (_lock)
        {
            // The increment is the fence between unlinking and looking at the readers.
            _retired.Enqueue(new Retired<TState>(Interlocked.Increment(ref _epoch) - 1, state, reclaim));
            _pending++;
        }

        _ = Drain();
    }

    /// <summary>Reclaims what no reader can hold any more, without waiting.</summary>
    /// <returns>How many objects.</returns>
    public int Drain()
    {
        int reclaimed = 0;
        while (true)
        {
            Retired retired;
            lock (_lock)
            {
                if (!_retired.TryPeek(out Retired? oldest) || oldest.Epoch >= OldestReader())
                {
                    return reclaimed;
                }

                retired = _retired.Dequeue();
                _pending--;
            }

            retired.Reclaim();
            reclaimed++;
        }
    }

    /// <summary>
    /// Waits until every reader that was inside at the time of the call has left, and reclaims what was retired before the
    /// call, unless another thread is about to.
    /// </summary>
    /// <exception cref="InvalidOperationException">The calling thread is inside: it would wait for itself.</exception>
    public void Synchronize()
    {
        if (IsInside)
        {
            throw new InvalidOperationException("A reader cannot wait for readers.");
        }

        long epoch = Interlocked.Increment(ref _epoch) - 1;
        SpinWait spin = default;
        while (OldestReader() <= epoch)
        {
            if (_wait is not null)
            {
                _wait();
            }
            else
            {
                spin.SpinOnce();
            }
        }

        _ = Drain();
    }

    // The epoch that the longest-standing reader entered in, or one that no object has yet.
    private long OldestReader()
    {
        long oldest = Interlocked.Read(ref _epoch);
        Interlocked.MemoryBarrier();
        for (int i = 0; i < Volatile.Read(ref _usedChunks); i++)
        {
            foreach (ref Slot slot in Volatile.Read(ref _chunks[i]).AsSpan())
            {
                long epoch = Volatile.Read(ref slot.Epoch);
                if (epoch != 0 && epoch < oldest)
                {
                    oldest = epoch;
                }
            }
        }

        return oldest;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref Slot SlotOfThread()
    {
        int index = ThreadIndex.Current;
        Slot[]? chunk = _chunks[index >> ChunkLog2];
        return ref (chunk ?? AddChunk(index >> ChunkLog2))[index & ((1 << ChunkLog2) - 1)];
    }

    private Slot[] AddChunk(int index)
    {
        lock (_lock)
        {
            if (_chunks[index] is null)
            {
                Volatile.Write(ref _chunks[index], new Slot[1 << ChunkLog2]);
                Volatile.Write(ref _usedChunks, Math.Max(_usedChunks, index + 1));
            }

            return _chunks[index]!;
        }
    }

    /// <summary>A stay inside; disposing it leaves.</summary>
    public readonly ref struct Scope
    {
        private readonly ref Slot _slot;

        internal Scope(ref Slot slot) => _slot = ref slot;

        /// <summary>Leaves. Once only.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Dispose()
        {
            if (--_slot.Depth == 0)
            {
                Volatile.Write(ref _slot.Epoch, 0);
            }
        }
    }

    // A thread's place; two cache lines, so that neighbours do not slow each other.
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    internal struct Slot
    {
        public long Epoch;
        public int Depth;
    }

    private abstract class Retired(long epoch)
    {
        public long Epoch { get; } = epoch;

        public abstract void Reclaim();
    }

    private sealed class Retired<TState>(long epoch, TState state, Action<TState> reclaim) : Retired(epoch)
    {
        public override void Reclaim() => reclaim(state);
    }

    // Small numbers for threads, used again after a thread has ended.
    private sealed class ThreadIndex
    {
        private static readonly Lock s_lock = new();
        private static readonly PriorityQueue<int, int> s_free = new();
        private static int s_next;

        // The number plus 1: 0 is no number yet. The object gives it back when the thread is gone.
        [ThreadStatic]
        private static int t_index;

        [ThreadStatic]
        private static ThreadIndex? t_owner;

        private readonly int _index;

        private ThreadIndex(int index) => _index = index;

        ~ThreadIndex()
        {
            lock (s_lock)
            {
                s_free.Enqueue(_index, _index);
            }
        }

        public static int Current => t_index != 0 ? t_index - 1 : Add();

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static int Add()
        {
            int index;
            lock (s_lock)
            {
                index = s_free.TryDequeue(out int free, out _) ? free : s_next++;
            }

            if (index >= ChunkCount << ChunkLog2)
            {
                throw new InvalidOperationException("Too many threads.");
            }

            t_owner = new(index);
            t_index = index + 1;
            return index;
        }
    }
}
