using System.Buffers.Binary;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>How data is named: PRP (base specification 2.0, section 4.1.1), SGL (4.1.2), and metadata (NVM command set, 2.1.4).</summary>
public sealed class TransferTests : IDisposable
{
    private const int Page = 4096;

    private readonly NvmeHost _host;
    private readonly QueuePair _queue;

    public TransferTests()
    {
        _host = NvmeHost.Ready(new()
        {
            Namespaces = [new() { Size = 8 << 20 }, new() { Size = 1 << 20, MetadataSize = 8 }, new() { Size = 1 << 20, MetadataSize = 8, ExtendedBlocks = true }],
            MaxTransferLog2 = 0,
        },
        memory: 32 << 20);
        _queue = _host.CreateQueue();
    }

    public void Dispose() => _host.Dispose();

    private void Put64(ulong address, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(_host.Memory[address, 8], value);

    private void PutDescriptor(ulong at, ulong address, uint length, int type = 0)
    {
        Put64(at, address);
        Put64(at + 8, length | ((ulong)type << 60));
    }

    private static Command Sgl(NvmeIoOpcode opcode, int count, ulong address, uint length, int type, uint space = 1) =>
        Command.Blocks(opcode, 0, count, address, length | ((ulong)type << 60), space) with { Flags = 0x40 };

    // Fills the first blocks with numbers that are all different.
    private byte[] Fill(int blocks)
    {
        byte[] content = new byte[blocks * 512];
        new Random(blocks).NextBytes(content);
        ulong data = _host.Memory.Allocate(Page);
        for (int i = 0; i < blocks; i++)
        {
            content.AsSpan(i * 512, 512).CopyTo(_host.Memory[data, 512]);
            _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, (ulong)i, 1, data));
        }

        return content;
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(1, 4092)]
    [InlineData(8, 0)]
    [InlineData(8, 512)]
    [InlineData(16, 0)]
    [InlineData(16, 4)]
    [InlineData(17, 0)]
    [InlineData(24, 1000)]
    [InlineData(64, 0)]
    [InlineData(300, 2048)]
    public void Data_comes_by_one_or_two_entries_or_a_list_in_scattered_pages(int blocks, int offset)
    {
        byte[] content = Fill(blocks);
        int bytes = blocks * 512;
        int pages = (offset + bytes + Page - 1) / Page;

        // Every second page of a region, from its end to its start: no two follow each other.
        ulong region = _host.Memory.Allocate(2 * pages * Page);
        ulong PageAt(int i) => region + ((ulong)(2 * (pages - 1 - i)) * Page);
        ulong list = _host.Memory.Allocate(2 * Page);
        ulong second = 0;
        if (pages == 2)
        {
            second = PageAt(1);
        }
        else if (pages > 2)
        {
            second = list + Page - 64;
            PutList(second, [.. Enumerable.Range(1, pages - 1).Select(PageAt)]);
        }

        _host.Memory[region, 2 * pages * Page].Fill(0xee);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, blocks, PageAt(0) + (ulong)offset, second));
        for (int i = 0; i < bytes; i++)
        {
            int at = offset + i;
            _host.Memory[PageAt(at / Page) + (ulong)(at % Page), 1][0].ShouldBe(content[i], $"byte {i}");
        }

        // The pages between are untouched, and so is what is before and behind.
        for (int i = 0; i < pages; i++)
        {
            _host.Memory[PageAt(i) + Page, Page].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        }

        _host.Memory[PageAt(0), offset].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Compare, 0, blocks, PageAt(0) + (ulong)offset, second));
    }

    // A list that begins near the end of its page goes on in others.
    private void PutList(ulong at, ulong[] entries)
    {
        for (int i = 0; i < entries.Length; i++)
        {
            bool isLastOfPage = (at & (Page - 1)) == Page - 8;
            if (isLastOfPage && i < entries.Length - 1)
            {
                ulong next = _host.Memory.Allocate(Page);
                Put64(at, next);
                at = next;
            }

            Put64(at, entries[i]);
            at += 8;
        }
    }

    [Fact]
    public void Entries_off_their_places_are_refused()
    {
        ulong data = _host.Memory.Allocate(4 * Page);
        _queue.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 1, data + 1));
        _queue.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 16, data, data + Page + 4));
        _queue.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 32, data, data + 4));
        ulong list = _host.Memory.Allocate(Page);
        Put64(list, data + Page);
        Put64(list + 8, data + (2 * Page) + 8);
        _queue.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 24, data, list));
    }

    [Fact]
    public void Data_comes_by_descriptors_in_chained_segments()
    {
        byte[] content = Fill(8);
        ulong first = _host.Memory.Allocate(Page);
        ulong second = _host.Memory.Allocate(Page);
        ulong[] data = [_host.Memory.Allocate(Page), _host.Memory.Allocate(Page), _host.Memory.Allocate(Page)];
        PutDescriptor(first, data[0] + 1, 1001);
        PutDescriptor(first + 16, 0, 0);
        PutDescriptor(first + 32, second, 32, 3);
        PutDescriptor(second, data[1] + 77, 2000);
        PutDescriptor(second + 16, data[2], 4096);
        _ = _queue.Succeed(Sgl(NvmeIoOpcode.Read, 8, first, 48, 2));
        _host.Memory[data[0] + 1, 1001].SequenceEqual(content.AsSpan(0, 1001)).ShouldBeTrue();
        _host.Memory[data[1] + 77, 2000].SequenceEqual(content.AsSpan(1001, 2000)).ShouldBeTrue();
        _host.Memory[data[2], 1095].SequenceEqual(content.AsSpan(3001, 1095)).ShouldBeTrue();
        _host.Memory[data[2] + 1095, Page - 1095].IndexOfAnyExcept((byte)0).ShouldBe(-1);
        _ = _queue.Succeed(Sgl(NvmeIoOpcode.Compare, 8, first, 48, 2));

        // One block of data is a list by itself.
        _ = _queue.Succeed(Sgl(NvmeIoOpcode.Read, 8, data[2], 4096, 0));
        _host.Memory[data[2], 4096].SequenceEqual(content).ShouldBeTrue();
    }

    [Fact]
    public void A_bit_bucket_takes_what_is_read_and_gives_nothing()
    {
        byte[] content = Fill(2);
        ulong list = _host.Memory.Allocate(Page);
        ulong data = _host.Memory.Allocate(Page);
        PutDescriptor(list, 0, 512, 1);
        PutDescriptor(list + 16, data, 512);
        _ = _queue.Succeed(Sgl(NvmeIoOpcode.Read, 2, list, 32, 3));
        _host.Memory[data, 512].SequenceEqual(content.AsSpan(512)).ShouldBeTrue();

        // The other way it does not count.
        PutDescriptor(list + 16, data, 1024);
        _ = _queue.Succeed(Sgl(NvmeIoOpcode.Write, 2, list, 32, 3));
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Compare, 0, 2, data));
    }

    [Fact]
    public void Lists_that_cannot_be_are_refused_by_what_is_wrong_with_them()
    {
        ulong list = _host.Memory.Allocate(Page);
        ulong data = _host.Memory.Allocate(Page);
        _queue.Refuse(NvmeStatus.DataSglLengthInvalid, Sgl(NvmeIoOpcode.Read, 2, data, 512, 0));
        _queue.Refuse(NvmeStatus.SglTypeInvalid, Sgl(NvmeIoOpcode.Read, 1, data, 512, 4));
        _queue.Refuse(NvmeStatus.SglTypeInvalid, Sgl(NvmeIoOpcode.Read, 1, data, 512, 15));
        _queue.Refuse(NvmeStatus.SglTypeInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 1, data, 512 | (1ul << 56)) with { Flags = 0x40 });
        _queue.Refuse(NvmeStatus.InvalidSglSegment, Sgl(NvmeIoOpcode.Read, 1, list, 0, 2));
        _queue.Refuse(NvmeStatus.InvalidSglSegment, Sgl(NvmeIoOpcode.Read, 1, list, 24, 2));

        // A segment in the middle of one, a segment after the last, and one that leads to itself.
        PutDescriptor(list, list, 32, 2);
        PutDescriptor(list + 16, data, 512);
        _queue.Refuse(NvmeStatus.InvalidSglSegment, Sgl(NvmeIoOpcode.Read, 1, list, 32, 2));
        PutDescriptor(list, list + 16, 16, 3);
        PutDescriptor(list + 16, list, 16, 2);
        _queue.Refuse(NvmeStatus.InvalidSglCount, Sgl(NvmeIoOpcode.Read, 1, list, 16, 3));
        PutDescriptor(list, list, 16, 2);
        _queue.Refuse(NvmeStatus.InvalidSglCount, Sgl(NvmeIoOpcode.Read, 1, list, 16, 2));
        _host.Memory.SetMapped(list, Page, false);
        _queue.Refuse(NvmeStatus.DataTransferError, Sgl(NvmeIoOpcode.Read, 1, list, 16, 2));
    }

    [Fact]
    public void Metadata_has_a_buffer_of_its_own()
    {
        ulong data = _host.Memory.Allocate(Page);
        ulong metadata = _host.Memory.Allocate(Page);
        new Random(3).NextBytes(_host.Memory[data, 2048]);
        new Random(4).NextBytes(_host.Memory[metadata, 32]);
        byte[] written = _host.Memory[metadata, 32].ToArray();
        Command write = Command.Blocks(NvmeIoOpcode.Write, 5, 4, data, space: 2) with { Metadata = metadata };
        _ = _queue.Succeed(write);
        _host.Memory[metadata, 32].Clear();
        Command read = write with { Opcode = (byte)NvmeIoOpcode.Read };
        _ = _queue.Succeed(read);
        _host.Memory[metadata, 32].SequenceEqual(written).ShouldBeTrue();
        Command compare = write with { Opcode = (byte)NvmeIoOpcode.Compare };
        _ = _queue.Succeed(compare);
        _host.Memory[metadata + 31, 1][0]++;
        _queue.Refuse(NvmeStatus.CompareFailure, compare);
        _queue.Refuse(NvmeStatus.InvalidField, read with { Metadata = metadata + 2 });

        // By a list of one descriptor, and with data by SGL at any byte.
        ulong list = _host.Memory.Allocate(Page);
        PutDescriptor(list, metadata + 101, 32);
        _ = _queue.Succeed(read with { Flags = 0x80, Data2 = 2048, Metadata = list });
        _host.Memory[metadata + 101, 32].SequenceEqual(written).ShouldBeTrue();
        _ = _queue.Succeed(read with { Flags = 0x40, Data2 = 2048, Metadata = metadata + 201 });
        _host.Memory[metadata + 201, 32].SequenceEqual(written).ShouldBeTrue();

        PutDescriptor(list, metadata, 31);
        _queue.Refuse(NvmeStatus.MetadataSglLengthInvalid, read with { Flags = 0x80, Data2 = 2048, Metadata = list });

        // Zeroes are zeroes in the metadata too.
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.WriteZeroes, 5, 4, space: 2));
        _ = _queue.Succeed(read);
        _host.Memory[metadata, 32].IndexOfAnyExcept((byte)0).ShouldBe(-1);
    }

    [Fact]
    public void Metadata_follows_each_block_where_the_format_says_so()
    {
        ulong data = _host.Memory.Allocate(Page);
        new Random(3).NextBytes(_host.Memory[data, 1040]);
        byte[] written = _host.Memory[data, 1040].ToArray();
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 7, 2, data, space: 3));
        _host.Memory[data, 1200].Fill(0xee);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 7, 2, data, space: 3));
        _host.Memory[data, 1040].SequenceEqual(written).ShouldBeTrue();
        _host.Memory[data + 1040, 160].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        _ = _queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 8, 1, data, space: 3));
        _host.Memory[data, 520].SequenceEqual(written.AsSpan(520)).ShouldBeTrue();
    }

    [Fact]
    public void Pages_may_be_larger_than_four_kilobytes()
    {
        using NvmeHost host = new(new NvmeOptions { Namespaces = [new() { Size = 1 << 20 }] });
        // 16 KiB: CC.MPS is 2.
        ulong at = host.Memory.Allocate(16384);
        while ((at & 16383) != 0)
        {
            at = host.Memory.Allocate(4096);
        }

        _ = host.Memory.Allocate(16384 * 8);
        ulong completionAt = at + 16384;
        QueuePair admin = new(host, 0, 32, at, completionAt);
        host.Write32(NvmeRegisters.AdminQueueAttributes, 0x1f_001f);
        host.Write64(NvmeRegisters.AdminSubmissionQueue, at);
        host.Write64(NvmeRegisters.AdminCompletionQueue, completionAt);
        host.Write32(NvmeRegisters.Configuration, 0x46_0101);
        ulong queue = at + 32768;
        admin.Refuse(NvmeStatus.PrpOffsetInvalid, NvmeHost.CreateCompletion(1, 64, queue + 4096));
        _ = admin.Succeed(NvmeHost.CreateCompletion(1, 64, queue));
        _ = admin.Succeed(NvmeHost.CreateSubmission(1, 64, queue + 16384, 1));
        QueuePair io = new(host, 1, 64, queue + 16384, queue);
        ulong data = at + 65536;
        _ = io.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 64, data, data + 16384));
        io.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Blocks(NvmeIoOpcode.Read, 0, 64, data, data + 4096));
    }
}
