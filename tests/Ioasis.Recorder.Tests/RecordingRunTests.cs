using System.IO.Compression;
using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Input;

namespace Ioasis.Recorder.Tests;

/// <summary>A recording on a machine whose kernel is a folder: what it writes, and that it takes everything back.</summary>
public sealed class RecordingRunTests : IDisposable
{
    private const string Map = "  dd-9  [000] ..... 2.000001: map: IOMMU: iova=0x1000 - 0x2000 paddr=0x5000 size=4096\n";

    private readonly FakeKernel _kernel = FakeKernel.Create();
    private readonly MemoryStream _file = new();

    public void Dispose() => _kernel.Dispose();

    [Fact]
    public void The_file_holds_the_machine_the_events_in_their_order_and_the_end()
    {
        const string earlier = "  dd-9  [001] ..... 1.999999: unmap: IOMMU: iova=0x1000 - 0x2000 size=4096 unmapped_size=4096\n";
        _kernel.Events = Map + "CPU:1 [LOST 3 EVENTS]\n" + earlier;
        _kernel.Add($"{FakeKernel.Tracing}/kprobe_profile", "  ioasis_map  9  3\n  somebody_elses  1  1\n");

        RecordingResult result = Record();

        string text = Text(_file.ToArray());
        RecordedMachine machine = MachineOf(text);
        (machine.IsPresent, machine.HasBegun, machine.Version).ShouldBe((true, true, 1));
        (machine.Kernel, machine.Clock, machine.Tool).ShouldBe(("6.1.0-50-amd64", "mono", "9.9"));
        machine.CommandLine.ShouldBe("quiet intel_iommu=on systemd.hostname=… ip=…");
        machine.Iommus.ShouldBe([new("dmar0", "intel")]);
        machine.Devices.Select(static device => (device.Name, device.Group, device.PciId)).ShouldBe(
            [("0000:00:02.0", 0, "8086:10d3"), ("0000:00:1f.2", 3, "8086:10d3"), ("0000:00:1f.3", 3, "8086:10d3")]);
        machine.Domains.ShouldBe(
            [new(0xff359c4c41a89890, 0, "DMA-FQ", true), new(0xff359c4c41a89890 + (3 * 0xc0), 3, "DMA-FQ", true)]);
        machine.Probes.ShouldContain("ioasis_map_sg_atomic p iommu_map_sg_atomic");
        machine.LostEvents.ShouldBe(new Dictionary<int, long> { [0] = 3 });
        machine.Misses.ShouldBe([new("ioasis_map", 9, 3)]);
        machine.End.ShouldBe(new("command", 3, 7));
        string events = text[(text.IndexOf("# tracer: nop\n", StringComparison.Ordinal) + 14)..text.IndexOf("# ioasis lost", StringComparison.Ordinal)];
        events.ShouldBe("  x-1  [000] ..... 1.000002: ioasis_attach: (f+0x0/0x1) domain=0x1 dev=\"a\"\n" + earlier + Map + "CPU:1 [LOST 3 EVENTS]\n");
        (result.Events, result.Status, result.Reason).ShouldBe((3, 7, "command"));
        result.Problems.ShouldBeEmpty();
    }

    [Fact]
    public void The_machine_is_as_it_was()
    {
        string[] before = _kernel.State();

        Record();

        _kernel.ChangesSince(before).ShouldBeEmpty();
        _kernel.Changes.ShouldContain(static change => change.StartsWith("mkdir", StringComparison.Ordinal));
        _kernel.Changes.ShouldContain($"0 > {FakeKernel.Tracing}/instances/ioasis-4711-815/options/hex");
    }

    [Theory]
    [InlineData(Errno.OutOfMemory)]
    [InlineData(Errno.InvalidArgument)]
    public void Whichever_change_fails_all_that_were_made_are_taken_back(Errno error)
    {
        string[] before = _kernel.State();
        Record();
        int undo = 0;
        int count = _kernel.Changes.TakeWhile(static change => !change.EndsWith("tracing_on", StringComparison.Ordinal)).Count();
        for (int n = 0; n < count; n++)
        {
            int first = _kernel.Changes.Count;
            _kernel.Refuse = (number, _) => number == first + n ? error : Errno.Success;
            try
            {
                Record();
            }
            catch (RecorderException e)
            {
                e.Message.ShouldNotBeEmpty();
                undo++;
            }

            _kernel.ChangesSince(before).ShouldBeEmpty($"after a failure of change {n}: {_kernel.Changes[first + n]}");
        }

        undo.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void A_probe_or_an_instance_that_is_busy_for_a_moment_is_taken_back_all_the_same()
    {
        string[] before = _kernel.State();
        int busy = 0;
        _kernel.Refuse = (_, change) => (change.StartsWith("-:", StringComparison.Ordinal) || change.StartsWith("rmdir", StringComparison.Ordinal))
            && busy++ % 3 != 2 ? Errno.Busy : Errno.Success;

        Record().Problems.ShouldBeEmpty();

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void What_cannot_be_taken_back_is_said_and_the_next_recording_removes_it()
    {
        string[] before = _kernel.State();
        _kernel.Refuse = static (_, change) => change.StartsWith("-:ioasis_4711_815/ioasis_free", StringComparison.Ordinal) ? Errno.IoError : Errno.Success;

        Record().Problems.ShouldHaveSingleItem().ShouldContain("-:ioasis_4711_815/ioasis_free");

        _kernel.Refuse = null;
        Leftovers.Clean(_kernel, FakeKernel.Tracing).ShouldBeEmpty();
        _kernel.Remove($"proc/{FakeKernel.Process}");
        Leftovers.Clean(_kernel, FakeKernel.Tracing).ShouldHaveSingleItem().ShouldBe("removed 1 probes of a recorder that was killed (ioasis_4711_815)");
        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void A_recorder_that_was_killed_is_cleaned_up_after_and_one_that_lives_is_left_alone()
    {
        string[] before = _kernel.State();
        Leave(99, 1);
        Leave(FakeKernel.Process, Start: FakeKernel.Start - 1); // Its number was given to another process.
        string withLiving = Leave(50, 7);
        _kernel.AddProcess(50, 7);

        Leftovers.Clean(_kernel, FakeKernel.Tracing).Count.ShouldBe(4);

        _kernel.Exists($"{FakeKernel.Tracing}/instances/{withLiving}").ShouldBeTrue();
        _kernel.TryRead($"{FakeKernel.Tracing}/kprobe_events").ShouldBe("p:ioasis_50_7/ioasis_map iommu_map");
        _kernel.Remove("proc/50");
        Leftovers.Clean(_kernel, FakeKernel.Tracing);
        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void An_interrupt_ends_it_and_the_file_says_so()
    {
        string[] before = _kernel.State();
        _kernel.Events = Map;
        using CancellationTokenSource stop = new();
        using TimedWork work = new(null);
        stop.CancelAfter(TimeSpan.FromMilliseconds(50));

        Record(work, stop: stop).Reason.ShouldBe("interrupt");

        _kernel.ChangesSince(before).ShouldBeEmpty();
        MachineOf(Text(_file.ToArray())).End.ShouldBe(new("interrupt", 2, null));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void A_full_disk_ends_it_with_a_readable_file_and_the_command_goes_on(int membersThatFit)
    {
        string[] before = _kernel.State();
        StringBuilder events = new();
        for (int i = 0; i < 60_000; i++)
        {
            events.Append(Map.Replace("2.000001", $"2.{i:d6}", StringComparison.Ordinal));
        }

        _kernel.Events = events.ToString();
        SmallDisk disk = new(membersThatFit);
        SlowCommand work = new();
        if (membersThatFit == 0)
        {
            Should.Throw<RecorderException>(() => Record(work, output: disk)).Message.ShouldContain("No space");
        }
        else
        {
            RecordingResult result = Record(work, output: disk);
            result.Reason.ShouldBe("disk-full");
            result.Problems.ShouldHaveSingleItem().ShouldContain("No space");
            result.Status.ShouldBe(7);
            work.WasStopped.ShouldBeFalse();
            string text = Text(disk.Kept.ToArray());
            text.ShouldEndWith("\n");
            MachineOf(text).HasBegun.ShouldBeTrue();
            MachineOf(text).End!.Reason.ShouldBe("disk-full");
        }

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void A_command_that_cannot_be_started_changes_nothing()
    {
        string[] before = _kernel.State();
        using CommandWork work = new(["/nowhere/nonesuch"]);

        Should.Throw<RecorderException>(() => Record(work)).Message.ShouldContain("/nowhere/nonesuch");

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void A_command_gets_the_marker_and_its_status_is_given_on()
    {
        using CommandWork work = new(["/bin/sh", "-c", "test \"$IOASIS_TRACE_MARKER\" = /sys/kernel/tracing/instances/ioasis-4711-815/trace_marker && exit 3"]);

        Record(work).Status.ShouldBe(3);
    }

    [Fact]
    public void Groups_that_do_not_tell_their_domain_are_a_note_and_no_guess()
    {
        _kernel.Remove("sys/kernel/iommu_groups/3");
        _kernel.Add("sys/kernel/iommu_groups/0/type", "identity\n");

        Record().Notes.ShouldContain(static note => note.Contains("could not be told", StringComparison.Ordinal));

        MachineOf(Text(_file.ToArray())).Domains.ShouldBeEmpty();
    }

    private string Leave(int process, long Start)
    {
        TracingSession session = new(FakeKernel.Tracing, process, Start);
        _kernel.MakeFolder(session.Instance).ShouldBe(Errno.Success);
        _kernel.Write(session.ProbeList, $"p:{session.ProbeGroup}/ioasis_map iommu_map").ShouldBe(Errno.Success);
        _kernel.Write($"{session.Instance}/events/{session.ProbeGroup}/ioasis_map/enable", "1").ShouldBe(Errno.Success);
        return Path.GetFileName(session.Instance);
    }

    private RecordingResult Record(RecordedWork? work = null, Stream? output = null, CancellationTokenSource? stop = null)
    {
        RecorderOptions options = new() { Version = "9.9" };
        _file.SetLength(0);
        return RecordingRun.Record(
            _kernel, RecordingPlan.Create(_kernel, _kernel.Session, options), options, () => output ?? new Unclosed(_file), work ?? new Done(), stop?.Token ?? CancellationToken.None);
    }

    private static string Text(byte[] file)
    {
        using GZipStream gzip = new(new MemoryStream(file), CompressionMode.Decompress);
        return new StreamReader(gzip).ReadToEnd();
    }

    private static RecordedMachine MachineOf(string text)
    {
        RecordedMachine machine = new();
        foreach (string line in text.Split('\n'))
        {
            machine.TryLine(Encoding.UTF8.GetBytes(line));
        }

        return machine;
    }

    private sealed class Done : RecordedWork
    {
        private bool _isAsked;

        // Over only when it was asked once: the pipe has been read by then.
        public override string? Ended
        {
            get
            {
                string? ended = _isAsked ? "command" : null;
                _isAsked = true;
                return ended;
            }
        }

        public override int? Status => 7;

        public override void Begin(string markerPath)
        {
        }

        public override void Stop()
        {
        }
    }

    private sealed class SlowCommand : RecordedWork
    {
        private DateTime _end = DateTime.MaxValue;

        public bool WasStopped { get; private set; }

        public override bool OutlivesRecording => true;

        public override string? Ended => DateTime.UtcNow >= _end ? "command" : null;

        public override int? Status => Ended is null ? null : 7;

        public override void Begin(string markerPath) => _end = DateTime.UtcNow.AddSeconds(2);

        public override void Stop() => WasStopped = true;
    }

    private sealed class Unclosed(MemoryStream stream) : FilteredStream(stream)
    {
    }

    /// <summary>Takes some writes, then none but small ones: a disk that is full, and has room for a few bytes after a cut.</summary>
    private sealed class SmallDisk(int members) : FilteredStream(new MemoryStream())
    {
        private readonly bool _takesNothing = members == 0;
        private int _left = members;

        public MemoryStream Kept => Inner;

        public override void Write(byte[] buffer, int offset, int count)
        {
            if (_left-- <= 0 && (count > 200 || _takesNothing))
            {
                // As a real disk does, it takes what fits.
                Inner.Write(buffer, offset, Math.Min(count, 10));
                throw new IOException("No space left on device");
            }

            Inner.Write(buffer, offset, count);
        }
    }

    private class FilteredStream(MemoryStream inner) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => true;

        public override bool CanWrite => true;

        public override long Length => Inner.Length;

        public override long Position { get => Inner.Position; set => Inner.Position = value; }

        protected MemoryStream Inner { get; } = inner;

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => Inner.Seek(offset, origin);

        public override void SetLength(long value) => Inner.SetLength(value);

        public override void Write(byte[] buffer, int offset, int count) => Inner.Write(buffer, offset, count);
    }
}
