using System.Buffers.Binary;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Log pages, asynchronous events and Abort (base specification 2.0, sections 5.1, 5.2 and 5.16), and Format NVM (5.14).</summary>
public sealed class LogAndEventTests : IDisposable
{
    private readonly NvmeHost _host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }, new() { Size = 1 << 20 }], Queues = 8 });
    private readonly QueuePair _queue;
    private readonly ulong _data;

    public LogAndEventTests()
    {
        _queue = _host.CreateQueue();
        _data = _host.Memory.Allocate(8192);
    }

    public void Dispose() => _host.Dispose();

    private ReadOnlySpan<byte> Read(byte page, int bytes, ulong offset = 0, bool keeps = false, uint space = uint.MaxValue)
    {
        _host.Memory[_data, 8192].Clear();
        _ = _host.Admin.Succeed(Logs.Get(page, _data, bytes, offset, keeps, space) with { Data2 = _data + 4096 });
        return _host.Memory[_data, bytes];
    }

    private static Command SetFeature(byte feature, uint value) => new(NvmeAdminOpcode.SetFeatures) { Word10 = feature, Word11 = value };

    [Fact]
    public void The_error_log_has_the_newest_first()
    {
        _queue.Refuse(NvmeStatus.InvalidNamespace, new(NvmeIoOpcode.Read) { Namespace = 9, Id = 40 });
        _queue.Refuse(NvmeStatus.InvalidOpcode, new(0x7f) { Namespace = 1, Id = 41 });
        ReadOnlySpan<byte> log = Read(1, 256);
        (BinaryPrimitives.ReadUInt64LittleEndian(log), log[8], log[10]).ShouldBe((2ul, (byte)1, (byte)41));
        (BinaryPrimitives.ReadUInt16LittleEndian(log[12..]) >> 1 & 0x7ff).ShouldBe((int)NvmeStatus.InvalidOpcode);
        (BinaryPrimitives.ReadUInt64LittleEndian(log[64..]), log[74]).ShouldBe((1ul, (byte)40));
        BinaryPrimitives.ReadUInt64LittleEndian(log[128..]).ShouldBe(0ul);
    }

    [Fact]
    public void Health_counts_what_was_read_and_written_of_all_or_of_one_namespace()
    {
        for (int i = 0; i < 3; i++)
        {
            _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 0, 8, _data));
        }

        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 8, _data, space: 2));
        ReadOnlySpan<byte> log = Read(2, 512);
        log[0].ShouldBe((byte)0);
        (BinaryPrimitives.ReadUInt64LittleEndian(log[64..]), BinaryPrimitives.ReadUInt64LittleEndian(log[80..])).ShouldBe((1ul, 3ul));
        log = Read(2, 512, space: 1);
        (BinaryPrimitives.ReadUInt64LittleEndian(log[64..]), BinaryPrimitives.ReadUInt64LittleEndian(log[80..])).ShouldBe((0ul, 3ul));
        _host.Admin.Refuse(NvmeStatus.InvalidNamespace, Logs.Get(2, _data, 512, space: 9));
    }

    [Fact]
    public void Pages_are_read_in_parts_and_say_which_there_are()
    {
        byte[] whole = Read(0, 1024).ToArray();
        whole[0].ShouldBe((byte)1);
        whole[4 * 0x0c].ShouldBe((byte)0);
        Read(0, 64, offset: 64).SequenceEqual(whole.AsSpan(64, 64)).ShouldBeTrue();
        for (byte page = 0; page < 32; page++)
        {
            Completion completion = _host.Admin.Execute(Logs.Get(page, _data, 64));
            completion.Code.ShouldBe(whole[4 * page] == 1 ? NvmeStatus.Success : NvmeStatus.InvalidLogPage, $"page {page}");
        }

        _host.Admin.Refuse(NvmeStatus.InvalidField, Logs.Get(2, _data, 64, offset: 2));
        _host.Admin.Refuse(NvmeStatus.InvalidField, Logs.Get(2, _data, 64, offset: 516));
    }

    [Fact]
    public void The_effects_log_says_which_commands_there_are()
    {
        ReadOnlySpan<byte> log = Read(5, 4096);
        for (int opcode = 0; opcode < 256; opcode++)
        {
            bool isKnown = opcode is 0 or 1 or 2 or 4 or 5 or 6 or 8 or 9 or 0x0a or 0x0c or 0x7c or 0x80;
            (log[4 * opcode] & 1).ShouldBe(isKnown ? 1 : 0, $"admin {opcode:x}");
            isKnown = opcode is 0 or 1 or 2 or 4 or 5 or 8 or 9 or 0x0c;
            (log[1024 + (4 * opcode)] & 1).ShouldBe(isKnown ? 1 : 0, $"I/O {opcode:x}");
        }
    }

    [Fact]
    public void Requests_for_events_wait_four_at_most_and_can_be_aborted()
    {
        for (ushort i = 0; i < 4; i++)
        {
            _ = _host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest) { Id = (ushort)(100 + i) });
        }

        _host.Admin.Take().ShouldBeEmpty();
        _host.Admin.Refuse(NvmeStatus.AsyncEventLimitExceeded, new(NvmeAdminOpcode.AsyncEventRequest) { Id = 200 });
        _host.Admin.Refuse(NvmeStatus.CommandIdConflict, Command.Identify(1, 0, _data) with { Id = 101 });
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.Abort) { Word10 = 102u << 16, Id = 7 });
        List<Completion> both = _host.Admin.Take();
        both.Select(static completion => (completion.Id, completion.Status, completion.Value)).ShouldBe(
            [((ushort)102, NvmeStatus.AbortRequested, 0ul), ((ushort)7, NvmeStatus.Success, 0ul)]);
        _host.Admin.Succeed(new(NvmeAdminOpcode.Abort) { Word10 = 102u << 16 }).Value.ShouldBe(1ul);
        _host.Admin.Succeed(new(NvmeAdminOpcode.Abort) { Word10 = 1 | (5u << 16) }).Value.ShouldBe(1ul);
        _host.Admin.Succeed(new(NvmeAdminOpcode.Abort) { Word10 = 999 | (5u << 16) }).Value.ShouldBe(1ul);
    }

    [Fact]
    public void An_event_that_came_before_its_request_waits_for_it()
    {
        _host.Write32(NvmeRegisters.Doorbells + 8, 1000);
        _host.Admin.Take().ShouldBeEmpty();
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest) { Id = 9 });
        _host.Admin.Take().ShouldHaveSingleItem().Value.ShouldBe(0x1_0100ul);

        // Silent until the log page is read, and for a read that keeps the event still.
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest) { Id = 10 });
        _host.Write32(NvmeRegisters.Doorbells + 8, 1000);
        _ = Read(1, 64, keeps: true);
        _host.Write32(NvmeRegisters.Doorbells + 8, 1000);
        _host.Admin.Take().ShouldBeEmpty();
        _ = Read(1, 64);
        _host.Write32(NvmeRegisters.Doorbells + 8, 1000);
        _host.Admin.Take().ShouldHaveSingleItem().Id.ShouldBe((ushort)10);
    }

    [Fact]
    public void A_temperature_threshold_below_the_temperature_is_told_if_it_is_wanted()
    {
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest) { Id = 9 });
        _ = _host.Admin.Succeed(SetFeature(4, 300));
        (Read(2, 512)[0] & 2).ShouldBe(2);
        _ = _host.Admin.Succeed(SetFeature(0x0b, 2));
        _ = _host.Admin.Submit(SetFeature(4, 300));
        List<Completion> both = _host.Admin.Take();
        both.Count.ShouldBe(2);
        both.ShouldContain(static completion => completion.Id == 9 && completion.Value == (1 | (1 << 8) | (2 << 16)));
        _ = _host.Admin.Succeed(SetFeature(4, 400));
        (Read(2, 512)[0] & 2).ShouldBe(0);
    }

    [Theory]
    [InlineData(0, 512, 0)]
    [InlineData(1, 4096, 0)]
    [InlineData(2, 512, 8)]
    [InlineData(3, 4096, 8)]
    public void Format_changes_the_blocks_and_erases_them_and_is_told_if_it_is_wanted(uint format, int block, int metadata)
    {
        _host.Memory[_data, 4096].Fill(7);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 0, 8, _data));
        _ = _host.Admin.Succeed(SetFeature(0x0b, 1 << 8));
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest) { Id = 9 });
        _ = _host.Admin.Submit(new(NvmeAdminOpcode.FormatNvm) { Namespace = 1, Word10 = format, Id = 10 });
        List<Completion> both = _host.Admin.Take();
        both.ShouldContain(static completion => completion.Id == 10 && completion.Status == NvmeStatus.Success);
        both.ShouldContain(static completion => completion.Id == 9 && completion.Value == (2 | (4 << 16)));
        ReadOnlySpan<byte> changed = Read(4, 4096);
        (BinaryPrimitives.ReadUInt32LittleEndian(changed), BinaryPrimitives.ReadUInt32LittleEndian(changed[4..])).ShouldBe((1u, 0u));
        BinaryPrimitives.ReadUInt32LittleEndian(Read(4, 4096)).ShouldBe(0u);
        _ = _host.Admin.Succeed(Command.Identify(0, 1, _data));
        BinaryPrimitives.ReadUInt64LittleEndian(_host.Memory[_data, 8]).ShouldBe((1ul << 20) / (ulong)block);
        _host.Memory[_data, 4096][26].ShouldBe((byte)format);
        BinaryPrimitives.ReadUInt16LittleEndian(_host.Memory[_data + 128 + (4 * format), 2]).ShouldBe((ushort)metadata);
        _host.Memory[_data, 4096].Fill(9);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data));
        _host.Memory[_data, block].IndexOfAnyExcept((byte)0).ShouldBe(-1);
    }

    [Fact]
    public void Formats_that_are_not_there_are_refused()
    {
        _host.Admin.Refuse(NvmeStatus.InvalidFormat, new(NvmeAdminOpcode.FormatNvm) { Namespace = 1, Word10 = 4 });
        _host.Admin.Refuse(NvmeStatus.InvalidFormat, new(NvmeAdminOpcode.FormatNvm) { Namespace = 1, Word10 = 1 << 12 });
        _host.Admin.Refuse(NvmeStatus.InvalidFormat, new(NvmeAdminOpcode.FormatNvm) { Namespace = 1, Word10 = 1 << 5 });
        _host.Admin.Refuse(NvmeStatus.InvalidField, new(NvmeAdminOpcode.FormatNvm) { Namespace = 1, Word10 = 2 << 9 });
        _host.Admin.Refuse(NvmeStatus.InvalidNamespace, new(NvmeAdminOpcode.FormatNvm) { Namespace = 0 });
        _host.Admin.Refuse(NvmeStatus.InvalidNamespace, new(NvmeAdminOpcode.FormatNvm) { Namespace = 3 });
        _ = _host.Admin.Succeed(new(NvmeAdminOpcode.FormatNvm) { Namespace = uint.MaxValue, Word10 = 1 | (1 << 9) });
    }
}
