using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>The same course of events, in every layout and with every kernel's fields, gives the same report.</summary>
public sealed class StoryTests
{
    // Worked out by hand from the story: 4 + 6 × 5 + 1 maps; the disk's first buffer is never freed.
    private const string Named = "0000:00:17.0 +21 -8 direct 0 peak 20480 end 4096; 0000:04:00.0 +14 -14 direct 0 peak 24576 end 0; never 1, lifetimes 34";

    public static TheoryData<string> Forms => [.. Layouts.All.Keys];

    [Theory]
    [MemberData(nameof(Forms))]
    public void The_same_story_gives_the_same_report_in_every_layout_and_version(string form)
    {
        string? spaces = null;
        foreach (KernelFields version in Enum.GetValues<KernelFields>())
        {
            List<StoryEvent> story = Story.Tell(version);
            string text = Layouts.All[form](story);
            ReplayReport report = TraceReplayer.Run(
                Recordings.Parse(text).Trace!, null, new() { Check = CheckLevel.All, RecordSeries = false }, cancellationToken: TestContext.Current.CancellationToken);

            report.Inputs[0].UnparsedLines.ShouldBe(0, $"{form}, {version}: {string.Join('\n', report.Inputs[0].FirstUnparsedLines)}");
            report.Inputs[0].Events.ShouldBe(story.Count);
            report.Inputs[0].SpanSeconds.ShouldBe((story[^1].Microseconds - story[0].Microseconds) / 1e6, 1e-9);
            report.Checks.MismatchCount.ShouldBe(0);
            if (version >= KernelFields.V6_12)
            {
                Describe(report).ShouldBe(Named, $"{form}, {version}");
                report.Attribution.Ways.ShouldBe([new("DMA event", 35, 22)], $"{form}, {version}");
                continue;
            }

            // Without DMA events the figures of the two spaces are the same in every version.
            report.Attribution.Ways.ShouldBe([new("inferred", 35, 22)], $"{form}, {version}");
            report.Devices.Count.ShouldBe(2, $"{form}, {version}");
            report.Devices.Sum(d => d.EndLiveBytes).ShouldBe(4096);
            report.Mappings.NeverUnmapped.ShouldBe(1);
            spaces ??= Describe(report);
            Describe(report).ShouldBe(spaces, $"{form}, {version}");
        }
    }

    private static string Describe(ReplayReport report) => string.Join(
            "; ",
            report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps} direct {d.DirectRegions} peak {d.PeakLiveBytes} end {d.EndLiveBytes}"))
        + $"; never {report.Mappings.NeverUnmapped}, lifetimes {report.Mappings.Lifetimes!.Count}";
}
