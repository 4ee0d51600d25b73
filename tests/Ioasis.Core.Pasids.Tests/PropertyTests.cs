using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Any sequence of operations, against the model; and in great numbers, with an audit at the end.</summary>
public sealed class PropertyTests
{
    [Fact]
    [Trait("Requirement", "S0.3")]
    [Trait("Requirement", "S0.4")]
    [Trait("Requirement", "S0.9")]
    [Trait("Requirement", "S0.10")]
    [Trait("Requirement", "S1.9")]
    public void Any_sequence_of_operations_does_what_the_model_says_and_keeps_every_invariant()
    {
        long successes = 0;
        Gen<int[]> steps = Gen.Choose(0, int.MaxValue - 1).ArrayOf(150);
        Prop.ForAll(steps.ToArbitrary(), sequence =>
        {
            Model model = new(24, checkAlways: true);
            foreach (int step in sequence)
            {
                model.Step(step);
            }

            model.End();
            successes += model.Successes;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(ExplorerOptions.All ? 5000 : 250));
        successes.ShouldBeGreaterThan(1000, "most sequences must do something");
    }

    [Fact]
    public void Many_random_operations_on_one_thread_leave_nothing()
    {
        Model model = new(24, checkAlways: false);
        Random random = new(7);
        for (int i = 0; i < (ExplorerOptions.All ? 1_000_000 : 30_000); i++)
        {
            model.Step(random.Next());
        }

        model.End();
    }

    /// <summary>10,000,000 operations under load with IOASIS_TEST_ALL=1, 200,000 otherwise.</summary>
    [Fact]
    [Trait("Requirement", "S2.1")]
    public void Random_operations_of_four_threads_never_share_a_number_and_leave_nothing()
    {
        const int Threads = 4;
        int rounds = (ExplorerOptions.All ? 10_000_000 : 200_000) / Threads;
        PasidAllocator allocator = new(new() { DrainPatience = TimeSpan.FromMinutes(5) });
        allocator.TryInstallCapacity(1000).ShouldBe(Errno.Success);
        PasidSet[] sets = [allocator.NewSet(300), allocator.NewSet(300)];
        StrongBox<Ioasid>?[] owners = new StrongBox<Ioasid>?[1000];
        long allocated = 0, destroyed = 0;
        Parallel.For(0, Threads, new() { MaxDegreeOfParallelism = Threads }, thread =>
        {
            Random random = new(thread);
            List<(Ioasid Ioasid, bool Owner, FakeUser? User)> held = [];
            for (int i = 0; i < rounds; i++)
            {
                PasidSet set = Volatile.Read(ref sets[random.Next(2)]);
                switch (random.Next(16))
                {
                    case < 6:
                        if (held.Count < 120 && set.TryAllocate(
                            new() { Policy = (PasidPolicy)random.Next(2), Guest = random.Next(8) == 0 ? new((uint)random.Next(500)) : null },
                            out Ioasid made) == Errno.Success)
                        {
                            Interlocked.Increment(ref allocated);
                            Ioasid before = Interlocked.Exchange(ref owners[made.Pasid.Value], new(made))?.Value ?? default;

                            // Or this one was freed with its set before it came to the mark.
                            (before.State == IoasidState.Free || made.State == IoasidState.Free)
                                .ShouldBeTrue("a number lives twice");
                            held.Add((made, true, null));
                        }

                        break;
                    case 6 or 7:
                        if (held.Count < 120 && allocator.TryGet(new((uint)random.Next(1, 1000)), out Ioasid found) == Errno.Success)
                        {
                            found!.References.ShouldBeGreaterThan(0);
                            held.Add((found, false, null));
                        }

                        break;
                    case 8 when held.Count > 0:
                        int at = random.Next(held.Count);
                        FakeUser user = new();
                        if (held[at].User is null && held[at].Ioasid.TryAddUser(user) == Errno.Success)
                        {
                            held[at] = held[at] with { User = user };
                        }

                        break;
                    case 9 when random.Next(500) == 0:
                        if (random.Next(2) == 0)
                        {
                            set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
                            break;
                        }

                        int index = random.Next(2);
                        PasidSet old = Volatile.Read(ref sets[index]);
                        old.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
                        if (allocator.TryCreateSet(new() { Quota = 300 }, out PasidSet? fresh) == Errno.Success)
                        {
                            Interlocked.Increment(ref destroyed);
                            Volatile.Write(ref sets[index], fresh!);
                        }

                        break;
                    case 10:
                        _ = set.AdjustQuota((uint)random.Next(250, 350));
                        break;
                    default:
                        if (held.Count > 0)
                        {
                            LetGo(held, random.Next(held.Count), random);
                        }

                        break;
                }
            }

            while (held.Count > 0)
            {
                LetGo(held, held.Count - 1, random);
            }
        });
        allocator.GetDrainReports().ShouldBeEmpty();
        allocator.Audit.ShouldBe(new(allocator.Audit.Sets, 0, 0, 0, allocator.Audit.Reserved));
        foreach (PasidSet set in sets)
        {
            set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        }

        for (uint id = 1; id < 1000; id++)
        {
            _ = allocator.FreeSet(new(id), PasidSetDisposition.Destroy);
        }

        allocator.Audit.IsEmpty.ShouldBeTrue(allocator.Audit.ToString());
        allocated.ShouldBeGreaterThan(rounds / 10);
        destroyed.ShouldBeGreaterThan(0);
    }

    [Fact]
    [Trait("Requirement", "S0.14")]
    [Trait("Requirement", "S2.8")]
    public void A_failure_at_any_step_leaves_everything_as_it_was()
    {
        int steps = FailAtEveryStep.Run(
            static () => (Allocator: Support.NewAllocator(), Token: new object()),
            static state =>
            {
                Errno error = state.Allocator.RootQuota.TryAdd("node", 20, out PasidQuota? node);
                PasidSet? set = null;
                Ioasid ioasid = default;
                FakeUser user = new();
                using VmPasidTable table = new();
                bool added = false;
                error = error != Errno.Success ? error : state.Allocator.TryCreateSet(new() { Quota = 5, Token = state.Token, Account = node }, out set);
                error = error != Errno.Success ? error : set!.TryAllocate(new(), out ioasid);
                error = error != Errno.Success ? error : set!.TryMapGuest(new(3), ioasid);
                error = error != Errno.Success ? error : ioasid.TryAddUser(user);
                added = error == Errno.Success;
                error = error != Errno.Success ? error : table.Map(new(3), ioasid);

                // One way back for all: only what was done is undone.
                table.Dispose();
                if (added)
                {
                    ioasid.RemoveUser(user).ShouldBe(Errno.Success);
                }

                _ = ioasid.Free();
                _ = set?.FreeAll(PasidSetDisposition.Destroy);
                node?.Remove().ShouldBe(Errno.Success);
                return error;
            },
            static (state, result, step) =>
            {
                result.ShouldBe(step == 0 ? Errno.Success : Errno.OutOfMemory);
                state.Allocator.Audit.IsEmpty.ShouldBeTrue();
                state.Allocator.FindSet(state.Token).ShouldBeNull();
            });
        steps.ShouldBe(6);
    }

    private static void LetGo(List<(Ioasid Ioasid, bool Owner, FakeUser? User)> held, int index, Random random)
    {
        (Ioasid ioasid, bool owner, FakeUser? user) = held[index];
        held[index] = held[^1];
        held.RemoveAt(held.Count - 1);
        if (owner)
        {
            _ = random.Next(3) == 0 ? ioasid.Disown() : ioasid.Free();
        }

        if (user is not null)
        {
            ioasid.RemoveUser(user).ShouldBe(Errno.Success);
        }

        if (!owner)
        {
            ioasid.Put();
        }
    }
}
