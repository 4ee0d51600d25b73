using System.Globalization;
using System.Text;
using FsCheck;
using FsCheck.Fluent;

namespace Ioasis.Recorder.Tests;

public sealed class TimeOrderTests
{
    private const int Cpus = 3;

    [Theory]
    [InlineData("    kworker/u4:1-25      [001] .....    18.737056: map: IOMMU", 18_737_056)]
    [InlineData("          <idle>-0       [000] d.h1. 123456.000001: unmap: x", 123_456_000_001)]
    [InlineData("    a [3] b: 1.2: c-25   [017] .....    18.737056: map: IOMMU", 18_737_056)]
    [InlineData("    kworker/u4:1-25      (   12) [001] .....    18.737056: map: IOMMU", 18_737_056)]
    public void A_line_has_the_time_that_it_prints(string line, long microseconds)
    {
        TimeOrder.TryTime(Encoding.ASCII.GetBytes(line), out long time, out uint cpu).ShouldBeTrue();
        cpu.ShouldBe(line.Contains("[017]", StringComparison.Ordinal) ? 17u : line.Contains("[001]", StringComparison.Ordinal) ? 1u : 0u);
        time.ShouldBe(microseconds);
    }

    [Theory]
    [InlineData("CPU:1 [LOST 123 EVENTS]")]
    [InlineData("")]
    [InlineData(" [")]
    [InlineData("# ioasis begin")]
    public void What_is_no_event_has_none(string line) =>
        TimeOrder.TryTime(Encoding.ASCII.GetBytes(line), out _, out _).ShouldBeFalse();

    [Fact]
    public void Lines_within_the_window_come_out_in_the_order_of_their_times_and_those_of_a_CPU_in_their_own_however_the_text_is_cut() =>
        Prop.ForAll(
            Gen.Choose(0, 40).ListOf(30).Zip(Gen.Choose(1, 200)).ToArbitrary(),
            static pair =>
            {
                // Each line is late by at most 40 of a clock that goes on by 10 a line.
                (IEnumerable<int> late, int cut) = pair;
                string[] lines = [.. late.Select(static (by, i) => Line((i * 10) + 100 - by, i))];
                long[] latest = new long[Cpus];
                long[] times = [.. lines.Select((line, i) => latest[i % Cpus] = Math.Max(latest[i % Cpus], TimeOf(line)))];
                byte[] text = Encoding.ASCII.GetBytes(string.Concat(lines));
                TimeOrder order = new();
                MemoryStream result = new();
                for (int at = 0; at < text.Length; at += cut)
                {
                    order.Add(text.AsSpan(at, Math.Min(cut, text.Length - at)));
                    order.Release(41, result.Write);
                }

                order.Finish(result.Write);
                order.Events.ShouldBe(lines.Length);
                order.Waiting.ShouldBe(0);
                Encoding.ASCII.GetString(result.ToArray()).ShouldBe(string.Concat(lines.Select((line, i) => (line, times[i])).OrderBy(static pair => pair.Item2).Select(static pair => pair.line)));
            })
            .QuickCheckThrowOnFailure();

    [Fact]
    public void A_mark_of_lost_events_stays_behind_the_line_before_it()
    {
        string[] lines = [Line(10, 0), Line(5, 1), "CPU:1 [LOST 3 EVENTS]\n", Line(7, 1)];
        TimeOrder order = new();
        MemoryStream result = new();
        order.Add(Encoding.ASCII.GetBytes(string.Concat(lines)));
        order.Finish(result.Write);

        Encoding.ASCII.GetString(result.ToArray()).ShouldBe(lines[1] + lines[2] + lines[3] + lines[0]);
        order.Events.ShouldBe(3);
    }

    [Fact]
    public void What_a_CPU_did_stays_in_its_order_when_its_clock_goes_back()
    {
        string[] lines = [Line(20, 0), Line(30, 1), Line(15, 0), Line(16, 0), Line(40, 0), Line(35, 1)];
        TimeOrder order = new();
        MemoryStream result = new();
        order.Add(Encoding.ASCII.GetBytes(string.Concat(lines)));
        order.Finish(result.Write);

        Encoding.ASCII.GetString(result.ToArray()).ShouldBe(lines[0] + lines[2] + lines[3] + lines[1] + lines[5] + lines[4]);
    }

    [Fact]
    public void A_last_line_that_is_cut_off_is_ended()
    {
        TimeOrder order = new();
        MemoryStream result = new();
        order.Add("abc"u8);
        order.Release(0, result.Write);
        result.Length.ShouldBe(0);
        order.Finish(result.Write);

        Encoding.ASCII.GetString(result.ToArray()).ShouldBe("abc\n");
    }

    private static string Line(int microseconds, int number) =>
        string.Create(CultureInfo.InvariantCulture, $"  task-{number}  [{number % Cpus:d3}] ..... 1.{microseconds:d6}: map: n={number}\n");

    private static long TimeOf(string line)
    {
        TimeOrder.TryTime(Encoding.ASCII.GetBytes(line), out long time, out _).ShouldBeTrue();
        return time;
    }
}
