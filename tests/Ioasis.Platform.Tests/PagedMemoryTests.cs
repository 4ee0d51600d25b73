using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.Platform.Tests;

/// <summary>Memory that is kept page by page below a limit, and gives pages back.</summary>
public sealed class PagedMemoryTests
{
    private const ulong Limit = 1ul << 24;

    [Fact]
    public void Pages_come_when_they_are_written_and_go_when_they_are_discarded()
    {
        using SparsePhysicalMemory memory = new(40, Limit);
        for (ulong page = 0; page < 1000; page++)
        {
            memory.Write64(new(page << 12), page + 1).ShouldBe(MemoryStatus.Success);
        }

        memory.PagedBytes.ShouldBe(1000 * 4096);
        memory.Discard(new(0x1001), (1000 << 12) - 0x1001);
        memory.PagedBytes.ShouldBe(2 * 4096, "the pages that are not wholly in the range stay");
        memory.Read64(new(0x1000), out ulong kept);
        memory.Read64(new(0x2000), out ulong gone);
        (kept, gone).ShouldBe((2ul, 0ul));
        memory.CommittedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_page_that_comes_back_is_empty()
    {
        using SparsePhysicalMemory memory = new(40, Limit);
        memory.Write(new(0x5000), [.. Enumerable.Repeat((byte)0xaa, 4096)]);
        memory.Discard(new(0x5000), 4096);
        memory.Write32(new(0x9ffc), 7);
        byte[] bytes = new byte[4096];
        memory.Read(new(0x9000), bytes);
        bytes[..0xffc].ShouldAllBe(b => b == 0);
    }

    [Fact]
    public void A_million_pages_that_are_written_and_discarded_one_by_one_never_hold_more_than_one()
    {
        using SparsePhysicalMemory memory = new(56, 1ul << 54);
        for (ulong i = 1; i <= 1_000_000; i++)
        {
            PhysicalAddress page = new(i * 0x9e3779b97f4a7000 & ((1ul << 38) - 1));
            memory.Write64(page, i);
            memory.PagedBytes.ShouldBe(4096);
            memory.Discard(page, 4096);
        }

        memory.PagedBytes.ShouldBe(0);
    }

    [Fact]
    public void What_is_not_paged_keeps_its_content_and_stays_in_chunks()
    {
        using SparsePhysicalMemory memory = new(40, Limit);
        memory.Write64(new(Limit), 7);
        memory.Discard(new(Limit), 4096);
        memory.Read64(new(Limit), out ulong value);
        value.ShouldBe(7ul);
        memory.FindChunk(new(Limit)).ShouldNotBe(0);
        memory.Write64(new(Limit - 4096), 1);
        memory.FindChunk(new(Limit - 4096)).ShouldBe(0, "a paged address has no chunk");
        memory.TryGetHostPointer(new(Limit - 4096), 4096).ShouldNotBe(0);
        memory.TryGetHostPointer(new(Limit - 4096), 4097).ShouldBe(0);
        memory.TryGetHostPointer(new(Limit - 8192), 8192).ShouldBe(0);
    }

    [Fact]
    public void Reads_and_writes_of_any_length_are_those_of_memory_that_is_not_paged()
    {
        var step = ArbMap.Default.GeneratorFor<byte[]>().SelectMany(
            static bytes => Gen.Choose(0, (1 << 15) - 300), static (bytes, at) => (At: (ulong)at, Bytes: bytes));
        Prop.ForAll(
            step.ListOf().ToArbitrary(),
            static steps =>
            {
                using SparsePhysicalMemory paged = new(40, Limit);
                using SparsePhysicalMemory plain = new(40);
                foreach ((ulong at, byte[] bytes) in steps)
                {
                    paged.Write(new(at), bytes);
                    plain.Write(new(at), bytes);
                }

                byte[] left = new byte[1 << 15];
                byte[] right = new byte[1 << 15];
                paged.Read(new(0), left);
                plain.Read(new(0), right);
                return left.AsSpan().SequenceEqual(right);
            }).QuickCheckThrowOnFailure();
    }
}
