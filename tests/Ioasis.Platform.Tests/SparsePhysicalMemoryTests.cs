using FsCheck;
using FsCheck.Fluent;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Platform.Tests;

public sealed class SparsePhysicalMemoryTests
{
    private const ulong Chunk = 1ul << SparsePhysicalMemory.ChunkShift;

    // Spots around the borders that there are: of a chunk, of the 512 GiB tables, and of the whole.
    private static readonly ulong[] s_spots = [0, Chunk, 5 * Chunk, 1ul << 39, (1ul << 40) - 64, (1ul << 41) - 64];

    private static readonly Gen<(ulong Address, byte[] Data)> s_write =
        from spot in Gen.Elements(s_spots)
        from offset in Gen.Choose(-40, 40)
        from length in Gen.Choose(0, 64)
        from value in Gen.Choose(1, 255)
        select (
            spot + (ulong)Math.Max(offset, spot == 0 ? 0 : offset),
            Enumerable.Range(0, length).Select(i => (byte)(value + i)).ToArray());

    [Fact]
    public void What_is_written_is_read_across_all_borders() =>
        Prop.ForAll(s_write.ArrayOf().ToArbitrary(), writes =>
        {
            using SparsePhysicalMemory memory = new(41);
            Dictionary<ulong, byte> model = [];
            foreach ((ulong address, byte[] data) in writes)
            {
                bool fits = address < memory.Limit && (ulong)data.Length <= memory.Limit - address;
                if ((memory.Write(new(address), data) == MemoryStatus.Success) != fits)
                {
                    return false;
                }

                for (int i = 0; fits && i < data.Length; i++)
                {
                    model[address + (ulong)i] = data[i];
                }
            }

            foreach (ulong spot in s_spots)
            {
                ulong start = spot < 64 ? 0 : spot - 64;
                byte[] read = new byte[128];
                if (memory.Read(new(start), read) != MemoryStatus.Success
                    || read.Where((b, i) => b != model.GetValueOrDefault(start + (ulong)i)).Any())
                {
                    return false;
                }
            }

            return true;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(150));

    [Fact]
    public void Reading_commits_nothing()
    {
        using SparsePhysicalMemory memory = new();
        byte[] data = new byte[100];
        Array.Fill(data, (byte)1);
        memory.Read(new(1ul << 50), data).ShouldBe(MemoryStatus.Success);
        memory.Read64(new(1ul << 51), out ulong value).ShouldBe(MemoryStatus.Success);
        data.ShouldAllBe(b => b == 0);
        value.ShouldBe(0ul);
        memory.CommittedBytes.ShouldBe(0);
        memory.Write32(new(1ul << 50), 1).ShouldBe(MemoryStatus.Success);
        memory.CommittedBytes.ShouldBe((long)Chunk);
    }

    [Fact]
    public void Accesses_of_every_width_see_the_same_little_endian_bytes()
    {
        using SparsePhysicalMemory memory = new();
        PhysicalAddress at = new((3 * Chunk) - 8);
        memory.Write64(at, 0x1122_3344_5566_7788).ShouldBe(MemoryStatus.Success);
        memory.Read32(at, out uint low).ShouldBe(MemoryStatus.Success);
        memory.Read32(at + 4, out uint high).ShouldBe(MemoryStatus.Success);
        (low, high).ShouldBe((0x5566_7788u, 0x1122_3344u));
        byte[] bytes = new byte[8];
        memory.Read(at, bytes).ShouldBe(MemoryStatus.Success);
        bytes.ShouldBe([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        memory.Write32(at + 4, 0xaabb_ccdd).ShouldBe(MemoryStatus.Success);
        memory.Read64(at, out ulong whole).ShouldBe(MemoryStatus.Success);
        whole.ShouldBe(0xaabb_ccdd_5566_7788);
    }

    [Theory]
    [InlineData(1ul)]
    [InlineData(7ul)]
    [InlineData(1ul << 30)]
    [InlineData(ulong.MaxValue - 7)]
    [InlineData(ulong.MaxValue)]
    public void A_misaligned_or_absent_word_is_an_access_fault_and_changes_nothing(ulong address)
    {
        using SparsePhysicalMemory memory = new(30);
        PhysicalAddress at = new(address);
        memory.Read64(at, out _).ShouldBe(MemoryStatus.AccessFault);
        memory.Write64(at, 1).ShouldBe(MemoryStatus.AccessFault);
        memory.Read32(at, out _).ShouldBe(MemoryStatus.AccessFault);
        memory.Write32(at, 1).ShouldBe(MemoryStatus.AccessFault);
        memory.CompareExchange64(at, 0, 1, out _).ShouldBe(MemoryStatus.AccessFault);
        memory.CommittedBytes.ShouldBe(0);
    }

    [Fact]
    public void The_last_word_exists_and_bytes_past_the_limit_do_not()
    {
        using SparsePhysicalMemory memory = new(56);
        memory.Write64(new(memory.Limit - 8), 5).ShouldBe(MemoryStatus.Success);
        memory.Read64(new(memory.Limit - 8), out ulong value).ShouldBe(MemoryStatus.Success);
        value.ShouldBe(5ul);
        memory.Write(new(memory.Limit - 4), new byte[5]).ShouldBe(MemoryStatus.AccessFault);
        memory.Read(new(ulong.MaxValue), new byte[2]).ShouldBe(MemoryStatus.AccessFault);
        memory.TryGetHostPointer(new(memory.Limit), 1).ShouldBe(0);
        memory.TryGetHostPointer(new(memory.Limit - 1), 2).ShouldBe(0);
    }

    [Fact]
    public unsafe void A_pointer_leads_to_the_same_bytes_and_never_past_a_chunk()
    {
        using SparsePhysicalMemory memory = new();
        nint pointer = memory.TryGetHostPointer(new(Chunk), Chunk);
        pointer.ShouldNotBe(0);
        (pointer & 0xfff).ShouldBe(0);
        ((byte*)pointer)[Chunk - 1] = 42;
        byte[] one = new byte[1];
        memory.Read(new((2 * Chunk) - 1), one).ShouldBe(MemoryStatus.Success);
        one[0].ShouldBe((byte)42);
        memory.TryGetHostPointer(new(Chunk), Chunk + 1).ShouldBe(0);
        memory.TryGetHostPointer(new(Chunk + 1), Chunk).ShouldBe(0);
        memory.TryGetHostPointer(new(Chunk), 0).ShouldBe(0);
        memory.TryGetHostPointer(new(Chunk), ulong.MaxValue).ShouldBe(0);
    }

    [Fact]
    public void Compare_and_exchange_tells_what_was_there()
    {
        using SparsePhysicalMemory memory = new();
        PhysicalAddress at = new(64);
        memory.CompareExchange64(at, 0, 7, out ulong observed).ShouldBe(MemoryStatus.Success);
        observed.ShouldBe(0ul);
        memory.CompareExchange64(at, 0, 8, out observed).ShouldBe(MemoryStatus.Success);
        observed.ShouldBe(7ul);
        memory.Read64(at, out ulong value);
        value.ShouldBe(7ul);
    }

    [Theory]
    [InlineData(20)]
    [InlineData(57)]
    public void A_width_that_cannot_be_is_refused(int bits) =>
        Should.Throw<ArgumentOutOfRangeException>(() => new SparsePhysicalMemory(bits));

    [Fact]
    public void Threads_that_touch_the_same_fresh_chunks_lose_no_write()
    {
        using SparsePhysicalMemory memory = new();
        const int Threads = 4;
        const int Chunks = 200;
        using Barrier start = new(Threads);
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(id => new Thread(() =>
        {
            start.SignalAndWait();
            for (ulong chunk = 0; chunk < Chunks; chunk++)
            {
                memory.Write64(new((chunk << 33) + ((ulong)id * 8)), ((ulong)id << 32) | (chunk + 1));
                PhysicalAddress counter = new((chunk << 33) + 4096);
                ulong seen = 0;
                while (memory.CompareExchange64(counter, seen, seen + 1, out ulong observed) == MemoryStatus.Success
                    && observed != seen)
                {
                    seen = observed;
                }
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        for (ulong chunk = 0; chunk < Chunks; chunk++)
        {
            for (ulong id = 0; id < Threads; id++)
            {
                memory.Read64(new((chunk << 33) + (id * 8)), out ulong value);
                value.ShouldBe((id << 32) | (chunk + 1));
            }

            memory.Read64(new((chunk << 33) + 4096), out ulong count);
            count.ShouldBe((ulong)Threads);
        }

        memory.CommittedBytes.ShouldBe(Chunks * (long)Chunk);
    }
}
