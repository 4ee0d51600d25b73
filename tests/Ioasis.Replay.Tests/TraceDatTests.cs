using System.Buffers.Binary;
using System.Text;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>
/// trace-cmd's binary file in both versions and all compressions. The version 6 file was written by a script, and trace-cmd 3.1.6 reads it; it made
/// the uncompressed and the zstd file of it (its Debian build has no zlib: the script wrote that one too).
/// </summary>
public sealed class TraceDatTests
{
    [Theory]
    [InlineData("Linux host 6.12.0 #1 SMP PREEMPT_DYNAMIC Debian x86_64\0", "vtd")]
    [InlineData("Linux host 7.2.0 #1 SMP riscv64\0", "riscv")]
    public void What_uname_said_on_the_recorded_machine_chooses_the_IOMMU(string uname, string iommu)
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, WithUname(File.ReadAllBytes(Recordings.Case("trace-v6.dat")), uname));
            ReplayReport report = TraceReplayer.Run(path, null, new() { Check = CheckLevel.All }, cancellationToken: TestContext.Current.CancellationToken);
            (report.Options.Iommu, report.Passed, report.Inputs[0].Events).ShouldBe((iommu, true, 321));
        }
        finally
        {
            File.Delete(path);
        }
    }

    // Option 5 as the first of the options; where the records of each CPU are moves by as much.
    private static byte[] WithUname(byte[] file, string uname)
    {
        ReadOnlySpan<byte> mark = "options  \0"u8;
        int at = file.AsSpan().IndexOf(mark) + mark.Length;
        byte[] option = [5, 0, (byte)uname.Length, 0, 0, 0, .. Encoding.ASCII.GetBytes(uname)];
        ReadOnlySpan<byte> records = "flyrecord\0"u8;
        int cpus = file.AsSpan().IndexOf(records) + records.Length;
        int count = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(at - mark.Length - 4));
        for (int cpu = 0; cpu < count; cpu++)
        {
            Span<byte> offset = file.AsSpan(cpus + (cpu * 16), 8);
            BinaryPrimitives.WriteInt64LittleEndian(offset, BinaryPrimitives.ReadInt64LittleEndian(offset) + option.Length);
        }

        return [.. file.AsSpan(0, at), .. option, .. file.AsSpan(at)];
    }

    [Theory]
    [InlineData("trace-v6.dat")]
    [InlineData("trace-v7-none.dat")]
    [InlineData("trace-v7-zlib.dat")]
    [InlineData("trace-v7-zstd.dat")]
    public void The_same_records_give_the_same_report_in_every_version(string name)
    {
        ReplayReport report = TraceReplayer.Run(
            Recordings.Case(name), null, new() { Check = CheckLevel.All }, cancellationToken: TestContext.Current.CancellationToken);

        report.Checks.MismatchCount.ShouldBe(0);
        report.Inputs[0].Format.ShouldBe("trace-dat");
        (report.Inputs[0].Events, report.Inputs[0].UnparsedLines, report.Inputs[0].BackwardSteps, report.Inputs[0].LostMarkers).ShouldBe((321, 0, 0, 0));
        report.Inputs[0].FirstSeconds.ShouldBe(5.0, 1e-9);
        report.Inputs[0].SpanSeconds.ShouldBe(8.00028, 1e-9);
        report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps} end {d.EndLiveBytes}")
            .ShouldBe(["0000:00:17.0 +80 -40 end 0", "0000:04:00.0 +40 -20 end 163840"]);
        report.Attribution.Ways.ShouldBe([new("DMA event", 120, 60)]);
    }

    [Fact]
    public void Marks_and_a_compressed_copy_are_read()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("ioasis-dat").FullName, "copy");
        using (System.IO.Compression.GZipStream gzip = new(File.Create(path), System.IO.Compression.CompressionLevel.Fastest))
        {
            gzip.Write(File.ReadAllBytes(Recordings.Case("trace-v6.dat")));
        }

        KernelTrace trace = RecordingReader.Read(path, null, TestContext.Current.CancellationToken).Trace!;

        trace.Marks[7].Text.ShouldBe("done");
        trace.Mappings.Length.ShouldBe(180);
    }

    [Theory]
    [InlineData("trace-v6.dat")]
    [InlineData("trace-v7-zlib.dat")]
    public void A_pipe_is_copied_to_a_file_without_a_name_and_reads_as_the_file_does(string name)
    {
        byte[] bytes = File.ReadAllBytes(Recordings.Case(name));
        using (InputSource source = InputSource.Wrap("-", new Pipe(bytes)))
        {
            source.Seekable.ShouldBeNull();
            KernelTrace trace = RecordingReader.Read(source, null, TestContext.Current.CancellationToken).Trace!;
            KernelTrace file = RecordingReader.Read(Recordings.Case(name), null, TestContext.Current.CancellationToken).Trace!;
            trace.Mappings.ToArray().ShouldBe(file.Mappings.ToArray());
        }

        using InputSource again = InputSource.Wrap("-", new Pipe(bytes));
        FileStream copy = (FileStream)again.OpenSeekable(new LineReader(again), TestContext.Current.CancellationToken);
        byte[] copied = new byte[copy.Length];
        copy.ReadExactly(copied);
        copied.ShouldBe(bytes);
        File.Exists(copy.Name).ShouldBeFalse();
    }

    [Theory]
    [InlineData("trace-v6.dat")]
    [InlineData("trace-v7-none.dat")]
    [InlineData("trace-v7-zlib.dat")]
    [InlineData("trace-v7-zstd.dat")]
    public void A_file_that_is_cut_or_damaged_is_refused_in_words(string name)
    {
        byte[] whole = File.ReadAllBytes(Recordings.Case(name));
        Random random = new(7);
        for (int i = 0; i < 200; i++)
        {
            byte[] bytes = i % 2 == 0 ? whole[..random.Next(20, whole.Length)] : (byte[])whole.Clone();
            for (int k = 0; k < i % 5; k++)
            {
                bytes[random.Next(10, bytes.Length)] = (byte)random.Next();
            }

            try
            {
                using InputSource source = InputSource.Wrap("made-up", new MemoryStream(bytes));
                RecordingReader.Read(source, null, TestContext.Current.CancellationToken);
            }
            catch (TraceInputException e)
            {
                e.Message.ShouldContain("made-up");
            }
        }
    }

    /// <summary>Bytes that come a few at a time and cannot be read twice.</summary>
    private sealed class Pipe(byte[] bytes) : Stream
    {
        private readonly MemoryStream _bytes = new(bytes);

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => _bytes.Read(buffer, offset, Math.Min(count, 777));

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
