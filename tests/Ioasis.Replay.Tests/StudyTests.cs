using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Study;
using Ioasis.TraceGenerator;

namespace Ioasis.Replay.Tests;

/// <summary>Studies of recordings: held to simulations that go through the same recording by a way of their own.</summary>
public sealed class StudyTests : IDisposable
{
    private static readonly int[] s_sizes = [1, 2, 3, 5, 8, 13, 32, 64, 100, 256, 777, 1024, 4096, 16384, 65536];
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData("riscv-middle.dma.log.gz", null)]
    [InlineData("riscv-middle.ftrace.txt.gz", "riscv-middle.dma.log.gz")]
    [InlineData("riscv-faults.ftrace.txt.gz", "riscv-faults.dma.log.gz")]
    [InlineData("x86-disk.ftrace.txt", null)]
    [InlineData("x86-lazy.ftrace.txt.xz", null)]
    [InlineData("riscv-strict.ftrace.txt.xz", null)]
    public void Every_size_hits_as_often_as_when_it_alone_is_simulated(string trace, string? log)
    {
        StudyReport report = Study(trace, log);
        List<(ulong Key, bool IsRemoval)> stream = Stream(trace, log);
        stream.Count(static step => !step.IsRemoval).ShouldBe((int)report.AsMapped.Accesses);
        foreach (int size in s_sizes)
        {
            SimulatedLru cache = new(size);
            long hits = 0;
            foreach ((ulong key, bool isRemoval) in stream)
            {
                if (isRemoval)
                {
                    cache.Remove(key);
                }
                else
                {
                    hits += cache.Access(key) ? 1 : 0;
                }
            }

            report.AsMapped.HitsAt(size).ShouldBe(hits, $"with {size} entries");
        }
    }

    [Theory]
    [InlineData("riscv-strict.ftrace.txt.xz")]
    [InlineData("x86-faults.ftrace.txt.gz")]
    public void The_devices_share_what_all_have(string trace)
    {
        StudyReport report = Study(trace, null);
        report.Devices.Sum(static device => device.Curve.Accesses).ShouldBe(report.AsMapped.Accesses);
        foreach (int size in s_sizes)
        {
            report.Devices.Sum(device => device.Curve.HitsAt(size)).ShouldBe(report.AsMapped.HitsAt(size));
        }

        report.Devices.Sum(static device => device.Maps).ShouldBe(report.Maps);
        report.Walks.Walks.ShouldBe(report.AsMapped.Accesses - report.AsMapped.HitsAt(64));
        foreach (WalkModeReport mode in report.Walks.Modes)
        {
            mode.Reads.ShouldBe(mode.Reads.OrderDescending());
            mode.Reads[^1].ShouldBeGreaterThanOrEqualTo(report.Walks.Walks);
            mode.NestedReads.ShouldBeGreaterThan(mode.Reads[0]);
        }
    }

    [Fact]
    public void A_cache_of_one_set_is_the_fully_associative_one_and_more_ways_of_LRU_are_simulated_as_such()
    {
        StudyReport report = TraceStudy.Run(
            Recordings.PathOf("riscv-middle.dma.log.gz"), null, new() { Geometries = [new(1, 1), new(16, 16), new(64, 64)] }, null, TestContext.Current.CancellationToken);
        foreach (SimulationReport simulation in report.Simulations.Where(static s => s.Replacement == Replacement.Lru || s.Entries == 1))
        {
            simulation.Hits.ShouldBe(simulation.FullyAssociativeHits);
        }

        report.Simulations.ShouldAllBe(s => s.Hits > 0 && s.Hits <= report.AsMapped.HitsAt(StudyOptions.LargestSize));
    }

    [Fact]
    public void Buffers_that_could_have_had_large_leaves_are_counted_and_their_hits_told()
    {
        // 64 KiB whose IOVA is aligned and whose memory is not; 2 MiB that are aligned alike but not at a boundary; 2 MiB at a boundary; a page.
        string text = new Trace()
            .Map("0000:00:01.0", 0x100000, 0x10000, 0x4000_3000)
            .Map("0000:00:01.0", 0x1000_0000 + 0x8000, 0x200000, 0x5000_8000)
            .Map("0000:00:01.0", 0x2000_0000, 0x200000, 0x6000_0000)
            .Map("0000:00:01.0", 0x3000_0000, 0x1000, 0x7000_0000)
            .ToString();
        StudyReport report = StudyOf(text, new() { Use = AssumedUse.Map });

        PageSizeReport small = report.PageSizes[0];
        (small.SizeBytes, small.Maps, small.LongEnough, small.IovaAligned, small.AsMapped).ShouldBe((1 << 16, 4, 3, 2, 2));
        (small.AsMappedBytes, small.AlignedBytes).ShouldBe((0x1f_0000 + 0x20_0000, 0x1_0000 + 0x40_0000));
        PageSizeReport large = report.PageSizes[1];
        (large.LongEnough, large.IovaAligned, large.AsMapped, large.AsMappedBytes).ShouldBe((2, 1, 1, 0x20_0000));

        // Accesses are 16 + 512 + 512 + 1; all but the first of each leaf hit in one entry.
        Hits(LeafRule.SmallestOnly).ShouldBe(0);
        Hits(LeafRule.AsMapped).ShouldBe(1041 - (16 + 31 + 16 + 1 + 1));
        Hits(LeafRule.IovaAlignedToMemory).ShouldBe(Hits(LeafRule.AsMapped));
        Hits(LeafRule.Aligned64KiB).ShouldBe(1041 - (1 + 32 + 32 + 1));
        Hits(LeafRule.Aligned2MiB).ShouldBe(1041 - 4);
        report.Walks.Modes.Single(static mode => mode.Levels == 4).Reads[0].ShouldBe((4 * (16 + 31 + 16 + 1)) + 3);

        long Hits(LeafRule rule) => report.Layouts.Single(layout => layout.Rule == rule).Curve.HitsAt(1);
    }

    [Fact]
    public void Lazy_invalidation_keeps_entries_in_the_way_until_a_flush_and_costs_fewer_commands()
    {
        const string device = "0000:00:01.0";
        Trace trace = new();
        for (int i = 0; i < 600; i++)
        {
            trace.Map(device, 0x100000, 0x1000, 0x4000_0000).Unmap(device, 0x100000, 0x1000);
        }

        StudyReport report = StudyOf(trace.ToString(), new());
        InvalidationReport invalidation = report.Invalidation;
        (invalidation.Strict.Commands, invalidation.Strict.Waits).ShouldBe((600, 600));
        invalidation.Lazy.Waits.ShouldBeInRange(100, 400);
        invalidation.LongestStaleSeconds.ShouldBe(0.01, 1e-6);
        invalidation.MostStalePages.ShouldBeInRange(2, 10);
        invalidation.Strict.CommandSeconds.ShouldBe(600 * 550e-9, 1e-12);

        // Strict leaves nothing behind, so that one entry is enough; a stale one is nobody's.
        report.AsMapped.HitsAt(1).ShouldBe(600);
        invalidation.LazyCurve.HitsAt(1).ShouldBe(600);
        report.Allocation.Reused.ShouldBe(599);
    }

    [Fact]
    public void What_stays_of_a_mapping_of_which_a_part_goes_is_not_used_anew()
    {
        const string device = "0000:00:01.0";
        string text = new Trace().Map(device, 0x100000, 0x4000, 0x4000_0000).Unmap(device, 0x101000, 0x1000).ToString();
        StudyReport report = StudyOf(text, new() { Use = AssumedUse.Map });
        report.AsMapped.Accesses.ShouldBe(4);
        report.PageSizes[0].Maps.ShouldBe(1);
    }

    [Fact]
    public void One_thread_and_two_and_a_stream_of_any_length_give_the_same()
    {
        using (FileStream file = File.Create(_path))
        {
            new TraceWriter(file, new() { Devices = 5, Live = 700, Pages = 100_000 }).Write(120_000);
        }

        StudyReport alone = TraceStudy.Run(_path, null, new() { Reading = new() { ReadInThread = false } }, null, TestContext.Current.CancellationToken);
        StudyReport two = TraceStudy.Run(_path, null, new() { Reading = new() { ReadInThread = true } }, null, TestContext.Current.CancellationToken);
        two.AsMapped.Sizes.ShouldBe(alone.AsMapped.Sizes);
        two.AsMapped.Hits.ShouldBe(alone.AsMapped.Hits);
        two.Invalidation.LazyCurve.Hits.ShouldBe(alone.Invalidation.LazyCurve.Hits);
        two.Invalidation.Strict.ShouldBe(alone.Invalidation.Strict);
        two.Simulations.ShouldBe(alone.Simulations);
        two.Maps.ShouldBe(alone.Maps);
        two.Maps.ShouldBeGreaterThan(29_000);
    }

    [Fact]
    public void A_recording_without_a_map_is_refused() =>
        Should.Throw<TraceInputException>(() => StudyOf(new Trace().Unmap("0000:00:01.0", 0x100000, 0x1000).ToString(), new())).Error.ShouldBe(TraceInputError.NothingToReplay);

    private static StudyReport Study(string trace, string? log) =>
        TraceStudy.Run(Recordings.PathOf(trace), log is null ? null : Recordings.PathOf(log), null, null, TestContext.Current.CancellationToken);

    private StudyReport StudyOf(string text, StudyOptions options)
    {
        File.WriteAllText(_path, text);
        return TraceStudy.Run(_path, null, options, null, TestContext.Current.CancellationToken);
    }

    // The look-ups and invalidations of a recording, from a plan that is held whole and leaves that are cut from the front.
    private static List<(ulong Key, bool IsRemoval)> Stream(string trace, string? log)
    {
        CancellationToken none = TestContext.Current.CancellationToken;
        LoadedRecording recording = RecordingReader.Read(Recordings.PathOf(trace), null, none);
        ulong last = (1ul << PageTableFormat.Of<Sv57>().ApertureBits) - 1;
        List<(ulong Key, bool IsRemoval)> stream = [];
        if (recording.Log is { } alone)
        {
            (MappingPlan learned, ScheduledDma[] accesses) = LearnedTrace.Learn(alone, last);
            Walk(learned, alone, accesses, stream);
        }
        else if (log is not null)
        {
            DmaLog beside = RecordingReader.Read(Recordings.PathOf(log), null, none).Log!;
            TraceEvents events = TraceEvents.Of(recording.Trace!);
            DmaPlan plan = DmaPlanner.Make(
                events, beside, ClockTie.Align(recording.Trace!, beside, events.Events.Select(static e => e.TimeNs)), new() { LastIova = last }, 0.001, none);
            KernelTrace traced = plan.Trace.Events.Trace;
            traced.Mappings = [.. plan.Trace.Events.Events];
            Walk(Planner.Make(traced, plan.Trace.Options), beside, [.. plan.Schedule.Accesses], stream);
        }
        else
        {
            Walk(Planner.Make(OwnerAssignment.FromTrace(recording.Trace!), new() { LastIova = last }), null, [], stream);
        }

        return stream;
    }

    private static void Walk(MappingPlan plan, DmaLog? log, ScheduledDma[] accesses, List<(ulong Key, bool IsRemoval)> stream)
    {
        Dictionary<int, SortedDictionary<ulong, Area>> live = [];
        SpilledList<DmaAccess>.Reader? logged = log?.Accesses.Read();
        int next = 0;
        int unmapEvent = -1;
        for (int i = 0; i < plan.Steps.Length; i++)
        {
            Access(i - 1);
            PlanStep step = plan.Steps[i];
            if (!live.TryGetValue(step.Device, out SortedDictionary<ulong, Area>? areas))
            {
                live[step.Device] = areas = [];
            }

            if (step.Kind == StepKind.Map)
            {
                Area area = plan.Areas[step.Area];
                areas[area.Start] = area;
                if (log is null && step.Event != unmapEvent)
                {
                    Touch(area);
                }

                continue;
            }

            unmapEvent = step.CheckLength > 0 ? step.Event : -1;
            for (int k = 0; k < step.AreaCount; k++)
            {
                Area area = plan.Areas[plan.Ended[step.Area + k]];
                if (log is null)
                {
                    Touch(area);
                }

                foreach ((ulong at, int size) in Leaves(area))
                {
                    stream.Add((TranslationKey.Of(area.Device, at, size), true));
                }

                areas.Remove(area.Start);
            }
        }

        Access(int.MaxValue);

        void Touch(Area area)
        {
            foreach ((ulong at, int size) in Leaves(area))
            {
                ulong end = Math.Min(at + (1ul << TranslationKey.SizesLog2[size]), area.Start + Math.Min(area.Length, 1 << 22));
                for (ulong page = at; page < end; page += 4096)
                {
                    stream.Add((TranslationKey.Of(area.Device, at, size), false));
                }
            }
        }

        void Access(int afterStep)
        {
            for (; next < accesses.Length && accesses[next].AfterStep <= afterStep; next++)
            {
                if (accesses[next].Class is DmaClass.RecordedFault or DmaClass.OutsideRecording)
                {
                    continue;
                }

                ulong iova = logged![accesses[next].Access].Iova;
                if (!live.TryGetValue(accesses[next].Device, out SortedDictionary<ulong, Area>? areas))
                {
                    continue;
                }

                foreach (Area area in areas.Values.Where(a => iova - a.Start < a.Length))
                {
                    (ulong at, int size) = Leaves(area).Last(leaf => leaf.Start <= iova);
                    stream.Add((TranslationKey.Of(area.Device, at, size), false));
                }
            }
        }
    }

    // From the front, always the largest that alignment and rest allow.
    private static IEnumerable<(ulong Start, int SizeClass)> Leaves(Area area)
    {
        for (ulong offset = 0; offset < area.Length;)
        {
            int size = TranslationKey.Classes - 1;
            while (size > 0 && (((area.Start + offset) | (area.Physical + offset) | 0) % (1ul << TranslationKey.SizesLog2[size]) != 0
                || area.Length - offset < 1ul << TranslationKey.SizesLog2[size]))
            {
                size--;
            }

            yield return (area.Start + offset, size);
            offset += 1ul << TranslationKey.SizesLog2[size];
        }
    }
}
