using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Tests;

/// <summary>Orders of threads at an allocator that has hardly anything left.</summary>
public class IovaScheduleTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void What_other_processors_keep_at_hand_is_found_as_long_as_nobody_uses_it(int pagesOfFirst)
    {
        ExplorationResult result = ScheduleExplorer.Explore(() => new NearlyFull(pagesOfFirst), new() { RequiredPreemptions = 2 }).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }

    /// <summary>Two threads with a processor each, which fill their caches with all that there is, and use no more than that.</summary>
    private sealed class NearlyFull : Scenario
    {
        private const ulong Page = 4096;
        private readonly ulong _pages;
        private readonly IovaAllocator _iovas;

        public NearlyFull(int pagesOfFirst)
        {
            // With IOVA 0, which is never given out.
            _pages = (ulong)pagesOfFirst + 1;
            _iovas = new(
                new(0, ((_pages + 1) * Page) - 1), 12,
                new() { CachedOrders = 1, MagazineSize = 2, RefillCount = 2, DepotMagazines = 1, Slots = 2, SlotChooser = Number });
            AddThread("first", () => Use(pagesOfFirst));
            AddThread("second", () => Use(1));
        }

        public override void CheckAtEnd()
        {
            _iovas.FlushCaches();
            _iovas.CheckTree().ShouldBe([(1ul, _pages)]);
        }

        private static int Number() => string.Equals(RunningThread, "second", StringComparison.Ordinal) ? 1 : 0;

        private void Use(int pages)
        {
            Iova[] taken = new Iova[pages];
            for (int round = 0; round < 2; round++)
            {
                for (int i = 0; i < pages; i++)
                {
                    _iovas.TryAllocate(Page, new(ulong.MaxValue), out taken[i]).ShouldBe(Errno.Success);
                }

                foreach (Iova iova in taken)
                {
                    _iovas.Free(iova, Page).ShouldBe(Errno.Success);
                }
            }
        }
    }
}
