using System.Buffers.Binary;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>The NVM command set (NVM Command Set Specification 1.0, chapter 3).</summary>
public sealed class IoTests : IDisposable
{
    private readonly NvmeHost _host;
    private readonly QueuePair _queue;
    private readonly ulong _data;

    public IoTests()
    {
        _host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }, new() { Size = 4 << 20, BlockSize = 4096 }, new() { Size = 1 << 16, IsReadOnly = true }] });
        _queue = _host.CreateQueue();
        _data = _host.Memory.Allocate(16384);
    }

    private Span<byte> Data => _host.Memory[_data, 16384];

    public void Dispose() => _host.Dispose();

    [Theory]
    [InlineData(1u, 512)]
    [InlineData(2u, 4096)]
    public void What_was_written_is_read_and_nothing_beside_it(uint space, int block)
    {
        new Random(1).NextBytes(Data[..block]);
        byte[] written = Data[..block].ToArray();
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 9, 1, _data, space: space));
        Data.Fill(0xee);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 9, 1, _data, space: space));
        Data[..block].SequenceEqual(written).ShouldBeTrue();
        Data[block..].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        foreach (ulong other in (ulong[])[8, 10])
        {
            _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, other, 1, _data, space: space));
            Data[..block].IndexOfAnyExcept((byte)0).ShouldBe(-1);
        }
    }

    [Theory]
    [InlineData(NvmeIoOpcode.Read)]
    [InlineData(NvmeIoOpcode.Write)]
    [InlineData(NvmeIoOpcode.Compare)]
    [InlineData(NvmeIoOpcode.WriteZeroes)]
    [InlineData(NvmeIoOpcode.WriteUncorrectable)]
    [InlineData(NvmeIoOpcode.Verify)]
    public void Blocks_beyond_the_last_are_refused(NvmeIoOpcode opcode)
    {
        foreach ((ulong first, int count) in new[] { (2048ul, 1), (2047ul, 2), (0ul, 2049), (ulong.MaxValue, 1), (ulong.MaxValue - 1, 8) })
        {
            _queue.Refuse(NvmeStatus.LbaOutOfRange, Command.Blocks(opcode, first, count, _data));
        }

        _ = _queue.Succeed(Command.Blocks(opcode, 2047, 1, _data));
    }

    [Theory]
    [InlineData(NvmeIoOpcode.Read)]
    [InlineData(NvmeIoOpcode.Write)]
    [InlineData(NvmeIoOpcode.Compare)]
    [InlineData(NvmeIoOpcode.WriteZeroes)]
    [InlineData(NvmeIoOpcode.WriteUncorrectable)]
    [InlineData(NvmeIoOpcode.DatasetManagement)]
    [InlineData(NvmeIoOpcode.Verify)]
    [InlineData(NvmeIoOpcode.Flush)]
    public void A_namespace_that_is_not_there_is_refused(NvmeIoOpcode opcode)
    {
        foreach (uint space in (uint[])[0, 4, 0xffff_fffe])
        {
            Completion completion = _queue.Execute(Command.Blocks(opcode, 0, 1, _data, space: space));
            (completion.Code, completion.MustNotRetry).ShouldBe((NvmeStatus.InvalidNamespace, true));
        }
    }

    [Fact]
    public void Reservations_and_unknown_commands_are_refused_as_by_a_controller_without_them()
    {
        // Reservation register, report, acquire and release; copy; zone commands; vendor's.
        foreach (byte opcode in (byte[])[0x03, 0x06, 0x0d, 0x0e, 0x11, 0x15, 0x19, 0x79, 0x7a, 0x7d, 0x80, 0xff])
        {
            _queue.Refuse(NvmeStatus.InvalidOpcode, new(opcode) { Namespace = 1, Data1 = _data });
        }

        _queue.Refuse(NvmeStatus.InvalidField, Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data) with { Flags = 1 });
        _queue.Refuse(NvmeStatus.InvalidField, Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data) with { Flags = 2 });
        _queue.Refuse(NvmeStatus.InvalidField, Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data) with { Flags = 0xc0 });
    }

    [Fact]
    public void A_read_only_namespace_is_read_and_not_written()
    {
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data, space: 3));
        foreach (NvmeIoOpcode opcode in (NvmeIoOpcode[])[NvmeIoOpcode.Write, NvmeIoOpcode.WriteZeroes, NvmeIoOpcode.WriteUncorrectable, NvmeIoOpcode.DatasetManagement])
        {
            _queue.Refuse(NvmeStatus.NamespaceWriteProtected, Command.Blocks(opcode, 0, 1, _data, space: 3));
        }

        _host.Admin.Refuse(NvmeStatus.NamespaceWriteProtected, new(NvmeAdminOpcode.FormatNvm) { Namespace = 3 });
        _host.Admin.Refuse(NvmeStatus.NamespaceWriteProtected, new(NvmeAdminOpcode.FormatNvm) { Namespace = uint.MaxValue });
    }

    [Fact]
    public void Compare_tells_equal_from_different()
    {
        Data[..1024].Fill(7);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 4, 2, _data));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Compare, 4, 2, _data));
        Data[1023]++;
        _queue.Refuse(NvmeStatus.CompareFailure, Command.Blocks(NvmeIoOpcode.Compare, 4, 2, _data));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Compare, 4, 1, _data));
    }

    [Fact]
    public void Write_zeroes_clears_its_blocks_only()
    {
        Data[..4096].Fill(7);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 0, 8, _data));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.WriteZeroes, 1, 6));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 8, _data));
        Data[..512].IndexOfAnyExcept((byte)7).ShouldBe(-1);
        Data[512..3584].IndexOfAnyExcept((byte)0).ShouldBe(-1);
        Data[3584..4096].IndexOfAnyExcept((byte)7).ShouldBe(-1);
    }

    [Fact]
    public void Uncorrectable_blocks_fail_until_they_are_written_again()
    {
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.WriteUncorrectable, 10, 4));
        foreach (NvmeIoOpcode opcode in (NvmeIoOpcode[])[NvmeIoOpcode.Read, NvmeIoOpcode.Compare, NvmeIoOpcode.Verify])
        {
            _queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(opcode, 8, 3, _data));
            _queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(opcode, 13, 1, _data));
            Data.Clear();
            _ = _queue.Succeed(Command.Blocks(opcode, 14, 2, _data));
            _ = _queue.Succeed(Command.Blocks(opcode, 8, 2, _data));
        }

        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 11, 1, _data));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 11, 1, _data));
        _queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(NvmeIoOpcode.Read, 10, 1, _data));
        _queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(NvmeIoOpcode.Read, 12, 1, _data));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.WriteZeroes, 10, 4));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 8, 8, _data));
    }

    [Fact]
    public void Dataset_management_deallocates_all_of_its_ranges_or_none()
    {
        Data[..8192].Fill(7);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 0, 16, _data, _data + 4096));
        ulong ranges = _host.Memory.Allocate(4096);
        void PutRange(int index, ulong first, uint count)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[ranges + ((ulong)index * 16) + 4, 4], count);
            BinaryPrimitives.WriteUInt64LittleEndian(_host.Memory[ranges + ((ulong)index * 16) + 8, 8], first);
        }

        Command deallocate = new(NvmeIoOpcode.DatasetManagement) { Namespace = 1, Data1 = ranges, Word10 = 1, Word11 = 4 };
        PutRange(0, 0, 2);
        PutRange(1, 2040, 9);
        _queue.Refuse(NvmeStatus.LbaOutOfRange, deallocate);
        PutRange(1, 5, 1);
        _ = _queue.Succeed(deallocate with { Word11 = 3 });
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Compare, 0, 16, _data, _data + 4096));
        _ = _queue.Succeed(deallocate);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 8, _data));
        for (int i = 0; i < 8; i++)
        {
            Data.Slice(i * 512, 512).IndexOfAnyExcept((byte)(i is 0 or 1 or 5 ? 0 : 7)).ShouldBe(-1, $"block {i}");
        }
    }

    [Fact]
    public void Flush_is_for_one_namespace_or_all()
    {
        _ = _queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        _ = _queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = uint.MaxValue });
    }

    [Fact]
    public void Data_that_cannot_be_transferred_ends_the_command_and_not_the_controller()
    {
        ulong other = _host.Memory.Allocate(4096);
        _host.Memory.SetMapped(other, 4096, false);
        _queue.Refuse(NvmeStatus.DataTransferError, Command.Blocks(NvmeIoOpcode.Read, 0, 1, other));
        _queue.Refuse(NvmeStatus.DataTransferError, Command.Blocks(NvmeIoOpcode.Write, 0, 1, other));
        _queue.Refuse(NvmeStatus.DataTransferError, Command.Blocks(NvmeIoOpcode.Read, 0, 16, _data, other));
        _queue.Refuse(NvmeStatus.DataTransferError, Command.Blocks(NvmeIoOpcode.Read, 0, 32, _data, other));
        _queue.Refuse(NvmeStatus.DataTransferError, new(NvmeIoOpcode.DatasetManagement) { Namespace = 1, Data1 = other });
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, _data));
    }

    [Fact]
    public void A_command_that_moves_more_than_the_controller_may_is_refused()
    {
        // 2 MiB as is; the second namespace has 4096 bytes a block.
        _queue.Refuse(NvmeStatus.InvalidField, Command.Blocks(NvmeIoOpcode.Read, 0, 513, _data, _data, space: 2));
    }
}
