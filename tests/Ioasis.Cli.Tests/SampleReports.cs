using Ioasis.Primitives;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Tests;

/// <summary>Reports with the figures of a plausible recording, for what shows reports: no replay is behind them.</summary>
internal static class SampleReports
{
    public const string Nvme = "0000:00:02.0";
    public const string Nic = "0000:00:03.0";
    public const string Bridge = "0000:00:1f.0";

    /// <summary>A lazy x86 recording of a disk, a network card and a bridge with a direct region; every check held.</summary>
    public static ReplayReport Realistic(string nic = Nic, string mark = "dd direct write", string path = "traces/x86-lazy-ftrace.txt.xz") => new()
    {
        Tool = "ioasis 0.1.0",
        Options = new()
        {
            Iommu = "riscv", Mode = "sv57", Invalidation = "lazy", Caching = "realistic", Check = "sampled", IotlbEntries = 64, IotlbWays = 4,
            Seed = 1, RestDevice = Nvme, StrictInput = false, ToleranceSeconds = 0.001,
        },
        Inputs =
        [
            new()
            {
                Path = path, Format = "ftrace", Compression = "xz", Lines = 132173, TextBytes = 19_900_000, Events = 132161,
                EventsByKind = [new("map", 41964), new("unmap", 22422), new("iova_link", 21447), new("dma_map_phys", 20466),
                    new("dma_unmap_phys", 19955), new("iova_destroy", 2445), new("qi_submit", 1685), new("cache_tag_flush_range", 1629),
                    new("tracing_mark_write", 101), new("dma_alloc", 14), new("attach_device_to_domain", 11)],
                UnparsedLines = 2, FirstUnparsedLines = [new(17, "half a li"), new(900, "\u001b[31mred\u001b[0m")],
                LostMarkers = 1, FirstLostMarkers = [new(44, "CPU:1 [LOST 12 EVENTS]")], LostEvents = 12,
                FirstSeconds = 0.016, LastSeconds = 61.7, BackwardSteps = 0, EventsByCpu = [new("0", 49881), new("1", 82280)],
            },
            new()
            {
                Path = "traces/x86-lazy-qemu-dma.log.xz", Format = "dma-log", Compression = "xz", Lines = 582132, TextBytes = 61_000_000,
                Events = 582131, EventsByKind = [new("vtd_dmar_translate", 279214), new("vtd_iotlb_page_hit", 201684)],
                UnparsedLines = 0, FirstUnparsedLines = [], LostMarkers = 0, FirstLostMarkers = [],
                FirstSeconds = 1795231052.05, LastSeconds = 1795231113.1, BackwardSteps = 0,
            },
        ],
        Checks = new()
        {
            CheckCount = 251892,
            ByKind = [new("reaches its page after map", 125892), new("faults after unmap", 67266), new("logged DMA", 58734)],
            MismatchCount = 0, MismatchesByKind = [], FirstMismatches = [],
        },
        Devices =
        [
            Device(Bridge, 0xf8, 1, 0, 16 << 20, 16 << 20, 1), Device(Nvme, 0x10, 21447, 2445, 1 << 20, 0, 0),
            Device(nic, 0x18, 20516, 19977, 1_146_880, 1_100_000, 271),
        ],
        Attribution = new()
        {
            Maps = [new("iova_link", 21447), new("dma_map_phys", 20466), new("dma_alloc", 50), new("attach", 1)],
            Unmaps = [new("dma_unmap_phys", 19955), new("iova_destroy", 2445), new("rest", 22)],
            RestDevice = Nvme, MapsWithoutEvidence = 0, UnmapsWithoutEvidence = 22,
        },
        Mappings = new()
        {
            Maps = 41964, Unmaps = 22422, MappedBytes = 312_475_648, UnmappedBytes = 294_000_000,
            BySize = [new(4096, 36244, 20100), new(8192, 4709, 500), new(131072, 558, 600), new(20480, 107, 100), new(12288, 86, 80),
                new(16384, 65, 60), new(24576, 27, 20), new(86016, 25, 20), new(90112, 24, 20), new(36864, 22, 20), new(40960, 20, 19),
                new(65536, 19, 300), new(53248, 19, 10), new(16777216, 1, 0)],
            Leaves = [new(4096, 71000, 271), new(65536, 560, 0), new(2097152, 8, 8)],
            PeakLiveBytes = 20529152, PeakLiveBytesAtSeconds = 31.2, PeakLiveRanges = 689, EndLiveBytes = 17_877_216, EndLiveRanges = 272,
            Lifetimes = new(41402, 0.00012, 0.0092, 1.2, 44),
            NeverUnmapped = 272, NeverUnmappedBytes = 17_877_216,
            NeverUnmappedRanges = [.. Enumerable.Range(0, 100).Select(i => new NeverUnmappedRange
            {
                Device = i == 0 ? Bridge : nic, Iova = new(i == 0 ? 0 : 0xfff00000 + ((ulong)i * 4096)), LengthBytes = i == 0 ? 16 << 20 : 4096,
                PhysicalAddress = new(i == 0 ? 0 : 0x10a3c5000 + ((ulong)i * 4096)), Line = 48 + i, MappedAtSeconds = 3.804083 + (i * 0.01),
            })],
        },
        PageTables = new(159744, 122880),
        Hardware = new()
        {
            Total = Translation(531106), DirectoryHits = 531000, DirectoryMisses = 106,
            Commands = [new("IOTINVAL.VMA address", 0, 0), new("IOTINVAL.VMA PSCID", 1629, 30211), new("IODIR.INVAL_DDT", 11, 0), new("IOFENCE.C", 1640, 0)],
            Faults = [new(13, "read page fault", 33633, 33633), new(15, "write/AMO page fault", 33633, 33633)],
        },
        RecordedInvalidations = new()
        {
            ByKind = [new("qi_submit", 1685), new("cache_tag_flush_range", 1629)],
            UnmapToInvalidation = new(22422, 0.0092, 0.019, 0.031, 0.051),
        },
        Oddities =
        [
            new() { Name = "one unmap covers many maps", Count = 2445, Outcome = "all of them were unmapped by one call", FirstLine = 5120 },
            new() { Name = "map over a live mapping", Count = 2, Outcome = "the old mapping was removed first, as the recorded kernel must have done before it logged the map", FirstLine = 90211 },
        ],
        DmaLog = new()
        {
            Dmas = 279214, LearnedMappings = false,
            Alignment = new() { Marks = 101, ClockRatio = 1.000141, DriftSeconds = -0.0067, MedianDelaySeconds = 0.00019, MaxDelaySeconds = 0.0589 },
            Classes = [new("live", 255827), new("within tolerance", 23385), new("mismatch", 0)],
            ByDevice = [new(Nvme, [new("live", 86817), new("within tolerance", 19550)]), new(nic, [new("live", 169010), new("within tolerance", 3835)])],
            ByAccess = [new("unknown", 279214)],
        },
        Throughput = new()
        {
            Events = 132161, Translations = 531106, ElapsedSeconds = 0.82, ParseSeconds = 0.4, ReplaySeconds = 0.1, PeakMemoryBytes = 180_000_000,
        },
        Series = Series(nic, mark),
    };

    /// <summary>The same with two checks that did not hold.</summary>
    public static ReplayReport Failing()
    {
        ReplayReport report = Realistic();
        return report with
        {
            Checks = report.Checks with
            {
                MismatchCount = 2,
                MismatchesByKind = [new("faults after unmap", 2)],
                FirstMismatches =
                [
                    new() { Path = "t.txt", Line = 4711, Device = Nic, Kind = "faults after unmap", Iova = new(0xfff01000), Expected = "a page fault of a read", Got = "pa 0x10a3c6000" },
                    new() { Path = "t.txt", Line = 4790, Device = Nic, Kind = "faults after unmap", Iova = new(0xfff02000), Expected = "a page fault of a read", Got = "pa 0x10a3c7000" },
                ],
            },
        };
    }

    private static DeviceReport Device(string name, uint id, long maps, long unmaps, long peak, long end, long ranges) => new()
    {
        Name = name, DeviceId = new(id), Maps = maps, Unmaps = unmaps, DirectRegions = maps == 1 ? 1 : 0, MappedBytes = maps * 7000,
        PeakLiveBytes = peak, PeakLiveRanges = Math.Max(1, ranges), EndLiveBytes = end, EndLiveRanges = ranges,
        PeakFragmentation = new() { Extents = 12, LiveBytes = peak, SpanBytes = (ulong)peak * 2, LargestGapBytes = (ulong)peak / 2 },
        EndFragmentation = end == 0 ? FragmentationReport.Empty : new() { Extents = 3, LiveBytes = end, SpanBytes = (ulong)end, LargestGapBytes = 0 },
        PageTables = new(61440, 40960), Translation = Translation(maps == 1 ? 0 : maps * 9), LoggedDmas = maps * 4,
    };

    private static TranslationReport Translation(long translations) => new()
    {
        Translations = translations, IotlbHits = translations * 7 / 10, IotlbMisses = translations - (translations * 7 / 10),
        IotlbEvictions = translations / 5, Walks = translations - (translations * 7 / 10), WalkMemoryReads = (translations - (translations * 7 / 10)) * 4,
        Faults = translations / 8,
    };

    private static SeriesReport Series(string nic, string mark)
    {
        TimelineRecorder recorder = new();
        int bridge = recorder.AddDevice(Bridge), nvme = recorder.AddDevice(Nvme), card = recorder.AddDevice(nic);
        Random random = new(7);
        Queue<(Iova Iova, long Length)> disk = [], net = [];
        long hits = 0, misses = 0, commands = 0, removed = 0;
        recorder.Mapped(bridge, new(0), 16 << 20, 3.804);
        for (double t = 4; t < 61.7; t += 0.001)
        {
            bool reading = t is > 8 and < 30 or > 45 and < 55, networking = t > 25 && (int)t % 7 != 0;
            if (Math.Abs(t - Math.Round(t / 8) * 8) < 0.0004)
            {
                recorder.Mark(t, $"mark {(int)Math.Round(t / 8)}: {mark}");
            }

            if (reading)
            {
                disk.Enqueue((new(0xfffc0000 - ((ulong)random.Next(40) * 0x21000)), 0x1000 * random.Next(1, 33)));
                recorder.Mapped(nvme, disk.Last().Iova, disk.Last().Length, t);
            }

            if (disk.Count > (reading ? 12 : 0))
            {
                (Iova iova, long length) = disk.Dequeue();
                recorder.UnmapEvent(t);
                recorder.Unmapped(nvme, iova, length, 1, t);
            }

            if (t < 4.27 || networking)
            {
                net.Enqueue((new(0xffe00000 + ((ulong)(net.Count * 37 % 400) * 0x1000)), 4096));
                recorder.Mapped(card, net.Last().Iova, 4096, t);
            }

            if (net.Count > 271)
            {
                (Iova iova, long length) = net.Dequeue();
                recorder.UnmapEvent(t);
                recorder.Unmapped(card, iova, length, 1, t);
            }

            if (reading || networking)
            {
                hits += 6 + random.Next(4);
                misses += random.Next(reading ? 5 : 2);
                if (random.Next(12) == 0)
                {
                    commands++;
                    removed += random.Next(30);
                    recorder.RecordedInvalidation(t);
                }
            }

            if (recorder.WantsSample(t))
            {
                recorder.Sample(t, new(hits, misses, commands, removed, 90000 + (disk.Count * 4096L)));
            }
        }

        return recorder.ToReport();
    }
}
