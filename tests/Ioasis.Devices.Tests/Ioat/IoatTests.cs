using System.Buffers.Binary;
using Ioasis.Devices.Ioat;
using Ioasis.Primitives;
using Ioasis.Uapi;
using static Ioasis.Devices.Tests.Ioat.IoatHost;

namespace Ioasis.Devices.Tests.Ioat;

/// <summary>The engine by its registers and descriptors, as a driver sees it.</summary>
public sealed class IoatTests : IDisposable
{
    private readonly IoatHost _host = new();
    private readonly ulong _ring;
    private readonly ulong _source;
    private readonly ulong _destination;
    private readonly ulong _completion;

    public IoatTests()
    {
        _ring = _host.Memory.Allocate(4096);
        _source = _host.Memory.Allocate(1 << 20);
        _destination = _host.Memory.Allocate(1 << 20);
        _completion = _host.Memory.Allocate(4096);
        new Random(1).NextBytes(_host.Memory[_source, 1 << 20]);
    }

    private ulong Completed => BinaryPrimitives.ReadUInt64LittleEndian(_host.Memory[_completion, 8]);

    public void Dispose() => _host.Dispose();

    [Fact]
    public void After_power_up_it_says_what_it_is_and_is_halted()
    {
        _host.Read(0x00, 1).ShouldBe(1ul, "channels");
        _host.Read(0x01, 1).ShouldBe(16ul, "XFERCAP");
        _host.Read(0x08, 1).ShouldBe(0x33ul, "version");
        _host.Read(0x10, 4).ShouldBe(0x40ul, "capabilities: fill");
        _host.Read(0x82, 2).ShouldBe(6ul, "compatibility");
        _host.Read(0x00, 8).ShouldBe(0x1001ul, "several registers at once");
        _host.State.ShouldBe(IoatState.Halted);
        _host.Errors.ShouldBe(IoatErrors.None);
        _host.Read(0x1000, 4).ShouldBe(0ul);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(4096)]
    [InlineData(65535)]
    [InlineData(65536)]
    public void A_copy_moves_exactly_its_bytes_and_completes(int length)
    {
        _host.Memory[_destination, 1 << 20].Fill(0xa5);
        _host.Write(ChanCmp, _completion, 8);
        _host.Run(_host.Put(_ring, Completion, _source + 3, _destination + 5, (uint)length));
        _host.State.ShouldBe(IoatState.Idle);
        _host.Read(ChanSts, 8).ShouldBe(_ring | 1);
        Completed.ShouldBe(_ring | 1);
        _host.Memory[_destination + 5, length].SequenceEqual(_host.Memory[_source + 3, length]).ShouldBeTrue();
        _host.Memory[_destination, 5].IndexOfAnyExcept((byte)0xa5).ShouldBe(-1);
        _host.Memory[_destination + 5 + (ulong)length, 100].IndexOfAnyExcept((byte)0xa5).ShouldBe(-1);
        _host.Device.CompletedDescriptors.ShouldBe(1);
    }

    [Fact]
    public void A_fill_repeats_its_eight_bytes_from_the_first_on()
    {
        _host.Run(_host.Put(_ring, Fill, 0x8877665544332211, _destination + 1, 21));
        _host.State.ShouldBe(IoatState.Idle);
        byte[] expected = [.. Enumerable.Range(0, 21).Select(static i => (byte)(0x11 * ((i % 8) + 1)))];
        _host.Memory[_destination + 1, 21].SequenceEqual(expected).ShouldBeTrue();
        _host.Memory[_destination + 22, 1][0].ShouldBe((byte)0);
    }

    [Fact]
    public void A_chain_goes_on_where_it_was_whenever_the_count_rises_and_a_new_chain_begins_at_nothing()
    {
        for (uint i = 0; i < 4; i++)
        {
            _ = _host.Put(_ring + (64 * i), i == 2 ? Null : 0, _source + (100 * i), _destination + (100 * i), 100, _ring + (64 * ((i + 1) % 4)));
        }

        _host.Run(_ring, 2);
        _host.Read(ChanSts, 8).ShouldBe((_ring + 64) | 1);
        _host.Read(Cdar, 8).ShouldBe(_ring + 64);
        _host.Memory[_destination + 200, 200].IndexOfAnyExcept((byte)0).ShouldBe(-1);
        _host.Write(DmaCount, 2, 2);
        _host.Device.CompletedDescriptors.ShouldBe(2, "the same count asks for nothing");
        _host.Write(DmaCount, 4, 2);
        _host.Read(ChanSts, 8).ShouldBe((_ring + 192) | 1);
        _host.Memory[_destination + 200, 100].IndexOfAnyExcept((byte)0).ShouldBe(-1, "null");
        _host.Memory[_destination + 300, 100].SequenceEqual(_host.Memory[_source + 300, 100]).ShouldBeTrue();

        // Its 16 bits wrap.
        _host.Write(DmaCount, 3, 2);
        DeviceHost.WaitFor(() => _host.State == IoatState.Idle);
        _host.Device.CompletedDescriptors.ShouldBe(65536 + 3);
        _host.Write(ChainAddr, _ring, 8);
        _host.Read(DmaCount, 2).ShouldBe(0ul);
        (_host.Read(ChanSts, 8) & ~63ul).ShouldBe(0ul);
    }

    [Theory]
    [InlineData(0x02000000u, 100u, 0ul, 0ul, IoatErrors.Control)]
    [InlineData(0x87000000u, 100u, 0ul, 0ul, IoatErrors.Control)]
    [InlineData(0x40u, 100u, 0ul, 0ul, IoatErrors.Control)]
    [InlineData(0u, 0u, 0ul, 0ul, IoatErrors.Length)]
    [InlineData(Null, 0u, 0ul, 0ul, IoatErrors.Length)]
    [InlineData(0u, 65537u, 0ul, 0ul, IoatErrors.Length)]
    [InlineData(0u, 100u, 1ul << 52, 0ul, IoatErrors.SourceAddress)]
    [InlineData(0u, 100u, (1ul << 52) - 50, 0ul, IoatErrors.SourceAddress)]
    [InlineData(0u, 100u, 0ul, 1ul << 60, IoatErrors.DestinationAddress)]
    [InlineData(0u, 100u, 1ul << 40, 0ul, IoatErrors.ReadData)]
    [InlineData(0u, 100u, 0ul, 1ul << 40, IoatErrors.WriteData)]
    [InlineData(Fill, 100u, 0ul, 1ul << 40, IoatErrors.WriteData)]
    internal void What_a_descriptor_cannot_have_halts_the_channel_until_it_is_cleared(
        uint control, uint length, ulong source, ulong destination, IoatErrors error)
    {
        _host.Connect(VfioPciInterrupt.MsiX, 1);
        _host.Write(IntrCtrl, 8, 1);
        _host.Write(ChanCtrl, 0x15, 2);
        _host.Write(ChanCmp, _completion, 8);
        ulong bad = _host.Put(
            _ring + 64, control | Interrupt | Completion, source == 0 ? _source : source, destination == 0 ? _destination : destination, length, _ring + 128);
        _ = _host.Put(_ring, 0, _source, _destination, 8, bad);
        _host.Run(_ring, 2);
        _host.State.ShouldBe(IoatState.Halted);
        _host.Errors.ShouldBe(error);
        _host.Read(Cdar, 8).ShouldBe(bad);
        _host.Read(ChanSts, 8).ShouldBe(_ring | 3);
        Completed.ShouldBe(_ring | 3, "what was completed last, and that it halted");
        _host.TakeSignals().ShouldBe(1);

        _host.Write(DmaCount, 3, 2);
        _host.State.ShouldBe(IoatState.Halted);
        _host.Write(ChanErr, (ulong)error, 4);
        _host.Write(ChanCmd, 0x20, 1);
        _host.Read(ChanCmd, 1).ShouldBe(0ul);
        _host.Errors.ShouldBe(IoatErrors.None);
        _host.Run(_host.Put(_ring, Completion, _source, _destination + 64, 8));
        Completed.ShouldBe(_ring | 1, "CHANCMP outlives the reset");
    }

    [Fact]
    public void A_descriptor_that_cannot_be_read_halts_the_channel()
    {
        _host.Run(_ring + 8);
        _host.Errors.ShouldBe(IoatErrors.ChainAddress);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Run(1ul << 40);
        _host.Errors.ShouldBe(IoatErrors.ChainAddress);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Run(_host.Put(_ring, 0, _source, _destination, 8, 1ul << 40), 2);
        _host.Errors.ShouldBe(IoatErrors.NextAddress);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Run(_host.Put(_ring, 0, _source, _destination, 8, _ring + 4), 2);
        _host.Errors.ShouldBe(IoatErrors.NextAlignment);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Write(ChanCmp, 1ul << 40, 8);
        _host.Run(_host.Put(_ring, Completion, _source, _destination, 8));
        _host.Errors.ShouldBe(IoatErrors.CompletionAddress);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.SetCommand(2);
        _host.Run(_ring);
        _host.Errors.ShouldBe(IoatErrors.ChainAddress, "no bus master");
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Write(ChanCmd, 0x24, 1);
        _host.Errors.ShouldBe(IoatErrors.Command);
    }

    [Fact]
    public void A_message_is_sent_once_each_time_that_the_driver_allows_it()
    {
        _host.Connect(VfioPciInterrupt.MsiX, 1);
        ulong first = _host.Put(_ring, Interrupt, _source, _destination, 8, _ring);
        _host.Run(first);
        _host.TakeSignals().ShouldBe(0, "INTRCTRL allows none");
        _host.Write(IntrCtrl, 8, 1);
        _host.Write(DmaCount, 2, 2);
        _host.TakeSignals().ShouldBe(0, "disabled by the last one");
        (_host.Read(ChanCtrl, 2) & 1).ShouldBe(1ul);
        _host.Write(ChanCtrl, 1, 2);
        (_host.Read(ChanCtrl, 2) & 1).ShouldBe(0ul);
        _host.Write(DmaCount, 4, 2);
        _host.TakeSignals().ShouldBe(1);
        _ = _host.Put(_ring, 0, _source, _destination, 8, _ring);
        _host.Write(ChanCtrl, 1, 2);
        _host.Write(DmaCount, 5, 2);
        _host.TakeSignals().ShouldBe(0, "the descriptor wants none");
    }

    [Fact]
    public void The_wire_follows_the_attention_and_the_master_enable()
    {
        _host.Connect(VfioPciInterrupt.Intx, 1);
        _host.Write(IntrCtrl, 1, 1);
        _host.Run(_host.Put(_ring, Interrupt, _source, _destination, 8, _ring));
        _host.TakeSignals().ShouldBe(1);
        _host.Read(IntrCtrl, 1).ShouldBe(7ul);
        _host.Read(IntrCtrl, 1).ShouldBe(2ul, "reading cleared the master enable");
        _host.Read(AttnStatus, 4).ShouldBe(1ul);
        _host.Read(AttnStatus, 4).ShouldBe(0ul);
        _host.Write(IntrCtrl, 1, 1);
        _host.Unmask();
        _host.TakeSignals().ShouldBe(0);
        _host.Write(ChanCtrl, 1, 2);
        _host.Write(DmaCount, 2, 2);
        _host.TakeSignals().ShouldBe(1);
    }

    [Fact]
    public void Its_channel_is_claimed_by_reading_and_given_back_by_writing()
    {
        (_host.Read(ChanCtrl, 2) & 0x100).ShouldBe(0ul);
        (_host.Read(ChanCtrl, 2) & 0x100).ShouldBe(0x100ul);
        _host.Write(ChanCtrl, 0, 2);
        (_host.Read(ChanCtrl, 2) & 0x100).ShouldBe(0ul);
    }

    [Fact]
    public void A_chain_after_a_reset_arms_the_channel_unless_an_error_is_left()
    {
        _host.Write(ChanCmd, 0x20, 1);
        _host.State.ShouldBe(IoatState.Halted);
        _host.Write(ChainAddr, _ring, 8);
        _host.Read(ChanSts, 8).ShouldBe(4ul);
        _host.Write(ChanCmd, 4, 1);
        _host.State.ShouldBe(IoatState.Suspended);

        _host.Run(_host.Put(_ring, Completion, 0, _destination, 0));
        _host.State.ShouldBe(IoatState.Halted);
        _host.Write(ChanCmd, 0x20, 1);
        _host.Write(ChainAddr, _ring, 8);
        _host.State.ShouldBe(IoatState.Halted);
        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Write(ChainAddr, _ring, 8);
        _host.State.ShouldBe(IoatState.Armed);
    }

    [Fact]
    public void Long_work_lets_the_driver_go_and_is_suspended_and_goes_on()
    {
        _host.Run(_host.Put(_ring, 0, _source, _destination, 65536, _ring), 65535);
        _host.Write(ChanCmd, 4, 1);
        DeviceHost.WaitFor(() => _host.State != IoatState.Active);
        long done = _host.Device.CompletedDescriptors;
        done.ShouldBeGreaterThan(0);
        if (done < 65535)
        {
            _host.State.ShouldBe(IoatState.Suspended);
            _host.Write(DmaCount, (ulong)done + 1, 2);
            DeviceHost.WaitFor(() => _host.State != IoatState.Active);
            _host.Device.CompletedDescriptors.ShouldBe(done + 1);
        }

        _host.Write(ChanCmd, 4, 1);
        _host.State.ShouldBe(IoatState.Suspended, "an idle channel too");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void After_a_reset_nothing_is_moved_any_more(bool ofFunction)
    {
        for (int i = 0; i < 20; i++)
        {
            _host.Run(_host.Put(_ring, Interrupt | Completion, _source, _destination, 65536, _ring), 65535);
            if (ofFunction)
            {
                _host.Backend.Reset().ShouldBe(Errno.Success);
            }
            else
            {
                _host.Write(ChanCmd, 0x20, 1);
                DeviceHost.WaitFor(() => _host.Read(ChanCmd, 1) == 0);
            }

            int late = 0;
            _host.Memory.OnAccess = (_, _) => Interlocked.Increment(ref late);
            _host.State.ShouldBe(IoatState.Halted);
            _ = Thread.Yield();
            _host.Read(ChanSts, 8).ShouldBe(3ul);
            late.ShouldBe(0);
            _host.Memory.OnAccess = null;
        }
    }

    [Fact]
    public void Nothing_that_a_driver_writes_throws_or_keeps_the_engine_from_a_reset()
    {
        uint[] places = [IntrCtrl, AttnStatus, ChanCtrl, ChanCmd, DmaCount, ChanSts, ChainAddr, ChanCmp, Cdar, ChanErr, ChanErrMask, 0, 0xb0];
        int steps = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1" ? 2_000_000 : 20_000;
        Random random = new(7);
        _host.Connect(VfioPciInterrupt.MsiX, 1);
        for (int i = 0; i < steps; i++)
        {
            ulong at = _ring + (64ul * (ulong)random.Next(64));
            ulong next = random.Next(8) == 0 ? (ulong)random.NextInt64() : _ring + (64ul * (ulong)random.Next(64));
            _ = _host.Put(at, random.Next(2) == 0 ? (uint)random.Next(64) : (uint)random.Next(), _source, _destination, (uint)random.Next(300), next);
            uint place = places[random.Next(places.Length)];
            int size = 1 << random.Next(4);
            ulong value = random.Next(4) switch { 0 => at, 1 => (ulong)random.NextInt64(), _ => (ulong)random.Next(64) };
            _host.Write((place + (uint)random.Next(8)) & ~(uint)(size - 1), value, size);
            _ = _host.Read((place + (uint)random.Next(8)) & ~(uint)(size - 1), size);
            if (random.Next(4) == 0)
            {
                _host.Write(ChanErr, uint.MaxValue, 4);
            }
        }

        _host.Write(ChanErr, uint.MaxValue, 4);
        _host.Write(ChanCmd, 0x20, 1);
        DeviceHost.WaitFor(() => _host.Read(ChanCmd, 1) == 0);
        _host.State.ShouldBe(IoatState.Halted);
        _host.Run(_host.Put(_ring, 0, _source, _destination, 8));
        DeviceHost.WaitFor(() => _host.State == IoatState.Idle);
    }

    [Fact]
    public void It_is_asked_for_by_a_line_of_text()
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.TryCreate("ioat,xfercap=20", out PciDevice? device, out _).ShouldBeNull();
        (device!.Description.VendorId, device.Description.DeviceId).ShouldBe(((ushort)0x8086, (ushort)0x2021));
        device.Dispose();
        kinds.TryCreate("ioat,xfercap=21", out _, out _).ShouldBe("xfercap=21: 12 to 20 are possible.");
        Should.Throw<ArgumentException>(static () => new IoatDevice(new() { TransferLog2 = 11 })).Message.ShouldContain("2^11");
    }
}
