using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>
/// What a table must say, by brute force: runs of mapped 4 KiB pages would be too many for leaves of terabytes, so that the
/// model keeps the leaves it expects, found by its own rule from each call.
/// </summary>
public sealed class PageModel(TableCase what)
{
    private readonly SortedDictionary<ulong, (ulong Address, int Log2, Access Access)> _leaves = [];

    public IEnumerable<(ulong Start, ulong Address, int Log2, Access Access)> Leaves =>
        _leaves.Select(leaf => (leaf.Key, leaf.Value.Address, leaf.Value.Log2, leaf.Value.Access));

    private readonly IReadOnlyList<int> _sizesDownward = what.SizesDownward;

    public Errno Map(ulong iova, ulong address, ulong length, Access access)
    {
        ulong last = iova + (length - 1);
        if (what.Granted(access) == Access.None)
        {
            return Errno.InvalidArgument;
        }

        if (Overlapping(iova, last).Count > 0)
        {
            return Errno.AddressInUse;
        }

        Add(iova, address, length, what.Granted(access));
        return Errno.Success;
    }

    public ulong Unmap(ulong iova, ulong length)
    {
        ulong last = iova + (length - 1);
        ulong unmapped = 0;
        foreach (ulong start in Overlapping(iova, last))
        {
            (ulong address, int log2, Access access) = _leaves[start];
            ulong leafLast = start + ((1ul << log2) - 1);
            _leaves.Remove(start);
            unmapped += Math.Min(last, leafLast) - Math.Max(iova, start) + 1;
            if (start < iova)
            {
                Add(start, address, iova - start, access);
            }

            if (leafLast > last)
            {
                Add(last + 1, address + (last + 1 - start), leafLast - last, access);
            }
        }

        return unmapped;
    }

    public bool TryTranslate(ulong iova, out ulong address, out Access access, out ulong size)
    {
        foreach (int log2 in _sizesDownward)
        {
            ulong start = iova & ~((1ul << log2) - 1);
            if (_leaves.TryGetValue(start, out var leaf) && leaf.Log2 == log2)
            {
                (address, access, size) = (leaf.Address + (iova - start), leaf.Access, 1ul << log2);
                return true;
            }
        }

        (address, access, size) = (0, Access.None, 0);
        return false;
    }

    /// <summary>Fails unless the table says exactly what the model says, asked and read in memory.</summary>
    public void ShouldBeTheSameAs(TableBench bench)
    {
        List<PageMapping> found = bench.Mappings();
        found.Select(m => (m.Range.Start, m.Address.Value, m.Range.Length, m.Access))
            .ShouldBe(Leaves.Select(l => (l.Start, l.Address, 1ul << l.Log2, l.Access)));
        RawTables.Leaves(bench).ShouldBe(Leaves);
        foreach ((ulong start, ulong address, int log2, Access access) in Leaves)
        {
            ulong size = 1ul << log2;
            foreach (ulong offset in (ulong[])[0, 1, size / 2, size - 1])
            {
                bench.Table.TryTranslate(new(start + offset), out PhysicalAddress actual, out Access may, out ulong leaf)
                    .ShouldBeTrue();
                (actual.Value, may, leaf).ShouldBe((address + offset, access, size));
            }

            foreach (ulong outside in (ulong[])[start - 1, start + size])
            {
                bool mapped = TryTranslate(outside, out ulong expected, out Access expectedAccess, out ulong expectedSize);
                bench.Table.TryTranslate(new(outside), out PhysicalAddress actual, out Access may, out ulong leaf)
                    .ShouldBe(mapped);
                (actual.Value, may, leaf).ShouldBe((expected, expectedAccess, expectedSize));
            }
        }
    }

    private List<ulong> Overlapping(ulong start, ulong last) =>
        [.. _leaves.Where(l => l.Key <= last && l.Key + ((1ul << l.Value.Log2) - 1) >= start).Select(l => l.Key)];

    // The largest leaf that alignment and length allow, again and again.
    private void Add(ulong iova, ulong address, ulong length, Access access)
    {
        while (length > 0)
        {
            int log2 = _sizesDownward.First(n => ((iova | address) & ((1ul << n) - 1)) == 0 && length >= 1ul << n);
            _leaves.Add(iova, (address, log2, access));
            iova += 1ul << log2;
            address += 1ul << log2;
            length -= 1ul << log2;
        }
    }
}
