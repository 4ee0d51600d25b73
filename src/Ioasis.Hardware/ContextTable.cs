namespace Ioasis.Hardware;

/// <summary>A hash table of immutable objects, two ways each; a full pair loses its older one. Read without locks.</summary>
internal sealed class ContextTable<T>
    where T : class
{
    private readonly T?[] _slots;
    private readonly int _shift;

    public ContextTable(int entries)
    {
        int size = Math.Max(2, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)entries));
        _slots = new T?[size];
        _shift = 64 - System.Numerics.BitOperations.Log2((uint)size);
        IsEmpty = entries == 0;
    }

    /// <summary>What is in the first of the two places for a key, whosever it is.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    public T? First(ulong key) => Volatile.Read(ref System.Runtime.CompilerServices.Unsafe.Add(
        ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_slots), (nint)((key * 0x9e37_79b9_7f4a_7c15) >> _shift)));

    public T?[] Slots => _slots;

    /// <summary>Nothing is ever put in.</summary>
    public bool IsEmpty { get; }

    /// <summary>The first of the two places for a key; the other is its neighbour (index ^ 1).</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    public int IndexOf(ulong key) => (int)((key * 0x9e37_79b9_7f4a_7c15) >> _shift);

    /// <summary>Puts an entry in, under the cache lock.</summary>
    public void Add(ulong key, T entry)
    {
        int index = IndexOf(key);
        T? displaced = _slots[index];
        if (displaced is not null)
        {
            Volatile.Write(ref _slots[index ^ 1], displaced);
        }

        Volatile.Write(ref _slots[index], entry);
    }

    /// <summary>Removes what matches, under the cache lock.</summary>
    public void RemoveWhere(Func<T, bool> matches)
    {
        for (int i = 0; i < _slots.Length; i++)
        {
            if (_slots[i] is { } entry && matches(entry))
            {
                Volatile.Write(ref _slots[i], null);
            }
        }
    }

    /// <summary>Removes everything, under the cache lock.</summary>
    public void Clear() => Array.Clear(_slots);
}
