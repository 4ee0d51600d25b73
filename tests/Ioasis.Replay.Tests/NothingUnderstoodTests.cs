using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>An input of which nothing is understood or replayed is an error, and the message says what it is instead.</summary>
public sealed class NothingUnderstoodTests
{
    [Theory]
    [InlineData("writer    90     5.000010:                iommu:map: \n", "line", "perf script without what its events say")]
    [InlineData("     0.000 dd/123 iommu:map(iova: 4293918720, paddr: 16777216, size: 4096)\n", "line", "perf trace")]
    [InlineData(" 0)   0.123 us    |  iommu_map();\n 0)   0.100 us    |  iommu_unmap();\n", "2 lines", "function tracers")]
    [InlineData("{ \"iova\": 12 }\n{ \"iova\": 13 }\n", "2 lines look like JSON", "")]
    [InlineData("iova,paddr,size,device\n1,2,3,4\n", "2 lines look like a table", "")]
    [InlineData("[    1.000000] usb 1-1: new device\n", "1 line looks like the kernel's log", "")]
    [InlineData("       writer-90      [000] .....     5.000020: map: IOMMU: iova=zero\n", "fields that are not understood", "")]
    public void Lines_that_are_no_events_are_said_to_be_what_they_are(string text, string first, string second)
    {
        TraceInputException e = Should.Throw<TraceInputException>(() => Recordings.Parse(text));

        e.Error.ShouldBeOneOf(TraceInputError.UnknownFormat, TraceInputError.NoEvents);
        e.Message.ShouldContain(first);
        e.Message.ShouldContain(second);
        e.Line.ShouldBe(1);
    }

    [Theory]
    [InlineData("KLUv/QRYaQAAKHNoLTEgICAgIFswMDBdKQ==", "zstd")]
    [InlineData("QlpoOTFBWSZTWQ==", "bzip2")]
    [InlineData("BCJNGGRApw==", "lz4")]
    [InlineData("iUxaTwANChoK", "lzop")]
    public void What_is_compressed_otherwise_is_told_with_the_program_that_reads_it(string bytes, string program)
    {
        using InputSource source = InputSource.Wrap("x", new MemoryStream(Convert.FromBase64String(bytes)));
        TraceInputException e = Should.Throw<TraceInputException>(() => RecordingReader.Read(source, null, TestContext.Current.CancellationToken));

        e.Error.ShouldBe(TraceInputError.NoDecoder);
        e.Message.ShouldContain($"`{program} -dc FILE | ioasis run -`");
    }

    [Fact]
    public void A_trace_without_maps_is_an_error_that_names_what_it_has()
    {
        string path = Write("          init-1       [001] .....     1.000000: sched_switch: prev_comm=a\n");
        TraceInputException e = Should.Throw<TraceInputException>(() => TraceReplayer.Run(path, cancellationToken: TestContext.Current.CancellationToken));

        e.Error.ShouldBe(TraceInputError.NothingToReplay);
        e.Message.ShouldContain("iommu:map");
        e.Message.ShouldContain("sched_switch 1");
    }

    [Fact]
    public void Maps_of_which_none_can_be_replayed_are_an_error_that_says_why()
    {
        string path = Write(Trace.MapLine("dd-7", 0, 0.1, 0x1000, 0x800, 0x50000));
        TraceInputException e = Should.Throw<TraceInputException>(() => TraceReplayer.Run(path, cancellationToken: TestContext.Current.CancellationToken));

        e.Error.ShouldBe(TraceInputError.NothingToReplay);
        e.Message.ShouldContain("1 not of whole 4 KiB pages (first at line 1)");
    }

    [Fact]
    public void A_log_without_an_access_is_an_error_that_names_what_it_has()
    {
        TraceInputException e = Should.Throw<TraceInputException>(() => Recordings.Parse(
            "2026-11-21T03:17:32.059568Z vtd_inv_desc_wait_sw wait status write addr 0x1 data 0x2\n"
            + "2026-11-21T03:17:32.059569Z qemu-system-x86_64: warning: something\n"));

        e.Error.ShouldBe(TraceInputError.NothingToReplay);
        e.Message.ShouldContain("vtd_inv_desc_wait_sw 1");
        e.Message.ShouldContain("a message of QEMU");
    }

    private static string Write(string text)
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("ioasis-nothing").FullName, "trace.txt");
        File.WriteAllText(path, text);
        return path;
    }
}
