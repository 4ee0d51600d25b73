using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Replay.Report;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.Replay.Tests;

/// <summary>Each check of a replay checks what it says: a machine that is wrong in one thing only is caught by that check.</summary>
public sealed class CheckTests
{
    private const string Recording = "x86-disk.ftrace.txt";

    public static TheoryData<string, int, ulong> Records => new()
    {
        // CAUSE in bits 11:0, DID in bits 63:40 of the first doubleword; the IOVA in the third (section 3.2).
        { "cause", 0, 1 },
        { "device", 0, 1ul << 40 },
        { "IOVA", 16, 1ul << 12 },
        { "byte of the IOVA", 16, 1 },
    };

    [Theory]
    [MemberData(nameof(Records))]
    public void A_fault_record_with_another_value_is_caught(string what, int offset, ulong flip)
    {
        ReplayReport report = Run(memory => new SpoiledRecords(memory, offset, flip), spoils => spoils);
        report.Passed.ShouldBeFalse(what);
        report.Checks.MismatchesByKind.ShouldHaveSingleItem().Name.ShouldBe("fault is reported with its cause");
        report.Checks.FirstMismatches[0].Got.ShouldStartWith("fault ");
    }

    [Fact]
    public void A_fault_without_a_record_is_caught()
    {
        ReplayReport report = Run(static memory => memory, static _ => null, tail => new HiddenRecords(tail));
        report.Passed.ShouldBeFalse();
        report.Checks.MismatchesByKind.ShouldHaveSingleItem().Name.ShouldBe("fault is reported with its cause");
        report.Checks.FirstMismatches[0].Got.ShouldBe("no record");
    }

    [Fact]
    public void Data_that_lands_elsewhere_is_caught_by_the_check_of_the_data_too()
    {
        ReplayReport report = Replay(new()
        {
            Check = CheckLevel.All,
            RecordSeries = false,
            Machine = static machine => machine with
            {
                DriverMemory = memory => new FlippedLeafMemory(memory, machine.TableMemory, 40, 11),
            },
        });
        report.Checks.MismatchesByKind.ShouldContain(static c => c.Name == "reaches its page after map");
        report.Checks.MismatchesByKind.ShouldContain(static c => c.Name == "data arrives at its page");
        report.Checks.FirstMismatches.ShouldContain(static m => m.Got == "the data is elsewhere");
    }

    [Fact]
    public void A_program_is_told_how_much_was_checked_and_what_did_not_hold()
    {
        string path = Recordings.PathOf(Recording);
        CancellationToken token = TestContext.Current.CancellationToken;
        ReplayResult sound = TraceReplayer.Check(path, cancellationToken: token);
        sound.Passed.ShouldBeTrue();
        sound.Checks.ShouldBeGreaterThan(0);
        sound.FirstMismatches.ShouldBeEmpty();

        ReplayOptions spoilt = new()
        {
            Check = CheckLevel.All,
            Machine = static machine => machine with
            {
                DriverMemory = memory => new FlippedLeafMemory(memory, machine.TableMemory, 40, 11),
            },
        };
        ReplayResult wrong = TraceReplayer.Check(path, options: spoilt, cancellationToken: token);
        wrong.Passed.ShouldBeFalse();
        wrong.Mismatches.ShouldBeInRange(1, wrong.Checks);
        wrong.FirstMismatches.Count.ShouldBe((int)Math.Min(wrong.Mismatches, 100));
        wrong.FirstMismatches.ShouldAllBe(line => line.StartsWith(path + ":") && line.Contains(": expected ") && line.Contains(", got "));
    }

    [Fact]
    public void A_page_that_may_only_be_read_is_caught_by_a_write()
    {
        // The W bit of one leaf.
        ReplayReport report = Replay(new()
        {
            Check = CheckLevel.Sampled,
            RecordSeries = false,
            Machine = static machine => machine with
            {
                DriverMemory = memory => new FlippedLeafMemory(memory, machine.TableMemory, 40, 2),
            },
        });
        report.Checks.MismatchesByKind.ShouldContain(static c => c.Name == "reaches its page after map");
    }

    private static ReplayReport Replay(ReplayOptions options) =>
        TraceReplayer.Run(Recordings.PathOf(Recording), null, options, null, TestContext.Current.CancellationToken);

    private static ReplayReport Run(
        Func<IPhysicalMemory, IPhysicalMemory> memory,
        Func<SpoiledRecords, SpoiledRecords?> spoils,
        Func<IRegisterWindow, IRegisterWindow>? registers = null)
    {
        SpoiledRecords? spoiled = null;
        return Replay(new()
        {
            RecordSeries = false,
            Machine = machine => machine with
            {
                DriverMemory = inner =>
                {
                    IPhysicalMemory made = memory(inner);
                    spoiled = made is SpoiledRecords own ? spoils(own) : null;
                    return made;
                },
                DriverRegisters = inner => registers is null ? new FaultQueuePlace(inner, (start, bytes) => spoiled!.Place(start, bytes)) : registers(inner),
            },
        });
    }

    /// <summary>Tells where the driver puts the fault queue.</summary>
    private sealed class FaultQueuePlace(IRegisterWindow inner, Action<ulong, ulong> tell) : RegisterDecorator(inner)
    {
        public override void Write64(uint offset, ulong value)
        {
            if (offset == RegisterOffset.FaultQueueBase)
            {
                tell((value >> 10) << 12, 64ul << (int)(value & 0x1f));
            }

            base.Write64(offset, value);
        }
    }

    /// <summary>A fault queue that looks empty for ever.</summary>
    private sealed class HiddenRecords(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public override uint Read32(uint offset) =>
            base.Read32(offset == RegisterOffset.FaultQueueTail ? RegisterOffset.FaultQueueHead : offset);
    }

    /// <summary>Memory that shows the driver one value of each fault record wrongly.</summary>
    private sealed class SpoiledRecords(IPhysicalMemory inner, int offset, ulong flip) : MemoryDecorator(inner)
    {
        private ulong _start;
        private ulong _bytes;

        public void Place(ulong start, ulong bytes) => (_start, _bytes) = (start, bytes);

        public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            MemoryStatus status = base.Read64(address, out value);
            if (address.Value - _start < _bytes && (address.Value & 0x1f) == (ulong)offset)
            {
                value ^= flip;
            }

            return status;
        }
    }
}
