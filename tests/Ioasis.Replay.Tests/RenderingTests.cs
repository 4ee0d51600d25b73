using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>The same events in the layouts of three tools, and what is no layout at all.</summary>
public sealed class RenderingTests
{
    [Fact]
    public void Three_renderings_of_the_same_events_give_the_same_mappings_with_the_same_devices()
    {
        string[] lines = Lines("x86-lazy.ftrace.txt.xz", 30_000);
        KernelTrace ftrace = Recordings.Parse(string.Join('\n', lines) + "\n").Trace!;
        KernelTrace traceCmd = Recordings.Parse(Render(lines, TraceFormat.TraceCmd)).Trace!;
        KernelTrace perf = Recordings.Parse(Render(lines, TraceFormat.PerfScript)).Trace!;

        ftrace.Input.Format.ShouldBe(TraceFormat.Ftrace);
        traceCmd.Input.Format.ShouldBe(TraceFormat.TraceCmd);
        perf.Input.Format.ShouldBe(TraceFormat.PerfScript);
        ftrace.Mappings.Length.ShouldBeGreaterThan(10_000);
        foreach (KernelTrace other in new[] { traceCmd, perf })
        {
            other.Input.UnparsedLines.ShouldBe(0);
            other.Input.Events.ShouldBe(ftrace.Input.Events);
            other.Input.EventsByName.ShouldBe(ftrace.Input.EventsByName, ignoreOrder: true);
            other.Mappings.Select(m => Describe(other, m)).SequenceEqual(ftrace.Mappings.Select(m => Describe(ftrace, m))).ShouldBeTrue();
            other.Marks.Values.Select(m => (m.Number, m.TimeNs, m.Text)).ShouldBe(ftrace.Marks.Values.Select(m => (m.Number, m.TimeNs, m.Text)));
        }
    }

    [Fact]
    public void Random_bytes_never_throw_anything_but_a_typed_error()
    {
        Gen<byte[]> bytes = Gen.Elements<byte>([.. "map: unmap [001] iova=0x - 0xfff paddr= size=4096\n#{},.<>#TZ-:\0\r\t\xff"u8]).ArrayOf();
        Prop.ForAll(bytes.ToArbitrary(), content => ReadsOrIsRefused(content)).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));
    }

    [Fact]
    public void Damaged_lines_never_throw_anything_but_a_typed_error()
    {
        string[] kernel = Lines("x86-lazy.ftrace.txt.xz", 4000);
        string[] log = Lines("riscv-strict.dma.log.xz", 600);
        string[] lines = [.. kernel.Skip(3700), .. log.Skip(160)];
        Gen<byte[]> damaged =
            from picked in Gen.Elements(lines).ArrayOf(8)
            from at in Gen.Choose(0, 100).ArrayOf(6)
            from with in Gen.Choose(0, 255).ArrayOf(6)
            select Damage(string.Join('\n', picked) + "\n", at, with);
        Prop.ForAll(damaged.ToArbitrary(), content => ReadsOrIsRefused(content)).Check(Config.QuickThrowOnFailure.WithMaxTest(3000));
    }

    private static byte[] Damage(string text, int[] at, int[] with)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        for (int i = 0; i < at.Length; i++)
        {
            bytes[(at[i] * 37 * (i + 1)) % bytes.Length] = (byte)with[i];
        }

        return bytes;
    }

    private static bool ReadsOrIsRefused(byte[] content)
    {
        foreach (TraceFormat format in Enum.GetValues<TraceFormat>())
        {
            try
            {
                using InputSource source = InputSource.Wrap("random", new MemoryStream(content));
                LoadedRecording recording = RecordingReader.Read(source, new() { Format = format });
                if (recording.Trace is { } trace)
                {
                    Planning.Planner.Make(trace);
                }
            }
            catch (TraceInputException e)
            {
                e.Message.ShouldStartWith("random");
            }
        }

        return true;
    }

    private static string[] Lines(string name, int count)
    {
        using InputSource source = InputSource.Open(Recordings.PathOf(name));
        using StreamReader reader = new(source.Text);
        List<string> lines = [];
        while (lines.Count < count && reader.ReadLine() is { } line)
        {
            lines.Add(line);
        }

        return [.. lines];
    }

    private static (long, ulong, ulong, ulong, bool, string, Evidence) Describe(KernelTrace trace, MappingEvent m) =>
        (m.TimeNs, m.Iova, m.Length, m.Value, m.IsUnmap, m.Device < 0 ? "" : trace.Devices.Name(m.Device), m.Evidence);

    // The layouts as the tools document and print them: trace-cmd pads event names to 20 columns and prints notes as "print",
    // perf script pads command and process ID, names the idle task swapper, and puts the group before the event.
    private static string Render(string[] lines, TraceFormat format)
    {
        StringBuilder result = new(format == TraceFormat.TraceCmd ? "cpus=2\n" : "");
        foreach (string line in lines)
        {
            if (line.StartsWith('#'))
            {
                continue;
            }

            int bracket = line.IndexOf('[');
            string task = line[..bracket].Trim();
            int dash = task.LastIndexOf('-');
            string cpu = line.Substring(bracket, 5);
            string rest = line[(bracket + 5)..].TrimStart();
            rest = rest[rest.IndexOf(' ')..].TrimStart();
            int colon = rest.IndexOf(": ", StringComparison.Ordinal);
            string time = rest[..colon];
            rest = rest[(colon + 2)..];
            colon = rest.IndexOf(": ", StringComparison.Ordinal);
            string name = rest[..colon];
            string fields = rest[(colon + 2)..];
            if (name == "tracing_mark_write")
            {
                fields = "tracing_mark_write: " + fields;
                name = "print";
            }

            if (format == TraceFormat.TraceCmd)
            {
                result.Append($"{task,22} {cpu} {time,12}: {name + ":",-21} {fields}\n");
            }
            else
            {
                string group = name switch
                {
                    "print" => "ftrace",
                    "iova_link" or "iova_destroy" => "iovadev",
                    "qi_submit" or "cache_tag_flush_range" or "cache_tag_assign" => "intel_iommu",
                    _ => name.StartsWith("dma_", StringComparison.Ordinal) ? "dma" : "iommu",
                };
                string command = task[..dash] == "<idle>" ? "swapper" : task[..dash];
                result.Append($"{command,16} {task[(dash + 1)..],7} {cpu} {time,12}: {group + ":" + name,24}: {fields}\n");
            }
        }

        return result.ToString();
    }
}
