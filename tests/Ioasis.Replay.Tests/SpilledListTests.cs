using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Tests;

/// <summary>What a list keeps, in memory and in a file, is what was added, in whatever order it is read.</summary>
public sealed class SpilledListTests
{
    private const int Block = 1 << 14;
    private const int InMemory = 32 * Block;

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0)]
    [InlineData(Block, 0)]
    [InlineData(InMemory + Block, 0)]
    [InlineData(InMemory + Block + 1, Block)]
    [InlineData(InMemory + (3 * Block), 2 * Block)]
    [InlineData(InMemory + (5 * Block) + 77, 5 * Block)]
    public void What_was_added_is_read_again(int count, int inFile)
    {
        SpilledList<DmaAccess> list = Make(count);

        list.Length.ShouldBe(count);
        list.InFile.ShouldBe(inFile);
        SpilledList<DmaAccess>.Reader forwards = list.Read();
        SpilledList<DmaAccess>.Reader backwards = list.Read();
        for (int i = 0; i < count; i++)
        {
            IsThe(i, forwards[i]).ShouldBeTrue();
            IsThe(count - 1 - i, backwards[count - 1 - i]).ShouldBeTrue();
        }

        int next = 0;
        foreach (DmaAccess access in list)
        {
            IsThe(next++, access).ShouldBeTrue();
        }

        next.ShouldBe(count);
        Should.Throw<ArgumentOutOfRangeException>(() => list.Read()[count].Line);
    }

    [Fact]
    public void Readers_of_several_threads_and_jumps_between_blocks_see_the_same()
    {
        const int count = InMemory + (6 * Block) + 5;
        SpilledList<DmaAccess> list = Make(count);
        Parallel.For(0, 4, seed =>
        {
            SpilledList<DmaAccess>.Reader reader = list.Read();
            Random random = new(seed);
            for (int i = 0; i < 500; i++)
            {
                int index = random.Next(count);
                IsThe(index, reader[index]).ShouldBeTrue();
            }
        });
    }

    private static SpilledList<DmaAccess> Make(int count)
    {
        SpilledList<DmaAccess> list = new("log", "accesses", InMemory / Block);
        for (int i = 0; i < count; i++)
        {
            list.Add(new() { TimeNs = i, Iova = (ulong)i * 4096, Physical = ~(ulong)i, Line = i + 1, Device = i & 7, Pasid = (uint)i });
        }

        return list;
    }

    private static bool IsThe(int number, in DmaAccess access) =>
        access.TimeNs == number && access.Iova == (ulong)number * 4096 && access.Physical == ~(ulong)number && access.Line == number + 1
        && access.Device == (number & 7) && access.Pasid == (uint)number;
}
