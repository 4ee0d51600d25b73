using FsCheck;
using FsCheck.Fluent;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Platform.Tests;

public sealed class RangePageAllocatorTests
{
    private static readonly Gen<(bool Allocate, int SizeLog2, int Which)> s_step =
        from allocate in Gen.Elements(true, true, true, false)
        from size in Gen.Choose(12, 17)
        from which in Gen.Choose(0, 1000)
        select (allocate, size, which);

    [Theory]
    [InlineData(0x1000ul)]
    [InlineData(0x7_f000ul)]
    public void Pieces_are_aligned_disjoint_zeroed_in_range_and_all_come_back(ulong start) =>
        Prop.ForAll(s_step.ArrayOf().ToArbitrary(), steps =>
        {
            using SparsePhysicalMemory memory = new();
            AddressRange range = new(start, start + (1ul << 19) - 1);
            Dirty(memory, range);
            RangePageAllocator allocator = new(memory, range);
            List<(ulong Address, int Log2)> live = [];
            foreach ((bool allocate, int log2, int which) in steps)
            {
                if (!allocate && live.Count > 0)
                {
                    int index = which % live.Count;
                    allocator.Free(new(live[index].Address), live[index].Log2);
                    live.RemoveAt(index);
                }
                else if (allocator.TryAllocate(log2, IPageAllocator.AnyNode, out PhysicalAddress address))
                {
                    AddressRange piece = new(address.Value, address.Value + (1ul << log2) - 1);
                    byte[] content = new byte[1 << log2];
                    memory.Read(address, content);
                    if ((address.Value & ((1ul << log2) - 1)) != 0 || !range.Contains(piece)
                        || live.Any(l => piece.Overlaps(new(l.Address, l.Address + (1ul << l.Log2) - 1)))
                        || content.AsSpan().ContainsAnyExcept((byte)0))
                    {
                        return false;
                    }

                    Dirty(memory, piece);
                    live.Add((address.Value, log2));
                }

                if (allocator.AllocatedBytes != live.Sum(l => 1L << l.Log2))
                {
                    return false;
                }
            }

            live.ForEach(l => allocator.Free(new(l.Address), l.Log2));
            return allocator.AllocatedBytes == 0;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(150));

    [Fact]
    public void Every_page_of_the_range_can_be_handed_out_even_after_larger_pieces_were()
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator allocator = new(memory, new(0x3000, 0x3000 + 0x1_ffff));
        allocator.TryAllocate(16, IPageAllocator.AnyNode, out PhysicalAddress large).ShouldBeTrue();
        allocator.Free(large, 16);
        HashSet<ulong> pages = [];
        while (allocator.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress page))
        {
            pages.Add(page.Value).ShouldBeTrue();
        }

        pages.Count.ShouldBe(32);
        allocator.AllocatedBytes.ShouldBe(0x2_0000);
    }

    [Fact]
    public void A_range_that_ends_at_the_top_of_the_address_space_runs_dry_there()
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator allocator = new(memory, new(ulong.MaxValue - 0x1fff, ulong.MaxValue));
        allocator.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress first).ShouldBeTrue();
        allocator.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress second).ShouldBeTrue();
        (first.Value, second.Value).ShouldBe((ulong.MaxValue - 0x1fff, ulong.MaxValue - 0xfff));
        allocator.TryAllocate(12, IPageAllocator.AnyNode, out _).ShouldBeFalse();
    }

    [Theory]
    [InlineData(11)]
    [InlineData(31)]
    [InlineData(-1)]
    public void A_size_that_cannot_be_is_refused(int sizeLog2)
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator allocator = new(memory, new(0, uint.MaxValue));
        allocator.TryAllocate(sizeLog2, IPageAllocator.AnyNode, out _).ShouldBeFalse();
        allocator.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_range_that_starts_within_a_page_is_refused()
    {
        using SparsePhysicalMemory memory = new();
        Should.Throw<ArgumentException>(() => new RangePageAllocator(memory, new(0x800, 0xffff)));
    }

    [Fact]
    public void An_injected_failure_takes_nothing()
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator allocator = new(memory, new(0, 0xfff));
        RecordingInjector injector = new() { Result = Errno.OutOfMemory };
        using (injector.Install())
        {
            allocator.TryAllocate(12, IPageAllocator.AnyNode, out _).ShouldBeFalse();
        }

        injector.Points.ShouldBe([InjectionKind.Allocate]);
        allocator.TryAllocate(12, IPageAllocator.AnyNode, out _).ShouldBeTrue();
    }

    [Fact]
    public void Threads_never_get_the_same_page()
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator allocator = new(memory, new(0, (1ul << 24) - 1));
        int clashes = 0;
        Thread[] threads = [.. Enumerable.Range(1, 4).Select(id => new Thread(() =>
        {
            Random random = new(id);
            List<PhysicalAddress> mine = [];
            for (int i = 0; i < 5000; i++)
            {
                if (mine.Count < 100 && allocator.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress page))
                {
                    memory.CompareExchange64(page, 0, (ulong)id, out ulong before);
                    clashes += before == 0 ? 0 : 1;
                    mine.Add(page);
                }

                if (mine.Count > 0 && random.Next(2) == 0)
                {
                    int index = random.Next(mine.Count);
                    memory.Read64(mine[index], out ulong owner);
                    clashes += owner == (ulong)id ? 0 : 1;
                    allocator.Free(mine[index], 12);
                    mine.RemoveAt(index);
                }
            }

            mine.ForEach(page => allocator.Free(page, 12));
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        clashes.ShouldBe(0);
        allocator.AllocatedBytes.ShouldBe(0);
    }

    private static void Dirty(SparsePhysicalMemory memory, AddressRange range)
    {
        byte[] bytes = new byte[(int)range.Length];
        Array.Fill(bytes, (byte)0xa5);
        memory.Write(new(range.Start), bytes).ShouldBe(MemoryStatus.Success);
    }
}
