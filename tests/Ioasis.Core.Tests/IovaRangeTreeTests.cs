using FsCheck.Fluent;
using FsCheck;
using Ioasis.Core;
using Ioasis.Testing;

namespace Ioasis.Core.Tests;

/// <summary>The tree of free ranges against a model of one bit a granule.</summary>
public class IovaRangeTreeTests
{
    private const ulong Last = 300;

    [Fact]
    public void Every_run_of_takes_and_gives_is_what_the_model_does()
    {
        Gen<(int Kind, ulong Start, ulong Count, int AlignmentLog2)> step =
            from kind in Gen.Choose(0, 4)
            from start in Gen.Choose(0, (int)Last)
            from count in Gen.Frequency((3, Gen.Choose(1, 4)), (1, Gen.Choose(1, 60)))
            from alignment in Gen.Choose(0, 6)
            select (kind, (ulong)start, (ulong)count, alignment);
        Prop.ForAll(Arb.From(Gen.ListOf(step)), steps => Run([.. steps]))
            .Check(Config.QuickThrowOnFailure.WithMaxTest(400).WithEndSize(200));
    }

    [Fact]
    public void The_whole_of_64_bits_can_be_free_and_taken()
    {
        IovaRangeTree tree = new();
        tree.TryGive(1, ulong.MaxValue).ShouldBeTrue();
        tree.TryTakeHighest(1, 1, ulong.MaxValue, out ulong start).ShouldBeTrue();
        start.ShouldBe(ulong.MaxValue);
        tree.TryTakeHighest(1ul << 62, 1ul << 62, ulong.MaxValue, out start).ShouldBeTrue();
        start.ShouldBe(1ul << 63);
        tree.TryGive(ulong.MaxValue, ulong.MaxValue).ShouldBeTrue();
        tree.TryGive(start, start + ((1ul << 62) - 1)).ShouldBeTrue();
        tree.Check();
        tree.ToList().ShouldBe([(1ul, ulong.MaxValue)]);
    }

    [Fact]
    public void A_steady_state_allocates_no_managed_memory()
    {
        IovaRangeTree tree = new();
        tree.TryGive(1, 1 << 20).ShouldBeTrue();
        ulong[] held = new ulong[1000];
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < held.Length; i++)
            {
                tree.TryTakeHighest(1 + ((ulong)i % 7), 8, ulong.MaxValue, out held[i]);
            }

            for (int i = 0; i < held.Length; i++)
            {
                int at = i * 389 % held.Length;
                tree.TryGive(held[at], held[at] + ((ulong)at % 7));
            }
        }).ShouldBe(0);

        tree.Count.ShouldBe(1);
    }

    private static void Run((int Kind, ulong Start, ulong Count, int AlignmentLog2)[] steps)
    {
        IovaRangeTree tree = new();
        IovaModel model = new(0, Last);
        tree.TryGive(0, Last).ShouldBeTrue();
        foreach ((int kind, ulong start, ulong count, int alignmentLog2) in steps)
        {
            ulong end = Math.Min(Last, start + count - 1);
            ulong length = end - start + 1;
            switch (kind)
            {
                case 0 or 1:
                    // The limit is the number that the other kinds take for a start.
                    ulong? expected = model.Highest(count, 1ul << alignmentLog2, kind == 0 ? ulong.MaxValue : start);
                    bool found = tree.TryTakeHighest(
                        count, 1ul << alignmentLog2, kind == 0 ? ulong.MaxValue : start, out ulong place);
                    (found ? place : (ulong?)null).ShouldBe(expected);
                    if (found)
                    {
                        model.Take(place, count);
                    }

                    break;
                case 2:
                    bool free = model.IsFree(start, length);
                    tree.TryTake(start, end).ShouldBe(free);
                    if (free)
                    {
                        model.Take(start, length);
                    }

                    break;
                case 3:
                    bool taken = model.IsTaken(start, length);
                    tree.TryGive(start, end).ShouldBe(taken);
                    if (taken)
                    {
                        model.Give(start, length);
                    }

                    break;
                default:
                    tree.TakeAll(start, end);
                    for (ulong i = start; i <= end; i++)
                    {
                        if (model.IsFree(i, 1))
                        {
                            model.Take(i, 1);
                        }
                    }

                    break;
            }

            tree.Check();
            tree.ToList().ShouldBe(model.Free());
            tree.FreeGranules.ShouldBe(Last + 1 - (ulong)model.Taken);
        }
    }
}
