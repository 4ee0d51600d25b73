using System.IO.Compression;
using System.Text;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

public sealed class InputTests : IDisposable
{
    private const string Line =
        "          init-1       [001] .....     1.000000: map: IOMMU: iova=0x0000000000001000 - 0x0000000000002000 paddr=0x0000000000005000 size=4096\n";

    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-input").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Compression_is_told_by_content_and_not_by_name()
    {
        string gzip = Write("a.txt", Gzip(Line));
        string xz = Recordings.PathOf("riscv-strict.ftrace.txt.xz");
        string renamed = Path.Combine(_folder, "b.gz");
        File.Copy(xz, renamed);

        Read(gzip).Input.Compression.ShouldBe(InputCompression.Gzip);
        Read(gzip).Input.Events.ShouldBe(1);
        Read(renamed).Input.Compression.ShouldBe(InputCompression.Xz);
        Read(renamed).Input.Events.ShouldBe(104438);
    }

    [Fact]
    public void Xz_decompresses_with_the_program_where_the_library_is_missing()
    {
        string path = Recordings.PathOf("riscv-strict.ftrace.txt.xz");
        using Stream library = XzDecoder.Open(path, File.OpenRead(path));
        using Stream program = XzDecoder.OpenProgram(path, File.OpenRead(path), null);
        using MemoryStream a = new();
        using MemoryStream b = new();
        library.CopyTo(a);
        program.CopyTo(b);

        a.Length.ShouldBeGreaterThan(10_000_000);
        b.ToArray().AsSpan().SequenceEqual(a.ToArray()).ShouldBeTrue();
    }

    [Fact]
    public void A_missing_file_is_named()
    {
        TraceInputException e = Fails(Path.Combine(_folder, "nowhere.txt"));

        e.Error.ShouldBe(TraceInputError.CannotOpen);
        e.Message.ShouldContain("nowhere.txt: no such file");
        Fails(_folder).Message.ShouldContain("directory");
    }

    [Fact]
    public void An_empty_file_and_one_of_comments_hold_no_event()
    {
        Fails(Write("empty", "")).Error.ShouldBe(TraceInputError.NoEvents);
        Fails(Write("comments", "# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n")).Error
            .ShouldBe(TraceInputError.NoEvents);
    }

    [Fact]
    public void A_binary_file_is_refused_with_the_line_or_a_hint()
    {
        TraceInputException zero = Fails(Write("zero", "a\nb\n\0c\n"));
        zero.Error.ShouldBe(TraceInputError.Binary);
        zero.Line.ShouldBe(3);

        Fails(Write("trace.dat", "\x17\x08\x44tracing6\0")).Message.ShouldContain("damaged trace.dat");
        Fails(Write("perf.data", "PERFILE2\0\0")).Message.ShouldContain("perf script");
    }

    [Fact]
    public void Text_of_no_known_format_is_refused_with_its_first_line()
    {
        TraceInputException e = Fails(Write("text", "# a comment\nonce upon a time\n"));

        e.Error.ShouldBe(TraceInputError.UnknownFormat);
        e.Line.ShouldBe(2);
    }

    [Theory]
    [InlineData(20)]
    [InlineData(100)]
    public void A_last_line_that_is_cut_off_is_fatal(int kept)
    {
        TraceInputException e = Fails(Write("cut", Line + Line[..kept]));

        e.Error.ShouldBe(TraceInputError.Truncated);
        e.Line.ShouldBe(2);
        e.Message.ShouldContain(":2: the file ends in the middle of a line");
    }

    [Fact]
    public void A_size_that_is_cut_off_is_noticed_because_it_does_not_agree_with_the_range()
    {
        Fails(Write("cut", Line + Line.TrimEnd('\n')[..^1])).Error.ShouldBe(TraceInputError.Truncated);
        Read(Write("whole", Line + Line.TrimEnd('\n'))).Input.Events.ShouldBe(2);
    }

    [Theory]
    [InlineData("gz")]
    [InlineData("xz")]
    public void Compressed_data_that_ends_too_early_or_is_damaged_is_fatal(string kind)
    {
        byte[] whole = kind == "gz"
            ? Gzip(string.Concat(Enumerable.Range(0, 3000).Select(i => Line.Replace("1.000000", $"{i}.{i * 7919 % 1000000:d6}"))))
            : File.ReadAllBytes(Recordings.PathOf("riscv-strict.ftrace.txt.xz"));
        byte[] damaged = [.. whole];
        damaged.AsSpan(whole.Length / 2, 64).Fill(0x55);

        Fails(Write("short." + kind, whole[..(whole.Length / 2)])).Error.ShouldBeOneOf(TraceInputError.DamagedCompression, TraceInputError.Truncated);
        Fails(Write("damaged." + kind, damaged)).Error.ShouldBe(TraceInputError.DamagedCompression);
    }

    [Fact]
    public void Lines_that_do_not_parse_are_counted_and_the_first_ten_kept()
    {
        string text = Line + string.Concat(Enumerable.Range(0, 25).Select(i => $"what is this {i}\x01\n")) + Line;
        KernelTrace trace = Recordings.Parse(text).Trace!;

        trace.Input.Events.ShouldBe(2);
        trace.Input.UnparsedLines.ShouldBe(25);
        trace.Input.FirstUnparsedLines.Count.ShouldBe(10);
        trace.Input.FirstUnparsedLines[0].ShouldBe(new ListedLine(2, "what is this 0?"));

        TraceInputException e = Should.Throw<TraceInputException>(() => Recordings.Parse(text, new() { StrictInput = true }));
        e.Error.ShouldBe(TraceInputError.UnparsedLine);
        e.Line.ShouldBe(2);
    }

    [Theory]
    [InlineData("CPU:0 [LOST 37 EVENTS]", 37)]
    [InlineData("CPU:1 [EVENTS DROPPED]", 0)]
    [InlineData("CPU:1 [12 EVENTS DROPPED]", 12)]
    [InlineData("# entries-in-buffer/entries-written: 100/150   #P:2", 50)]
    public void Markers_of_lost_events_are_counted(string marker, long events)
    {
        InputLog input = Recordings.Parse(Line + marker + "\n" + Line).Input;

        input.LostMarkers.ShouldBe(1);
        input.LostEvents.ShouldBe(events);
        input.UnparsedLines.ShouldBe(0);
        input.FirstLostMarkers[0].Line.ShouldBe(2);
    }

    [Fact]
    public void The_format_option_overrides_what_is_recognised()
    {
        InputLog asIs = Recordings.Parse(Line).Input;
        asIs.Format.ShouldBe(TraceFormat.Ftrace);
        Recordings.Parse(Line, new() { Format = TraceFormat.PerfScript }).Input.Format.ShouldBe(TraceFormat.PerfScript);
        Should.Throw<TraceInputException>(() => Recordings.Parse(Line, new() { Format = TraceFormat.DmaLog })).Error
            .ShouldBe(TraceInputError.NoEvents);
        foreach (string name in TraceFormats.Names)
        {
            TraceFormats.TryParse(name, out TraceFormat format).ShouldBeTrue();
            format.Name().ShouldBe(name);
        }
    }

    [Fact]
    public void A_time_stamp_on_a_whole_second_has_no_fraction_and_reads()
    {
        const string log = "2026-11-21T03:14:38Z vtd_dmar_translate dev 00:02.00 iova 0xffec3000 -> gpa 0xc07b000 mask 0xfff\n";
        Recordings.Parse(log).Log!.Accesses.ShouldHaveSingleItem().Physical.ShouldBe(0xc07b000ul);
    }

    private static TraceInputException Fails(string path) => Should.Throw<TraceInputException>(() => Read(path));

    private static LoadedRecording Read(string path) =>
        RecordingReader.Read(path, null, TestContext.Current.CancellationToken);

    private static byte[] Gzip(string text)
    {
        using MemoryStream result = new();
        using (GZipStream gzip = new(result, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(Encoding.UTF8.GetBytes(text));
        }

        return result.ToArray();
    }

    private string Write(string name, string text) => Write(name, Encoding.Latin1.GetBytes(text));

    private string Write(string name, byte[] bytes)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
