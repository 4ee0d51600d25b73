using System.Buffers.Binary;
using Ioasis.Devices.Virtio;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Mistakes of a driver: the device says "needs reset", tells the driver, and a reset leads on (virtio 1.3, section 2.1.2).</summary>
public sealed class MistakeTests
{
    public static TheoryData<bool> Layouts { get; } = [false, true];

    private static void Breaks(bool packed, Action<VirtioHost, DriverRing, BlockDriver> mistake, string words, ulong features = (ulong)VirtioFeatures.IndirectDescriptors)
    {
        using VirtioHost host = new(new VirtioBlock(new() { Size = 1 << 20 }));
        host.Connect(VfioPciInterrupt.MsiX, 2);
        DriverRing ring = host.Bring(features, packed, vector: 1);
        host.Write(VirtioRegisters.ConfigurationVector, 0, 2);
        BlockDriver driver = new(host, ring);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        mistake(host, ring, driver);
        ring.Kick();
        host.Status.ShouldBe((VirtioStatus)0x4f);
        host.Device.DriverMistake.ShouldNotBeNull().ShouldContain(words);
        host.TakeSignals(0).ShouldBe(1);

        // Nothing more is done, until a reset.
        ring.Kick();
        host.TakeSignals(0).ShouldBe(0);
        new BlockDriver(host, host.Bring(features, packed)).Execute(4).ShouldBe(BlockDriver.Ok);
        host.Device.DriverMistake.ShouldBeNull();
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_piece_to_read_after_one_to_write(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.End, driver.Header(4)), "follows one to write");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void An_empty_piece_to_read_after_an_empty_one_to_write(bool packed) =>
        Breaks(packed, static (_, ring, _) => ring.Put(false, new Piece(0, 0, true), new Piece(0, 0)), "follows one to write");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_header_that_is_too_short(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.Header(4) with { Length = 15 }, driver.End), "15 bytes to read");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void No_room_for_the_status(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.Header(4)), "0 to write");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_status_that_cannot_be_written(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.Header(4), new Piece(1ul << 50, 1, true)), "status");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_piece_beyond_the_last_address(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.Header(4), new Piece(ulong.MaxValue - 2, 16, true)), "beyond");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void More_bytes_than_a_buffer_can_have(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(false, driver.Header(4), new Piece(0, uint.MaxValue, true), new Piece(0, uint.MaxValue, true)), "2^32");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void An_indirect_descriptor_without_the_feature(bool packed) =>
        Breaks(packed, static (_, ring, driver) => ring.Put(true, driver.Header(4), driver.End), "without the feature", 0);

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_table_that_cannot_be_read(bool packed) =>
        Breaks(packed, static (host, ring, driver) =>
        {
            Overwrite(host, ring, ring.Put(true, driver.Header(4), driver.End), static entry => BinaryPrimitives.WriteUInt64LittleEndian(entry, 1ul << 50));
        }, "cannot be read");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_table_of_half_an_entry(bool packed) =>
        Breaks(packed, static (host, ring, driver) =>
        {
            Overwrite(host, ring, ring.Put(true, driver.Header(4), driver.End), static entry => BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], 24));
        }, "24 bytes");

    [Fact]
    public void An_available_index_that_ran_ahead() =>
        Breaks(false, static (_, ring, _) => ring.SetAvailableIndex(18), "available index");

    [Fact]
    public void A_head_that_is_no_descriptor() =>
        Breaks(false, static (host, ring, driver) =>
        {
            _ = ring.Put(false, driver.Header(4), driver.End);
            BinaryPrimitives.WriteUInt16LittleEndian(host.Memory[ring.Driver + 4 + 2, 2], 16);
        }, "descriptor 16");

    [Fact]
    public void A_chain_that_leads_to_itself() =>
        Breaks(false, static (host, ring, driver) =>
        {
            uint id = ring.Put(false, driver.Header(4), driver.End);
            ring.WriteDescriptor(ring.Descriptors + (16 * id), driver.Header(4), 1, (ushort)id);
        }, "loop");

    [Fact]
    public void A_table_within_a_table() =>
        Breaks(false, static (host, ring, driver) =>
        {
            uint id = ring.Put(true, driver.Header(4), driver.End);
            ulong table = BinaryPrimitives.ReadUInt64LittleEndian(host.Memory[ring.Descriptors + (16 * id), 8]);
            ring.WriteDescriptor(table, new Piece(table, 32), 4, 0);
        }, "in a table");

    [Fact]
    public void A_chain_longer_than_its_packed_ring() =>
        Breaks(true, static (host, ring, driver) =>
        {
            for (uint i = 0; i < 16; i++)
            {
                // All that remains of this lap, and of the next.
                ring.WriteDescriptor(ring.Descriptors + (16 * i), driver.Header(4), 0, (ushort)(1 | (i < 2 ? 0x8000 : 0x80)));
            }
        }, "longer than its queue");

    [Theory]
    [InlineData(0, 0, "16 entries", true)]
    [InlineData(3, 0, "not aligned", false)]
    [InlineData(0, 3, "entries", false)]
    [InlineData(0, 512, "entries", false)]
    public void A_queue_that_cannot_be_enabled(int shift, int size, string words, bool works)
    {
        using VirtioHost host = new(new VirtioBlock(new() { Size = 1 << 20 }));
        host.Negotiate(VirtioHost.Wanted).ShouldBeTrue();
        host.Write(VirtioRegisters.QueueSize, (ulong)(size == 0 ? 16 : size), 2);
        host.Write(VirtioRegisters.QueueDescriptors, 0x1_0000 + (ulong)shift, 8);
        host.Write(VirtioRegisters.QueueDriver, 0x1_1000, 8);
        host.Write(VirtioRegisters.QueueDevice, 0x1_2000, 8);
        host.Write(VirtioRegisters.QueueEnable, 1, 2);
        host.Status.HasFlag(VirtioStatus.NeedsReset).ShouldBe(!works);
        if (!works)
        {
            host.Device.DriverMistake.ShouldNotBeNull().ShouldContain(words);
        }
    }

    [Fact]
    public void A_driver_that_is_ready_or_enables_a_queue_before_the_features_are_agreed()
    {
        using VirtioHost host = new(new VirtioBlock(new() { Size = 1 << 20 }));
        host.Write(VirtioRegisters.QueueEnable, 1, 2);
        host.Status.ShouldBe(VirtioStatus.NeedsReset);
        host.Write(VirtioRegisters.Status, 0, 1);
        host.Write(VirtioRegisters.Status, 7, 1);
        host.Status.ShouldBe((VirtioStatus)0x47);
    }

    [Fact]
    public void A_ring_that_is_not_there()
    {
        using VirtioHost host = new(new VirtioBlock(new() { Size = 1 << 20 }));
        DriverRing ring = host.Bring();
        host.Memory.SetMapped(ring.Driver, 4096, false);
        ring.Kick();
        host.Status.ShouldBe((VirtioStatus)0x4f);
    }

    // The descriptor of the ring itself, wherever its number lies.
    private static void Overwrite(VirtioHost host, DriverRing ring, uint id, WriteEntry write)
    {
        for (uint i = 0; i < ring.Size; i++)
        {
            Span<byte> entry = host.Memory[ring.Descriptors + (16 * i), 16];
            bool isIndirect = ((BinaryPrimitives.ReadUInt16LittleEndian(entry[12..]) == 4 && i == id) || (BinaryPrimitives.ReadUInt16LittleEndian(entry[14..]) & 4) != 0)
                && BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]) == 32;
            if (isIndirect)
            {
                write(entry);
            }
        }
    }

    private delegate void WriteEntry(Span<byte> entry);

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Network_queues_with_too_little_room(bool packed)
    {
        BreaksNet(packed, static driver => driver.Transmitter.Submit(new Piece(driver.SendAt, 11)), "11 bytes of header");
        BreaksNet(packed, static driver => driver.Controller.Submit(new Piece(driver.SendAt, 1), new Piece(driver.SendAt + 8, 1, true)), "1 bytes to read");
        BreaksNet(packed, static driver => driver.Controller.Submit(new Piece(driver.SendAt, 3)), "0 to write");
        BreaksNet(packed, static driver => driver.Controller.Submit(new Piece(driver.SendAt, 3), new Piece(1ul << 50, 1, true)), "answer");
        BreaksNet(packed, static driver => driver.Post(1, 11), "11 bytes", withFrame: true);
    }

    private static void BreaksNet(bool packed, Action<NetDriver> mistake, string words, bool withFrame = false)
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two, NetDriver.Control, packed);
        if (withFrame)
        {
            first.Send(NetDriver.Frame(NetDriver.Broadcast));
        }

        mistake(second);
        second.Host.Status.ShouldBe((VirtioStatus)0x4f);
        two.DriverMistake.ShouldNotBeNull().ShouldContain(words);
        using NetDriver again = new(two);
        again.Post(1);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        _ = again.Take().ShouldHaveSingleItem();
    }
}
