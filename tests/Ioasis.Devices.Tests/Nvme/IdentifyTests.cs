using System.Buffers.Binary;
using System.Text;
using Ioasis.Devices.Nvme;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Identify, in all its forms (base specification 2.0, section 5.17; NVM command set 1.0, section 4.1.5).</summary>
public sealed class IdentifyTests : IDisposable
{
    private readonly NvmeHost _host;
    private readonly ulong _data;

    public IdentifyTests()
    {
        _host = NvmeHost.Ready(new()
        {
            Namespaces = [new() { Size = 1 << 20 }, new() { Size = 1 << 20, BlockSize = 4096, MetadataSize = 8, ExtendedBlocks = true }, new() { Size = 1 << 16, IsReadOnly = true }],
            Serial = "S123",
            Model = "A model",
            MaxTransferLog2 = 5,
        });
        _data = _host.Memory.Allocate(4096);
    }

    private ReadOnlySpan<byte> Data => _host.Memory[_data, 4096];

    public void Dispose() => _host.Dispose();

    private ReadOnlySpan<byte> Ask(byte kind, uint space = 0, uint rest10 = 0, uint word11 = 0)
    {
        _host.Memory[_data, 4096].Fill(0xee);
        _ = _host.Admin.Succeed(Command.Identify(kind, space, _data) with { Word10 = kind | rest10, Word11 = word11 });
        return Data;
    }

    private void Refuses(NvmeStatus status, byte kind, uint space = 0, uint rest10 = 0, uint word11 = 0) =>
        _host.Admin.Refuse(status, Command.Identify(kind, space, _data) with { Word10 = kind | rest10, Word11 = word11 });

    private static uint Get32(ReadOnlySpan<byte> data, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(data[offset..]);

    private static ulong Get64(ReadOnlySpan<byte> data, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(data[offset..]);

    [Fact]
    public void The_controller_names_itself_and_what_it_can()
    {
        ReadOnlySpan<byte> data = Ask(1);
        Encoding.ASCII.GetString(data.Slice(4, 20)).ShouldBe("S123".PadRight(20));
        Encoding.ASCII.GetString(data.Slice(24, 40)).ShouldBe("A model".PadRight(40));
        data[77].ShouldBe((byte)5);
        Get32(data, 80).ShouldBe(0x0002_0000u);
        (data[512], data[513]).ShouldBe(((byte)0x66, (byte)0x44));
        Get32(data, 516).ShouldBe(3u);

        // Reservations are not among the optional commands.
        (data[520] & (1 << 5)).ShouldBe(0);
        (data[520] & 0b1101_1111).ShouldBe(0b1101_1111);
        (Get32(data, 536) & 3).ShouldBe(1u);
        Encoding.ASCII.GetString(data.Slice(768, 256)).TrimEnd('\0').ShouldStartWith("nqn.2014-08.org.nvmexpress:uuid:");
    }

    [Fact]
    public void A_namespace_says_its_size_and_formats()
    {
        ReadOnlySpan<byte> data = Ask(0, 1);
        Get64(data, 0).ShouldBe(2048ul);
        data[25].ShouldBe((byte)3);
        data[26].ShouldBe((byte)0);
        (Get32(data, 128), Get32(data, 132), Get32(data, 136), Get32(data, 140)).ShouldBe((9u << 16, 12u << 16, (9u << 16) | 8, (12u << 16) | 8));
        data = Ask(0, 2);
        Get64(data, 0).ShouldBe(256ul);
        data[26].ShouldBe((byte)(3 | (1 << 4)));
        Ask(0, 3)[99].ShouldBe((byte)1);

        // What all namespaces have in common.
        data = Ask(0, uint.MaxValue);
        Get64(data, 0).ShouldBe(0ul);
        data[25].ShouldBe((byte)3);
        Refuses(NvmeStatus.InvalidNamespace, 0, 0);
        Refuses(NvmeStatus.InvalidNamespace, 0, 4);
        Get64(Ask(0x11, 1), 0).ShouldBe(2048ul);
        Refuses(NvmeStatus.InvalidNamespace, 0x11, 4);
        (Ask(8, 3)[13] & 1).ShouldBe(1);
        Refuses(NvmeStatus.InvalidNamespace, 8, 9);
    }

    [Theory]
    [InlineData(0x02)]
    [InlineData(0x07)]
    [InlineData(0x10)]
    [InlineData(0x1a)]
    public void Namespaces_are_listed_after_a_number(byte kind)
    {
        ReadOnlySpan<byte> data = Ask(kind);
        (Get32(data, 0), Get32(data, 4), Get32(data, 8), Get32(data, 12)).ShouldBe((1u, 2u, 3u, 0u));
        data = Ask(kind, 2);
        (Get32(data, 0), Get32(data, 4)).ShouldBe((3u, 0u));
        Get32(Ask(kind, 3), 0).ShouldBe(0u);
        Get32(Ask(kind, 0xffff_fffd), 0).ShouldBe(0u);
        Refuses(NvmeStatus.InvalidNamespace, kind, 0xffff_fffe);
        Refuses(NvmeStatus.InvalidNamespace, kind, 0xffff_ffff);
    }

    [Fact]
    public void Descriptors_name_a_namespace_by_four_identifiers_that_last()
    {
        byte[] first = Ask(3, 1).ToArray();
        List<(byte Type, int Length)> all = [];
        for (int at = 0; first[at] != 0; at += 4 + first[at + 1])
        {
            all.Add((first[at], first[at + 1]));
        }

        all.ShouldBe([((byte)1, 8), ((byte)2, 16), ((byte)3, 16), ((byte)4, 1)]);
        Ask(3, 2).SequenceEqual(first).ShouldBeFalse();
        Ask(3, 1).SequenceEqual(first).ShouldBeTrue();
        Refuses(NvmeStatus.InvalidNamespace, 3, 7);
    }

    [Fact]
    public void Controllers_and_command_sets_are_listed()
    {
        ReadOnlySpan<byte> data = Ask(0x13);
        (data[0], data[1], data[2], data[3]).ShouldBe(((byte)1, (byte)0, (byte)0, (byte)0));
        Ask(0x13, rest10: 1 << 16)[0].ShouldBe((byte)0);
        Ask(0x12, 1)[0].ShouldBe((byte)1);
        Refuses(NvmeStatus.InvalidNamespace, 0x12, 9);
        Get64(Ask(0x1c), 0).ShouldBe(1ul);
        Get64(Ask(0x1c, rest10: 0xffff_0000), 0).ShouldBe(1ul);
        Refuses(NvmeStatus.InvalidField, 0x1c, rest10: 5 << 16);
        _ = Ask(6);
        _ = Ask(5, 1);
        Refuses(NvmeStatus.InvalidField, 6, word11: 2u << 24);
        Refuses(NvmeStatus.InvalidField, 5, 1, word11: 2u << 24);
        Refuses(NvmeStatus.InvalidNamespace, 5, 9);
    }

    [Fact]
    public void What_is_not_known_is_refused()
    {
        foreach (byte kind in (byte[])[0x04, 0x09, 0x0f, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1d, 0xc0, 0xff])
        {
            Refuses(NvmeStatus.InvalidField, kind);
        }

        _host.Admin.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Identify(1, 0, _data + 2));
    }

    [Fact]
    public void An_answer_may_begin_in_the_middle_of_a_page()
    {
        ulong two = _host.Memory.Allocate(8192);
        _ = _host.Admin.Succeed(Command.Identify(1, 0, two + 2048) with { Data2 = two + 4096 });
        byte[] split = _host.Memory[two + 2048, 4096].ToArray();
        Ask(1).SequenceEqual(split).ShouldBeTrue();
        _host.Admin.Refuse(NvmeStatus.PrpOffsetInvalid, Command.Identify(1, 0, two + 2048) with { Data2 = two + 4100 });
    }
}
