using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware.Tests.Fuzz;

namespace Ioasis.RiscV.Hardware.Tests.Concurrency;

/// <summary>
/// Translations from several threads against invalidations and fences in another. A page moves through ever higher physical pages:
/// "version". The software stores a version, invalidates, fences, and then announces it. A translation that begins after the
/// announcement must not give an older version (invariant 1, section 2.8 and 3.1.2).
/// </summary>
public sealed class StaleTranslationTests
{
    private const int Pages = 64;
    private const int Translators = 2;
    private const uint Device = 5;
    private const uint Pscid = 9;
    private const uint Gscid = 3;
    private const ulong FirstIova = 0x4000_0000;
    private const ulong FirstVersion = 0x8000_0000;

    private static readonly bool s_all = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1";

    [Theory]
    [InlineData(CachingMode.None, false)]
    [InlineData(CachingMode.Realistic, false)]
    [InlineData(CachingMode.Hostile, false)]
    [InlineData(CachingMode.None, true)]
    [InlineData(CachingMode.Realistic, true)]
    [InlineData(CachingMode.Hostile, true)]
    public void No_translation_that_begins_after_a_fence_yields_the_old_page(CachingMode caching, bool secondStage)
    {
        using TestBed bed = new(new() { Caching = caching, IotlbEntries = 32, IotlbWays = 4 });
        TestBed.Space space = bed.AddDevice(Device, Pscid, secondStage ? Gscid : null);
        ulong[] entries = new ulong[Pages];
        for (int i = 0; i < Pages; i++)
        {
            ulong page = FirstVersion + ((ulong)i << 12);
            entries[i] = secondStage ? MapBoth(space, i, page) : space.Map(Iova(i), page);
        }

        long[] announced = new long[Pages];
        bool stop = false;
        string? failure = null;
        long translations = 0;
        Thread[] threads = new Thread[Translators];
        for (int t = 0; t < Translators; t++)
        {
            int seed = t;
            threads[t] = new(() =>
            {
                Random random = new(seed);
                long done = 0;
                while (!Volatile.Read(ref stop))
                {
                    int page = random.Next(Pages);
                    long atLeast = Volatile.Read(ref announced[page]);
                    bed.Iommu.Translate(new(new(Device), new(Iova(page) + 0x123)), out DmaTranslation result);
                    long got = (long)((result.Address.Value - FirstVersion) >> 12) / Pages;
                    bool right = result.Status == DmaStatus.Success && got >= atLeast
                        && (result.Address.Value & 0xfff) == 0x123 && (int)((result.Address.Value >> 12) % Pages) == page;
                    if (!right)
                    {
                        Volatile.Write(ref failure, $"page {page}: {result}, at least version {atLeast}");
                        break;
                    }

                    done++;
                }

                Interlocked.Add(ref translations, done);
            });
            threads[t].Start();
        }

        Random software = new(1);
        int rounds = s_all ? 20_000 : 500;
        for (int round = 0; round < rounds && Volatile.Read(ref failure) is null; round++)
        {
            int page = software.Next(Pages);
            long version = announced[page] + 1;
            bed.Store(entries[page], TestBed.Space.LeafTo(FirstVersion + ((((ulong)version * Pages) + (ulong)page) << 12)));
            bed.Submit(
                secondStage ? InvalidateGuest(software, page) : InvalidateHost(software, page),
                Command.InvalidateFirstStage(secondStage ? Gscid : null, null, secondStage ? null : Iova(page)),
                Command.Fence());
            Volatile.Write(ref announced[page], version);
            if ((round & 63) == 0)
            {
                Thread.Yield();
            }
        }

        Volatile.Write(ref stop, true);
        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        failure.ShouldBeNull();
        translations.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void A_fence_returns_only_after_an_access_that_began_before_has_finished_with_the_old_page()
    {
        GateMemory? gate = null;
        using TestBed bed = new(new() { Caching = CachingMode.Realistic }, memory => gate = new(memory));
        TestBed.Space space = bed.AddDevice(Device, Pscid, null);
        ulong entry = space.Map(Iova(0), FirstVersion);
        gate!.GatedPage = FirstVersion;

        bool accessDone = false;
        DmaStatus status = DmaStatus.UnsupportedRequest;
        Thread device = new(() =>
        {
            byte[] data = new byte[64];
            status = bed.Iommu.Read(new(new(Device), new(Iova(0))), data);
            Volatile.Write(ref accessDone, true);
        });
        device.Start();
        gate.Entered.Wait(TestContext.Current.CancellationToken);

        // The device has translated and is about to touch the old page. The fence must wait for it; the gate opens when it does.
        bool? doneAtReturn = null;
        Thread software = new(() =>
        {
            Injection.Current = new OnWait(gate.Open.Set);
            bed.Store(entry, TestBed.Space.LeafTo(FirstVersion + 0x1000));
            bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova(0)), Command.Fence());
            doneAtReturn = gate.Finished;
        });
        software.Start();
        bool returned = software.Join(TimeSpan.FromSeconds(30));
        gate.Open.Set();
        device.Join();
        software.Join();

        returned.ShouldBeTrue("the fence waits for the access at a point where schedules switch");
        doneAtReturn.ShouldBe(true);
        status.ShouldBe(DmaStatus.Success);
        accessDone.ShouldBeTrue();
    }

    [Theory]
    [InlineData(CommandOpcode.Iotinval, false, false, true)]
    [InlineData(CommandOpcode.Iodir, false, false, true)]
    [InlineData(CommandOpcode.Iofence, true, false, true)]
    [InlineData(CommandOpcode.Iofence, false, true, true)]
    [InlineData(CommandOpcode.Iofence, false, false, false)]
    internal void A_fence_waits_for_accesses_under_way_if_it_is_behind_an_invalidation_or_orders_reads_or_writes(
        CommandOpcode before, bool reads, bool writes, bool waits)
    {
        GateMemory? gate = null;
        using TestBed bed = new(new() { Caching = CachingMode.Realistic }, memory => gate = new(memory));
        _ = bed.AddDevice(Device, Pscid, null).Map(Iova(0), FirstVersion);
        gate!.GatedPage = FirstVersion;
        Thread device = new(() => bed.Iommu.Read(new(new(Device), new(Iova(0))), new byte[64]));
        device.Start();
        gate.Entered.Wait(TestContext.Current.CancellationToken);

        bool? doneAtReturn = null;
        Thread software = new(() =>
        {
            Injection.Current = new OnWait(gate.Open.Set);
            Command fence = Command.Fence(reads: reads, writes: writes);
            switch (before)
            {
                case CommandOpcode.Iotinval:
                    bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova(1)), fence);
                    break;
                case CommandOpcode.Iodir:
                    bed.Submit(Command.InvalidateDeviceDirectory(Device + 1), fence);
                    break;
                default:
                    bed.Submit(fence);
                    break;
            }

            doneAtReturn = gate.Finished;
        });
        software.Start();
        bool returned = software.Join(TimeSpan.FromSeconds(30));
        gate.Open.Set();
        device.Join();
        software.Join();

        returned.ShouldBeTrue();
        doneAtReturn.ShouldBe(waits);
    }

    [Fact]
    public void A_fence_does_not_wait_for_an_access_at_another_IOMMU()
    {
        GateMemory? gate = null;
        using TestBed busy = new(new() { Caching = CachingMode.Realistic }, memory => gate = new(memory));
        using TestBed other = new(new() { Caching = CachingMode.Realistic });
        _ = busy.AddDevice(Device, Pscid, null).Map(Iova(0), FirstVersion);
        gate!.GatedPage = FirstVersion;
        Thread device = new(() => busy.Iommu.Read(new(new(Device), new(Iova(0))), new byte[64]));
        device.Start();
        gate.Entered.Wait(TestContext.Current.CancellationToken);

        Thread software = new(() => other.Submit(Command.InvalidateFirstStage(null, null, null), Command.Fence()));
        software.Start();
        bool returned = software.Join(TimeSpan.FromSeconds(30));
        bool finished = gate.Finished;
        gate.Open.Set();
        device.Join();
        software.Join();

        returned.ShouldBeTrue();
        finished.ShouldBeFalse("the access is still under way");
    }

    private static ulong Iova(int page) => FirstIova + ((ulong)page << 12);

    private static ulong MapBoth(TestBed.Space space, int index, ulong physical)
    {
        ulong guest = 0x1_0000_0000 + ((ulong)index << 12);
        _ = space.Map(Iova(index), guest);
        return space.MapGuest(guest, physical);
    }

    private static Command InvalidateHost(Random random, int page) => random.Next(4) switch
    {
        0 => Command.InvalidateFirstStage(null, null, null),
        1 => Command.InvalidateFirstStage(null, Pscid, null),
        2 => Command.InvalidateFirstStage(null, Pscid, Iova(page)),
        _ => Command.InvalidateFirstStage(null, null, Iova(page)),
    };

    private static Command InvalidateGuest(Random random, int page) => random.Next(3) switch
    {
        0 => Command.InvalidateSecondStage(null, null),
        1 => Command.InvalidateSecondStage(Gscid, null),
        _ => Command.InvalidateSecondStage(Gscid, 0x1_0000_0000 + ((ulong)page << 12)),
    };

    private sealed class OnWait(Action action) : IInjector
    {
        public Errno OnPoint(InjectionKind kind)
        {
            if (kind == InjectionKind.Wait)
            {
                action();
            }

            return Errno.Success;
        }
    }
}
