using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// What one or more unmaps left to do before anything may be reused: which IOVAs to invalidate, and which table pages to
/// free after that invalidation has completed (S4.13, S4.14). Kept on the stack by the caller of an unmap, filled by the
/// page table, and consumed by the domain's synchronisation.
/// </summary>
internal struct InvalidationGather
{
    private ulong _start;
    private ulong _last;
    private (PhysicalAddress Address, int SizeLog2)[]? _tables;
    private int _tableCount;

    /// <summary>Whether there is nothing to invalidate and nothing to free.</summary>
    public readonly bool IsEmpty => LeafSizes == 0 && _tableCount == 0;

    /// <summary>Bit n is set if a leaf of 2^n bytes was removed.</summary>
    public ulong LeafSizes { readonly get; private set; }

    /// <summary>Whether a non-leaf entry was changed, so that caches of those must go as well.</summary>
    public readonly bool NonLeaf => _tableCount > 0;

    /// <summary>The smallest range that holds all that was unmapped. Only if <see cref="IsEmpty"/> is false.</summary>
    public readonly AddressRange Range => new(_start, _last);

    /// <summary>The table pages that wait for the invalidation.</summary>
    public readonly ReadOnlySpan<(PhysicalAddress Address, int SizeLog2)> FreedTables => _tables.AsSpan(0, _tableCount);

    /// <summary>Adds leaves of one size that were removed.</summary>
    /// <param name="start">First IOVA.</param>
    /// <param name="last">Last IOVA, inclusive.</param>
    /// <param name="leafSizeLog2">log2 of the size of the leaves.</param>
    public void AddLeaves(ulong start, ulong last, int leafSizeLog2)
    {
        Widen(start, last);
        LeafSizes |= 1ul << leafSizeLog2;
    }

    /// <summary>Adds a table page that no entry points at any more.</summary>
    /// <param name="table">Its address.</param>
    /// <param name="sizeLog2">log2 of its size in bytes.</param>
    /// <param name="start">First IOVA that was translated through it.</param>
    /// <param name="last">Last IOVA, inclusive.</param>
    public void AddFreedTable(PhysicalAddress table, int sizeLog2, ulong start, ulong last)
    {
        Widen(start, last);
        if (_tables is null || _tableCount == _tables.Length)
        {
            var larger = System.Buffers.ArrayPool<(PhysicalAddress, int)>.Shared.Rent(Math.Max(16, _tableCount * 2));
            FreedTables.CopyTo(larger);
            ReturnArray();
            _tables = larger;
        }

        _tables[_tableCount++] = (table, sizeLog2);
    }

    /// <summary>Leaves all of it to another gather, and is empty then.</summary>
    public void MoveTo(ref InvalidationGather target)
    {
        foreach ((PhysicalAddress table, int sizeLog2) in FreedTables)
        {
            target.AddFreedTable(table, sizeLog2, _start, _last);
        }

        for (ulong sizes = LeafSizes; sizes != 0; sizes &= sizes - 1)
        {
            target.AddLeaves(_start, _last, System.Numerics.BitOperations.TrailingZeroCount(sizes));
        }

        Clear();
    }

    /// <summary>Empties the gather for its next use.</summary>
    public void Clear()
    {
        ReturnArray();
        this = default;
    }

    private void Widen(ulong start, ulong last)
    {
        if (IsEmpty)
        {
            (_start, _last) = (start, last);
        }
        else
        {
            _start = Math.Min(_start, start);
            _last = Math.Max(_last, last);
        }
    }

    private readonly void ReturnArray()
    {
        if (_tables is not null)
        {
            System.Buffers.ArrayPool<(PhysicalAddress, int)>.Shared.Return(_tables);
        }
    }
}
