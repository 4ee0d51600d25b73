using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>Dirty tracking, with the test in the part of the hardware that marks what it writes.</summary>
[Trait("Requirement", "S4.17")]
public sealed class DirtyTests
{
    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void Pages_that_were_written_are_reported_once(TableCase what)
    {
        using TableBench bench = new(what, new() { HardwareDirty = true });
        ulong size = 1ul << bench.Geometry.LeafLog2[1];
        bench.Map(0x1000, 0x1000, 0x4f000).ShouldBe(Errno.Success);
        bench.Map(size, size, size).ShouldBe(Errno.Success);
        AddressRange range = new(0, (2 * size) - 1);
        Read(bench, range, clear: true).Pages.ShouldBeEmpty();

        Write(bench, 0x3000, 0);
        Write(bench, 0x25000, 0);
        Write(bench, size, 1);
        List<ulong> expected = [3];
        expected.AddRange(what.Napot ? Pages(0x20, 16) : [0x25]);
        expected.AddRange(Pages(size >> 12, size >> 12));
        Read(bench, range, clear: false).Pages.ShouldBe(expected);
        (List<ulong> pages, AddressRange? invalidate) = Read(bench, range, clear: true);
        pages.ShouldBe(expected);
        invalidate.ShouldBe(new AddressRange(0x3000, (2 * size) - 1));
        (pages, invalidate) = Read(bench, range, clear: true);
        pages.ShouldBeEmpty();
        invalidate.ShouldBeNull();
        bench.Mappings().Sum(m => (decimal)m.Range.Length).ShouldBe(0x4f000 + size);
    }

    [Fact]
    public void A_leaf_that_reaches_beyond_the_range_stays_dirty()
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: false), new() { HardwareDirty = true });
        bench.Map(0, 0, 0x20_0000).ShouldBe(Errno.Success);
        Write(bench, 0, 1);
        (List<ulong> pages, AddressRange? invalidate) = Read(bench, new(0x1000, 0x2fff), clear: true);
        pages.ShouldBe([1, 2]);
        invalidate.ShouldBeNull();
        Read(bench, new(0, 0x1f_ffff), clear: true).Pages.Count.ShouldBe(512);
    }

    [Fact]
    public void A_split_keeps_what_is_dirty_dirty()
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<Sv48>(), MemoryKind.Sparse, Napot: true), new() { HardwareDirty = true });
        bench.Map(0, 0, 0x20_0000).ShouldBe(Errno.Success);
        Write(bench, 0, 1);
        bench.Unmap(0x1000, 0x1000).ShouldBe(0x1000ul);
        Read(bench, new(0, 0x1f_ffff), clear: true).Pages.Count.ShouldBe(511);
        Write(bench, 0x15000, 0);
        bench.Unmap(0x12000, 0x1000).ShouldBe(0x1000ul);
        Read(bench, new(0, 0x1f_ffff), clear: true).Pages.ShouldBe(Pages(0x10, 16).Where(page => page != 0x12));
    }

    [Fact]
    public void Without_tracking_and_out_of_range_it_is_refused()
    {
        TableCase what = new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: false);
        InvalidationGather gather = default;
        using TableBench without = new(what);
        without.Table.ReadDirty(new(0, 0xfff), new(new ulong[1], new(0), 12), true, ref gather).ShouldBe(Errno.NotSupported);
        using TableBench with = new(what, new() { HardwareDirty = true });
        with.Table.ReadDirty(new(0, 1ul << 38), new(new ulong[1], new(0), 12), true, ref gather).ShouldBe(Errno.OutOfRange);
    }

    [Theory]
    [InlineData(0ul, 0ul, 1ul)]
    [InlineData(0ul, 0x3ffful, 0xful)]
    [InlineData(0x1fful, 0x1001ul, 3ul)]
    [InlineData(0x3f000ul, 0x41000ul, 1ul << 63)]
    [InlineData(0x40000ul, 0x80000ul, 0ul)]
    [InlineData(0ul, ulong.MaxValue, ulong.MaxValue)]
    public void A_bitmap_takes_what_lies_in_it(ulong start, ulong last, ulong word)
    {
        ulong[] words = [0];
        new DirtyBitmap(words, new(0), 12).Set(new(start, last));
        words[0].ShouldBe(word);
    }

    [Fact]
    public void A_bitmap_may_start_anywhere_and_have_larger_pages()
    {
        ulong[] words = [0, 0, 0];
        DirtyBitmap bitmap = new(words, new(0x100_0000), 16);
        bitmap.Set(new(0, 0xff_ffff));
        words.ShouldBe([0, 0, 0]);
        bitmap.Set(new(0xff_0000, 0x100_0000));
        bitmap.Set(new(0x100_0000 + (60ul << 16), 0x100_0000 + (130ul << 16)));
        words.ShouldBe([0xf000_0000_0000_0001, ulong.MaxValue, 7]);
    }

    private static IEnumerable<ulong> Pages(ulong first, ulong count) => Enumerable.Range(0, (int)count).Select(i => first + (ulong)i);

    private static (List<ulong> Pages, AddressRange? Invalidate) Read(TableBench bench, AddressRange range, bool clear)
    {
        ulong[] words = new ulong[(int)((range.Last >> 18) + 1)];
        InvalidationGather gather = default;
        bench.Table.ReadDirty(range, new(words, new(0), 12), clear, ref gather).ShouldBe(Errno.Success);
        List<ulong> pages = [.. Pages(0, (ulong)words.Length * 64).Where(i => (words[i / 64] >> (int)(i % 64) & 1) != 0)];
        return (pages, gather.IsEmpty ? null : gather.Range);
    }

    private static void Write(TableBench bench, ulong iova, int level)
    {
        PhysicalAddress location = RawTables.Locate(bench, iova, level);
        bench.Memory.Read32(location, out uint low);
        bench.Memory.Write32(location, low | RawTables.DirtyBit(bench.Geometry));
    }
}
