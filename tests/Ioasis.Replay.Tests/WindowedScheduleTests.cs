using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>
/// Placing a log's accesses by windows of time, with nothing kept but what is near, is placing them by each mapping's whole history.
/// </summary>
public sealed class WindowedScheduleTests
{
    private const int Pages = 6;
    private const double NsPerSecond = 1e9;

    [Fact]
    public void A_schedule_by_windows_is_the_schedule_by_the_whole_history()
    {
        HashSet<DmaClass> seen = [];
        long refined = 0;
        long near = 0;
        Gen<int> seeds = Gen.Choose(0, int.MaxValue - 1);
        Prop.ForAll(seeds.ToArbitrary(), seed => Same(seed, seen, ref refined, ref near))
            .Check(Config.QuickThrowOnFailure.WithMaxTest(150).WithReplay(0x10a515, 0x5eed | 1));

        // The stories have what the two could differ in.
        seen.ShouldBe(Enum.GetValues<DmaClass>(), ignoreOrder: true);
        refined.ShouldBeGreaterThan(0);
        near.ShouldBeGreaterThan(0);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(70_000)]
    [InlineData(200_000)]
    public void Ranks_are_found_as_by_sorting(int count)
    {
        Random random = new(count);
        SpilledList<double> list = new("list", "values");
        List<double> all = [];
        for (int i = 0; i < count; i++)
        {
            double value = random.Next(4) == 0 ? random.Next(3) * 1e-6 : random.NextDouble() * Math.Pow(10, -random.Next(9));
            list.Add(value);
            all.Add(value);
        }

        all.Sort();
        int[] ranks = count == 0 ? [] : [0, count / 2, count * 9 / 10, count - 1];
        Report.OrderStatistics.Of(list, ranks).ShouldBe(ranks.Select(rank => all[rank]));
    }

    private static bool Same(int seed, HashSet<DmaClass> seen, ref long refined, ref long near)
    {
        Random random = new(seed);
        KernelTrace trace = TraceOf(random);
        DmaLog log = LogOf(random, trace);
        var clocks = ClockTie.Align(trace, log);
        double tolerance = random.Next(3) switch { 0 => 1e-3, 1 => 2e-4, _ => 0.25 };
        MappingPlan plan = Planner.Make(trace);
        WholeSchedule whole = WholeSchedule.Make(plan, log, clocks, tolerance);
        DmaSchedule windowed = DmaSchedule.Make(plan, log, clocks, tolerance);
        windowed.Accesses.ShouldBe(whole.Accesses);
        windowed.Residuals.Order().ShouldBe(whole.Residuals);
        windowed.Refined.ShouldBe(whole.Refined);
        windowed.NearMisses.ShouldBe(whole.NearMisses);
        windowed.FarthestNearMiss.ShouldBe(whole.FarthestNearMiss);
        windowed.Unexplained.ShouldBe(whole.Accesses.Count(static a => a.Class == DmaClass.Unexplained));
        seen.UnionWith(whole.Accesses.Select(static a => a.Class));
        refined += whole.Refined;
        near += whole.NearMisses;
        return true;
    }

    // Few pages and few places for them, so that a page has many lives of which several have the same place; bursts and pauses, so that
    // windows hold much and nothing; in some stories a clock that goes back.
    private static KernelTrace TraceOf(Random random)
    {
        InputLog input = new("story", InputCompression.None, TraceFormat.Ftrace, strict: false);
        KernelTrace trace = new(input);
        int devices = 1 + random.Next(3);
        for (int i = 0; i < devices; i++)
        {
            trace.Devices.Intern(new DeviceId((uint)(8 * (i + 1))));
        }

        bool goesBack = random.Next(4) == 0;
        long time = 1_000_000_000;
        input.At(time);
        int before = random.Next(3);
        List<MappingEvent> events = [];
        int count = 50 + random.Next(500);
        for (int i = 0; i < count; i++)
        {
            time += random.Next(40) switch
            {
                0 => random.Next(300_000_000),
                < 4 => random.Next(5_000_000),
                < 8 => 0,
                _ => random.Next(20_000),
            };
            long at = i < before ? 1_000_000_000 : goesBack && random.Next(10) == 0 ? time - random.Next(2_000_000) : time;
            ulong pages = random.Next(6) == 0 ? (ulong)(1 + random.Next(Pages)) : 1;
            bool unmap = random.Next(5) < 2;
            events.Add(new()
            {
                TimeNs = at,
                Iova = (ulong)random.Next(Pages) << 12,
                Length = pages << 12,
                Value = unmap ? pages << 12 : ((ulong)random.Next(3) << 20) + ((ulong)random.Next(2) << 12),
                Line = i + 1,
                Device = unmap && random.Next(20) == 0 ? -1 : random.Next(devices),
                Evidence = Evidence.DmaMapPhys,
                IsUnmap = unmap,
            });
            input.At(at);
        }

        trace = trace.Whole([.. events], []);
        if (before > 0)
        {
            trace = TraceEvents.Of(trace.Whole([.. events.Skip(before)], [])).After([.. events.Take(before)]).Whole();
        }

        trace.Marks = new Dictionary<int, TraceMark>
        {
            [1] = new(1, 500_000_000, "one", 1),
            [2] = new(2, time + 500_000_000, "two", 2),
        };
        return trace;
    }

    private static DmaLog LogOf(Random random, KernelTrace trace)
    {
        InputLog input = new("story.log", InputCompression.None, TraceFormat.DmaLog, strict: false);
        DmaLog log = new(input);
        for (int i = 0; i < trace.Devices.Count; i++)
        {
            log.Devices.Intern(trace.Devices.Id(i));
        }

        // The log's clock is ahead by a constant, and for some accesses late or early: within the tolerance, near it, or far.
        const long ahead = 1_700_000_000_000_000_000;
        long lateMark = random.Next(3) == 0 ? random.Next(100_000_000) : 0;
        log.Marks = new Dictionary<int, long> { [1] = trace.Marks[1].TimeNs + ahead, [2] = trace.Marks[2].TimeNs + ahead + lateMark };
        bool early = random.Next(3) == 0;
        bool goesBack = random.Next(3) == 0;
        List<DmaAccess> accesses = [];
        foreach (MappingEvent e in trace.Mappings)
        {
            for (int i = random.Next(4); i > 0; i--)
            {
                long late = early ? -4_000_000 - random.Next(500_000) : random.Next(12) switch
                {
                    0 => -random.Next(1_500_000),
                    1 => -random.Next(20_000_000),
                    2 => random.Next(150_000_000),
                    3 => -random.Next(150_000_000),
                    _ => random.Next(1_500_000),
                };
                ulong page = (e.Iova >> 12) + (ulong)random.Next((int)Math.Min(e.Length >> 12, 3));
                accesses.Add(new()
                {
                    TimeNs = e.TimeNs + ahead + late,
                    Iova = (page << 12) + (ulong)random.Next(4096),
                    Physical = e.IsUnmap || random.Next(8) == 0 ? (ulong)random.Next(3) << 20 : e.Value + ((page << 12) - e.Iova),
                    Line = accesses.Count + 1,
                    Device = Math.Max(e.Device, 0),
                    Access = Access.Read,
                    Outcome = random.Next(15) == 0 ? DmaOutcome.Faulted : DmaOutcome.Translated,
                    SizeLog2 = random.Next(5) == 0 ? DmaAccess.UnknownSize : (byte)12,
                });
            }
        }

        accesses.Add(new() { TimeNs = ahead + (long)(0.1 * NsPerSecond), Iova = 0, Line = accesses.Count + 1, SizeLog2 = 12 });
        foreach (DmaAccess access in goesBack ? accesses : [.. accesses.OrderBy(static a => a.TimeNs)])
        {
            log.Accesses.Add(access);
        }

        return log;
    }
}
