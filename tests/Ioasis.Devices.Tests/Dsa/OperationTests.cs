using System.Buffers.Binary;
using Ioasis.Devices.Dsa;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>Operations and their results (DSA specification 1.x, section 8.3).</summary>
public sealed class OperationTests : IDisposable
{
    private readonly DsaHost _host = new(new() { HasAts = false, HasPageRequests = false, TransferLog2 = 20 });
    private readonly ulong _a;
    private readonly ulong _b;
    private readonly ulong _c;

    public OperationTests()
    {
        _host.Bring();
        _a = _host.Memory.Allocate(0x4_0000);
        _b = _host.Memory.Allocate(0x4_0000);
        _c = _host.Memory.Allocate(0x4_0000);
        new Random(1).NextBytes(_host.Memory[_a, 0x4_0000]);
    }

    public void Dispose() => _host.Dispose();

    [Theory]
    [InlineData(1u)]
    [InlineData(63u)]
    [InlineData(4096u)]
    [InlineData(65536u)]
    [InlineData(0x3_0001u)]
    public void A_move_copies_exactly_its_bytes(uint length)
    {
        _host.Memory[_b, 0x4_0000].Fill(0xa5);
        _host.Execute(new(DsaOperation.Move, Source: _a + 3, Destination: _b + 5, Length: length)).ShouldBe(new(DsaStatus.Success, 0, length));
        _host.Memory[_b + 5, (int)length].SequenceEqual(_host.Memory[_a + 3, (int)length]).ShouldBeTrue();
        _host.Memory[_b, 5].IndexOfAnyExcept((byte)0xa5).ShouldBe(-1);
        _host.Memory[_b + 5 + length, 100].IndexOfAnyExcept((byte)0xa5).ShouldBe(-1);
    }

    [Theory]
    [InlineData(0x100, 0)]
    [InlineData(0, 0x100)]
    [InlineData(0x1_8001, 0)]
    [InlineData(0, 0x1_8001)]
    public void A_move_within_one_buffer_is_as_if_there_were_another_between(int from, int to)
    {
        byte[] expected = _host.Memory[_a + (ulong)from, 0x2_0000].ToArray();
        _host.Execute(new(DsaOperation.Move, Source: _a + (ulong)from, Destination: _a + (ulong)to, Length: 0x2_0000)).Status.ShouldBe(DsaStatus.Success);
        _host.Memory[_a + (ulong)to, 0x2_0000].SequenceEqual(expected).ShouldBeTrue();
    }

    [Fact]
    public void A_fill_repeats_its_eight_bytes()
    {
        _host.Execute(new(DsaOperation.Fill, Source: 0x8877_6655_4433_2211, Destination: _b + 1, Length: 0x1_0015)).Status.ShouldBe(DsaStatus.Success);
        byte[] expected = [.. Enumerable.Range(0, 0x1_0015).Select(static i => (byte)(0x11 * ((i % 8) + 1)))];
        _host.Memory[_b + 1, 0x1_0015].SequenceEqual(expected).ShouldBeTrue();
        _host.Memory[_b, 1][0].ShouldBe((byte)0);
        _host.Memory[_b + 0x1_0016, 1][0].ShouldBe((byte)0);
    }

    [Fact]
    public void Comparisons_tell_the_first_difference_and_whether_it_was_expected()
    {
        _host.Memory[_a, 0x2_0000].CopyTo(_host.Memory[_b, 0x2_0000]);
        DsaDescriptor compare = new(DsaOperation.Compare, Source: _a, Destination: _b, Length: 0x2_0000);
        _host.Execute(compare).ShouldBe(new(DsaStatus.Success, 0, 0x2_0000));
        _host.Execute(compare with { Flags = DsaFlags.CheckResult, Extra = 1 }).Status.ShouldBe(DsaStatus.SuccessUnexpected);
        _host.Memory[_b + 0x1_0003, 1][0]++;
        _host.Execute(compare).ShouldBe(new(DsaStatus.Success, 1, 0x1_0003));
        _host.Execute(compare with { Flags = DsaFlags.CheckResult, Extra = 1 }).Status.ShouldBe(DsaStatus.Success);
        _host.Memory[_c, 100].Fill(7);
        DsaDescriptor pattern = new(DsaOperation.ComparePattern, Source: _c, Destination: 0x0707_0707_0707_0707, Length: 99);
        _host.Execute(pattern).ShouldBe(new(DsaStatus.Success, 0, 99));
        _host.Memory[_c + 42, 1][0] = 8;
        _host.Execute(pattern).ShouldBe(new(DsaStatus.Success, 1, 42));
    }

    [Fact]
    public void A_delta_record_holds_the_difference_and_makes_one_buffer_of_the_other()
    {
        const uint Length = 0x2_0000;
        _host.Memory[_a, (int)Length].CopyTo(_host.Memory[_b, (int)Length]);
        DsaDescriptor create = new(DsaOperation.CreateDelta, Source: _a, Destination: _b, Length: Length, Extra: _c, Extra2: 1000);
        _host.Execute(create).ShouldBe(new(DsaStatus.Success, 0, Length));
        int[] places = [0, 8, 4096 + 5, 0x1_0000, (int)Length - 1];
        foreach (int place in places)
        {
            _host.Memory[_b + (ulong)place, 1][0]++;
        }

        _host.Execute(create).ShouldBe(new(DsaStatus.Success, 1, Length, 0, 50));
        BinaryPrimitives.ReadUInt16LittleEndian(_host.Memory[_c + 20, 2]).ShouldBe((ushort)(4096 / 8));
        _host.Execute(create with { Flags = DsaFlags.CheckResult, ResultMask = 0b001 }).Status.ShouldBe(DsaStatus.SuccessUnexpected);
        _host.Execute(create with { Flags = DsaFlags.CheckResult, ResultMask = 0b010 }).Status.ShouldBe(DsaStatus.Success);
        _host.Execute(new(DsaOperation.ApplyDelta, Source: _c, Destination: _a, Length: Length, Extra: 50)).ShouldBe(new(DsaStatus.Success, 0, 50));
        _host.Memory[_a, (int)Length].SequenceEqual(_host.Memory[_b, (int)Length]).ShouldBeTrue();

        _host.Memory[_b, 8 * 20].Fill(0x55);
        _host.Memory[_a, 8 * 20].Clear();
        _host.Execute(create with { Extra2 = 80 }).ShouldBe(new(DsaStatus.Success, 2, 64, 0, 80), "no room for the ninth");
        BinaryPrimitives.WriteUInt16LittleEndian(_host.Memory[_c + 10, 2], 0);
        _host.Execute(new(DsaOperation.ApplyDelta, Source: _c, Destination: _a, Length: Length, Extra: 80)).ShouldBe(new(DsaStatus.DeltaOrder, 0, 10));
        BinaryPrimitives.WriteUInt16LittleEndian(_host.Memory[_c + 10, 2], 10);
        _host.Execute(new(DsaOperation.ApplyDelta, Source: _c, Destination: _a, Length: 80, Extra: 80)).ShouldBe(new(DsaStatus.DeltaOffset, 0, 10));
    }

    [Fact]
    public void Two_places_get_the_same()
    {
        _host.Execute(new(DsaOperation.Dualcast, Source: _a, Destination: _b + 16, Length: 70_000, Extra: _c + 16)).Status.ShouldBe(DsaStatus.Success);
        _host.Memory[_b + 16, 70_000].SequenceEqual(_host.Memory[_a, 70_000]).ShouldBeTrue();
        _host.Memory[_c + 16, 70_000].SequenceEqual(_host.Memory[_a, 70_000]).ShouldBeTrue();
    }

    // The check value of CRC-32C is E3069283h; without inversion and reflection the register of the same bits reads so.
    [Fact]
    public void A_CRC_is_that_of_the_polynomial_with_seeds_and_without_inversion_and_reflection()
    {
        "123456789"u8.CopyTo(_host.Memory[_a, 9]);
        DsaDescriptor crc = new(DsaOperation.Crc, Source: _a, Length: 9);
        _host.Execute(crc).Value.ShouldBe(0xe306_9283u);
        uint first = _host.Execute(crc with { Length = 4 }).Value;
        DsaDescriptor rest = new(DsaOperation.Crc, Source: _a + 4, Length: 5, Extra: first);
        _host.Execute(rest).Value.ShouldBe(0xe306_9283u, "the seed goes on");
        BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[_c, 4], first);
        _host.Execute(rest with { Flags = DsaFlags.ReadSeed, Extra = 0, Extra2 = _c }).Value.ShouldBe(0xe306_9283u);
        _host.Execute(crc with { Flags = DsaFlags.PlainCrc | DsaFlags.PlainData }).Value.ShouldBe(Reference("123456789"u8, 0));
        _host.Execute(crc with { Flags = DsaFlags.PlainCrc | DsaFlags.PlainData, Extra = 0xdead_beef }).Value.ShouldBe(Reference("123456789"u8, 0xdead_beef));
        _host.Execute(new(DsaOperation.CopyCrc, Source: _a, Destination: _b, Length: 9)).Value.ShouldBe(0xe306_9283u);
        _host.Memory[_b, 9].SequenceEqual("123456789"u8).ShouldBeTrue();
    }

    [Fact]
    public void What_does_nothing_succeeds()
    {
        _host.Execute(new(DsaOperation.None)).Status.ShouldBe(DsaStatus.Success);
        _host.Execute(new(DsaOperation.Drain)).Status.ShouldBe(DsaStatus.Success);
        _host.Execute(new(DsaOperation.CacheFlush, Destination: _b, Length: 4096)).Status.ShouldBe(DsaStatus.Success);
        _host.Memory.Refused.ShouldBe(0);
    }

    [Fact]
    public void A_batch_does_its_descriptors_in_order_and_tells_whether_one_failed()
    {
        ulong list = _host.Memory.Allocate(4096);
        ulong records = _host.Memory.Allocate(4096);
        _host.Put(list, new(DsaOperation.Move, Source: _a, Destination: _b, Length: 100));
        _host.Put(list + 64, new(DsaOperation.Move, Told | DsaFlags.Fence, records, _b, _c, 100));
        DsaDescriptor batch = new(DsaOperation.Batch, Source: list, Length: 2);
        _host.Execute(batch).ShouldBe(new(DsaStatus.Success, 0, 2));
        _host.Memory[_c, 100].SequenceEqual(_host.Memory[_a, 100]).ShouldBeTrue();
        _host.RecordAt(records).Status.ShouldBe(DsaStatus.Success);

        _host.Put(list, new(DsaOperation.Move, Told, records + 32, _a, _b, 0));
        _host.Put(list + 64, new(DsaOperation.Fill, Source: ulong.MaxValue, Destination: _c, Length: 8));
        _host.Put(list + 128, new(DsaOperation.Fill, DsaFlags.Fence, Source: 0, Destination: _c, Length: 8));
        _host.Execute(batch with { Length = 3 }).ShouldBe(new(DsaStatus.BatchFailed, 0, 2), "the fence ends it");
        _host.RecordAt(records + 32).Status.ShouldBe(DsaStatus.TransferSize);
        _host.Memory[_c, 8].IndexOfAnyExcept((byte)0xff).ShouldBe(-1);

        _host.Put(list, new(DsaOperation.Batch, Told, records + 64, list, Length: 2));
        _host.Put(list + 64, new(DsaOperation.Drain, Told, records + 96));
        _host.Execute(batch).ShouldBe(new(DsaStatus.BatchFailed, 0, 2));
        _host.RecordAt(records + 64).Status.ShouldBe(DsaStatus.BadOperation);
        _host.RecordAt(records + 96).Status.ShouldBe(DsaStatus.BadOperation);
    }

    private static uint Reference(ReadOnlySpan<byte> data, uint crc)
    {
        foreach (byte value in data)
        {
            crc ^= (uint)value << 24;
            for (int i = 0; i < 8; i++)
            {
                crc = (crc << 1) ^ ((crc >> 31) * 0x1edc_6f41);
            }
        }

        return crc;
    }
}
