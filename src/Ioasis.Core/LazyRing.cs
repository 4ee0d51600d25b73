using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;

namespace Ioasis.Core;

/// <summary>
/// What waits for a deferred invalidation, the oldest first. It grows when it is full, for nothing that waits may be lost. Everything but
/// <see cref="Count"/> and <see cref="Deferred"/> is under <see cref="Lock"/>.
/// </summary>
/// <param name="capacity">Entries at which its owner flushes. There is room for twice as many: more come only while flushes fail.</param>
internal sealed class LazyRing<T>(int capacity)
    where T : struct
{
    private T[] _entries = new T[(int)BitOperations.RoundUpToPowerOf2((uint)capacity * 2)];
    private int _head;
    private int _count;
    private long _deferred;

    /// <summary>Guards the ring, and what its owner keeps with it.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>Entries that wait.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Entries that ever came.</summary>
    public long Deferred => Volatile.Read(ref _deferred);

    /// <summary>The oldest entry. Only if there is one.</summary>
    public ref readonly T Oldest => ref _entries[_head];

    /// <summary>Adds an entry.</summary>
    public void Add(in T entry)
    {
        if (_count == _entries.Length)
        {
            T[] larger = new T[_count * 2];
            _entries.AsSpan(_head).CopyTo(larger);
            _entries.AsSpan(0, _head).CopyTo(larger.AsSpan(_count - _head));
            _entries = larger;
            _head = 0;
        }

        // Counted first: who sees that none waits any more sees that one came.
        Volatile.Write(ref _deferred, _deferred + 1);
        _entries[(_head + _count) & (_entries.Length - 1)] = entry;
        Volatile.Write(ref _count, _count + 1);
    }

    /// <summary>What waits now. It may be read without the lock until the first of it is removed: entries that come do not touch it.</summary>
    public View Look() => new(_entries, _head, _count);

    /// <summary>Removes the oldest entries.</summary>
    /// <param name="removed">How many, 1 to <see cref="Count"/>.</param>
    public void RemoveOldest(int removed = 1)
    {
        if (RuntimeHelpers.IsReferenceOrContainsReferences<T>())
        {
            // The collector must not take them for in use.
            for (int i = 0; i < removed; i++)
            {
                _entries[(_head + i) & (_entries.Length - 1)] = default;
            }
        }

        _head = (_head + removed) & (_entries.Length - 1);
        Volatile.Write(ref _count, _count - removed);
    }

    /// <summary>Entries of the ring at one moment, the oldest first.</summary>
    public readonly struct View(T[] entries, int head, int count)
    {
        /// <summary>How many.</summary>
        public int Count => count;

        /// <summary>One of them, from 0.</summary>
        public ref readonly T this[int index] => ref entries[(head + index) & (entries.Length - 1)];
    }
}
