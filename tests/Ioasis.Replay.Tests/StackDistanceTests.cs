using FsCheck;
using FsCheck.Fluent;
using Ioasis.Replay.Study;

namespace Ioasis.Replay.Tests;

/// <summary>Stack distances against caches of each size that are simulated entry by entry.</summary>
public sealed class StackDistanceTests
{
    private const int Devices = 3;

    /// <summary>What is done with a key: look-ups mostly, and everything that takes entries away.</summary>
    private enum Kind
    {
        Access,
        Remove,
        Detach,
        RemoveDevice,
        RemoveRange,
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(7, 12)]
    [InlineData(40, 60)]
    [InlineData(200, 150)]
    public void Every_size_hits_as_often_as_a_simulated_cache_whatever_is_invalidated(int capacity, int pages)
    {
        Gen<(Kind Kind, int Device, int Page)> step =
            from kind in Gen.Frequency([(40, Gen.Constant(Kind.Access)), (6, Gen.Constant(Kind.Remove)), (3, Gen.Constant(Kind.Detach)), (1, Gen.Constant(Kind.RemoveDevice)), (1, Gen.Constant(Kind.RemoveRange))])
            from device in Gen.Choose(0, Devices - 1)
            from page in Gen.Choose(0, pages - 1)
            select (kind, device, page);
        Prop.ForAll(step.ListOf(2500).ToArbitrary(), steps => Agrees(capacity, steps)).Check(Config.QuickThrowOnFailure.WithMaxTest(8));
    }

    [Fact]
    public void A_copy_goes_on_as_the_original_does()
    {
        Random random = new(7);
        StackDistances original = new(64);
        Play(original, random, 3000);
        StackDistances copy = original.Clone();
        Random again = new(11);
        Random same = new(11);
        Play(copy, again, 3000).ShouldBe(Play(original, same, 3000));
    }

    [Fact]
    public void An_invalidated_entry_leaves_room_that_the_next_takes_without_an_eviction()
    {
        StackDistances stack = new(8);
        foreach (ulong key in (ulong[])[1, 2, 3])
        {
            stack.Access(key).ShouldBe(0);
        }

        // Caches of 1 and 2 have lost 1; the one of 3 has it, and keeps it although 4 comes, for 2 has left a free entry.
        stack.Remove(2).ShouldBeTrue();
        stack.Access(4).ShouldBe(0);
        stack.Access(1).ShouldBe(3);
        stack.Remove(2).ShouldBeFalse();
    }

    [Fact]
    public void The_largest_size_bounds_what_is_remembered()
    {
        StackDistances stack = new(100);
        for (ulong round = 0; round < 3; round++)
        {
            for (ulong key = 0; key < 5000; key++)
            {
                stack.Access(key).ShouldBe(0);
            }
        }

        stack.Count.ShouldBe(100);
        stack.Access(4950).ShouldBe(50);
    }

    private static List<int> Play(StackDistances stack, Random random, int steps)
    {
        List<int> distances = [];
        for (int i = 0; i < steps; i++)
        {
            ulong key = (ulong)random.Next(90);
            if (random.Next(6) == 0)
            {
                stack.Remove(key);
            }
            else
            {
                distances.Add(stack.Access(key));
            }
        }

        return distances;
    }

    private static bool Agrees(int capacity, IReadOnlyList<(Kind Kind, int Device, int Page)> steps)
    {
        StackDistances stack = new(capacity);
        SimulatedLru[] caches = [.. Enumerable.Range(1, capacity).Select(static size => new SimulatedLru(size))];
        foreach ((Kind kind, int device, int page) in steps)
        {
            ulong key = TranslationKey.Of(device, (ulong)page << 12, 0);
            switch (kind)
            {
                case Kind.Access:
                    int distance = stack.Access(key);
                    for (int i = 0; i < caches.Length; i++)
                    {
                        if (caches[i].Access(key) != (distance > 0 && distance <= i + 1))
                        {
                            return false;
                        }
                    }

                    break;

                case Kind.Remove:
                    stack.Remove(key);
                    Array.ForEach(caches, cache => cache.Remove(key));
                    break;

                case Kind.Detach:
                    stack.Detach(key);
                    Array.ForEach(caches, cache => cache.Detach(key));
                    break;

                case Kind.RemoveDevice:
                    TranslationKey.OfDevice all = new(device);
                    stack.RemoveWhere(all);
                    Array.ForEach(caches, cache => cache.RemoveAll(k => all.Names(k)));
                    break;

                default:
                    TranslationKey.InRange range = new(device, (ulong)page << 12, ((ulong)page + 3) << 12);
                    stack.RemoveWhere(range);
                    Array.ForEach(caches, cache => cache.RemoveAll(k => range.Names(k)));
                    break;
            }
        }

        return true;
    }
}
