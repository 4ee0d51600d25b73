using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Devices.Nvme;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>What a client learns of a function, and accesses to its regions.</summary>
public sealed class DeviceTests : ClientOfProbe
{
    [Fact]
    public void The_device_says_how_many_regions_and_interrupts_it_has()
    {
        Client.Call(VfioUserCommand.DeviceGetInfo, Words(16, 0, 0, 0), [], out byte[] reply).ShouldBe(Errno.Success);
        MemoryMarshal.Cast<byte, uint>(reply).ToArray().ShouldBe([16u, 3u, 9u, 5u]);
        Client.Call(VfioUserCommand.DeviceGetInfo, Words(15, 0, 0, 0), [], out _).ShouldBe(Errno.InvalidArgument);
        Client.Call(VfioUserCommand.DeviceGetInfo, Words(16, 0, 0), [], out _).ShouldBe(Errno.InvalidArgument);
    }

    [Theory]
    [InlineData(5, 256, 3)]
    [InlineData(6, 0, 0)]
    [InlineData(7, 4096, 3)]
    [InlineData(1, 0, 0)]
    public void A_region_that_cannot_be_mapped_has_a_size_and_flags(int index, ulong size, uint flags)
    {
        VfioRegionInfo info = RegionInfo(index, 4096, out _);
        (info.Size, (uint)info.Flags, info.Argsz, info.CapOffset).ShouldBe((size, flags, 32u, 0u));
        Client.LastDescriptor.ShouldBeNull();
    }

    [Fact]
    public void Memory_of_the_device_comes_with_its_file_and_is_the_same_both_ways()
    {
        Client.Enable();
        VfioRegionInfo info = RegionInfo(2, 4096, out _);
        info.Flags.ShouldBe(VfioRegionFlags.Read | VfioRegionFlags.Write | VfioRegionFlags.Mmap);
        SharedMemory.With(Client.LastDescriptor.ShouldNotBeNull(), (long)info.Offset, 65536, address =>
        {
            Marshal.WriteInt32(address + 0x100, 0x1234_5678);
            Client.Read(2, 0x100, 4).ShouldBe(0x1234_5678ul);
            Client.Write(2, 0x200, 8, 0x1122_3344_5566_7788);
            Marshal.ReadInt64(address + 0x200).ShouldBe(0x1122_3344_5566_7788);
        });
    }

    // PCI Express Base 5.0, sections 7.8.8 and 10.5: a driver that finds page requests stopped, and that responses carry PASIDs, turns them on.
    [Fact]
    public void The_client_turns_ATS_page_requests_and_PASIDs_on_itself()
    {
        using Served served = new(new NvmeController(new() { Ats = true, PageRequests = true, PasidBits = 20 }));
        using TestClient client = served.Connect();
        ulong ats = Capability(0x0f), requests = Capability(0x13), pasid = Capability(0x1b);
        (Control(ats + 6), Control(requests + 4), Control(requests + 6), Control(pasid + 6)).ShouldBe((0ul, 0ul, 0x8100ul, 0ul));

        client.Write(TestClient.Config, ats + 6, 2, 0x8001);
        client.Write(TestClient.Config, requests + 4, 2, 0xffff);
        client.Write(TestClient.Config, pasid + 6, 2, 1);
        client.Write(TestClient.Config, pasid + 4, 2, 0);
        (Control(ats + 6), Control(requests + 4), Control(requests + 6), Control(pasid + 6)).ShouldBe((0x8001ul, 1ul, 0x8000ul, 1ul));
        Control(pasid + 4).ShouldBe(0x1406ul);

        // The next client finds nothing of it.
        client.Dispose();
        using TestClient next = served.Connect();
        next.Read(TestClient.Config, requests + 4, 4).ShouldBe(0x8100_0000ul);

        ulong Control(ulong offset) => client.Read(TestClient.Config, offset, 2);

        ulong Capability(ushort id)
        {
            ulong at = 0x100;
            while ((client.Read(TestClient.Config, at, 4) & 0xffff) != id)
            {
                at = client.Read(TestClient.Config, at, 4) >> 20;
                at.ShouldNotBe(0ul);
            }

            return at;
        }
    }

    [Fact]
    public void Registers_are_not_mapped_unless_the_server_lets_doorbells_be()
    {
        RegionInfo(0, 4096, out _).Flags.ShouldBe(VfioRegionFlags.Read | VfioRegionFlags.Write);

        ProbeDevice device = new();
        using Served served = new(mapDoorbells: true, device);
        using TestClient client = served.Connect();
        client.Enable();
        VfioRegionInfo info = RegionInfo(client, 0, 4096, out byte[] reply);
        info.Flags.ShouldBe(VfioRegionFlags.Read | VfioRegionFlags.Write | VfioRegionFlags.Mmap | VfioRegionFlags.Caps);

        // One part: the doorbells. The registers behind them stay with messages.
        info.CapOffset.ShouldBe(32u);
        info.Argsz.ShouldBe(64u);
        MemoryMarshal.Cast<byte, ulong>(reply.AsSpan(40)).ToArray().ShouldBe([1ul, 4096ul, 4096ul]);
        SharedMemory.With(client.LastDescriptor.ShouldNotBeNull(), (long)info.Offset + 4096, 4096, address =>
        {
            Marshal.WriteInt32(address, 77);
            Served.Await(() =>
            {
                lock (device.Writes)
                {
                    return device.Writes.Contains((4096, 4, 77));
                }
            });
        });
    }

    [Fact]
    public void A_client_without_room_for_the_capabilities_learns_how_much_they_need()
    {
        using Served served = new(mapDoorbells: true, new ProbeDevice());
        using TestClient client = served.Connect();
        VfioRegionInfo info = RegionInfo(client, 0, 32, out byte[] reply);
        (info.Argsz, info.CapOffset, reply.Length).ShouldBe((64u, 32u, 32));
        info.Flags.HasFlag(VfioRegionFlags.Caps).ShouldBeTrue();
    }

    [Theory]
    [InlineData(9, 32)]
    [InlineData(-1, 32)]
    [InlineData(0, 31)]
    public void A_region_that_is_not_there_is_refused(int index, uint argsz) =>
        Client.Call(VfioUserCommand.DeviceGetRegionInfo, Words(argsz, 0, (uint)index, 0, 0, 0, 0, 0), [], out _).ShouldBe(Errno.InvalidArgument);

    [Theory]
    [InlineData(0, 1, 7)]
    [InlineData(1, 4, 9)]
    [InlineData(2, 8, 1)]
    [InlineData(3, 1, 9)]
    [InlineData(4, 1, 9)]
    public void Each_kind_of_interrupt_says_how_many_vectors_it_has(uint index, uint count, uint flags)
    {
        Client.Call(VfioUserCommand.DeviceGetIrqInfo, Words(16, 0, index, 0), [], out byte[] reply).ShouldBe(Errno.Success);
        MemoryMarshal.Cast<byte, uint>(reply).ToArray().ShouldBe([16u, flags, index, count]);
    }

    [Fact]
    public void No_register_is_written_by_a_counter_alone()
    {
        Client.Call(VfioUserCommand.DeviceGetRegionIoFds, Words(16, 0, 2, 0), [], out byte[] reply).ShouldBe(Errno.Success);
        MemoryMarshal.Cast<byte, uint>(reply).ToArray().ShouldBe([16u, 0u, 2u, 0u]);
        Client.Call(VfioUserCommand.DeviceGetRegionIoFds, Words(16, 0, 9, 0), [], out _).ShouldBe(Errno.InvalidArgument);
        Client.Call(VfioUserCommand.DeviceGetRegionIoFds, Words(16, 1, 2, 0), [], out _).ShouldBe(Errno.InvalidArgument);
        Client.Call(VfioUserCommand.DeviceGetRegionIoFds, Words(15, 0, 2, 0), [], out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Configuration_space_is_read_at_once_and_written_in_part()
    {
        Client.TryRead(TestClient.Config, 0, 256, out byte[] data).ShouldBe(Errno.Success);
        BitConverter.ToUInt32(data).ShouldBe(0x0001_1234u);
        Client.Write(TestClient.Config, 0x10, 4, 0xffff_ffff);
        Client.Read(TestClient.Config, 0x10, 4).ShouldBe(0xffff_c000ul);
        Client.TryRead(TestClient.Config, 4095, 2, out _).ShouldNotBe(Errno.Success);
    }

    [Fact]
    public void Accesses_arrive_with_their_sizes()
    {
        Client.Enable();
        Client.Write(0, 0x10, 8, 0x1122_3344_5566_7788);
        Client.Write(0, 0x20, 2, 0xabcd);
        Client.Read(0, 0x10, 8).ShouldBe(0x1122_3344_5566_7788ul);
        Client.Read(0, 0x12, 2).ShouldBe(0x5566ul);
        Device.Writes.ShouldBe([(0x10ul, 8, 0x1122_3344_5566_7788ul), (0x20ul, 2, 0xabcdul)]);
    }

    [Fact]
    public void Posted_writes_are_done_before_the_answer_to_what_comes_after_them()
    {
        Client.Enable();
        for (uint i = 1; i <= 200; i++)
        {
            Client.Post(0, 0x40, 4, i);
        }

        Client.Read(0, 0x40, 4).ShouldBe(200ul);
        Device.Writes.Count.ShouldBe(200);
    }

    [Fact]
    public void Several_writes_in_one_message_are_done_in_order_up_to_the_first_that_cannot_be()
    {
        Client.Enable();
        ulong[] words =
        [
            3,
            0x10, Pair(0, 4), 0xaaaa_aaaa,
            0x18, Pair(0, 8), 0xbbbb_bbbb_cccc_cccc,
            0x10, Pair(0, 1), 0xdd,
        ];
        Client.Call(VfioUserCommand.RegionWriteMulti, MemoryMarshal.AsBytes<ulong>(words), [], out byte[] reply).ShouldBe(Errno.Success);
        BitConverter.ToUInt64(reply).ShouldBe(3ul);
        Client.Read(0, 0x10, 4).ShouldBe(0xaaaa_aaddul);
        Client.Read(0, 0x18, 8).ShouldBe(0xbbbb_bbbb_cccc_ccccul);

        words[5] = Pair(8, 8);
        Client.Call(VfioUserCommand.RegionWriteMulti, MemoryMarshal.AsBytes<ulong>(words), [], out reply).ShouldBe(Errno.Success);
        BitConverter.ToUInt64(reply).ShouldBe(1ul);
        words[0] = 4;
        Client.Call(VfioUserCommand.RegionWriteMulti, MemoryMarshal.AsBytes<ulong>(words), [], out _).ShouldBe(Errno.InvalidArgument);
        words[0] = 1ul << 60;
        Client.Call(VfioUserCommand.RegionWriteMulti, MemoryMarshal.AsBytes<ulong>(words), [], out _).ShouldBe(Errno.InvalidArgument);
    }

    [Theory]
    [InlineData(9, 0ul, 4, Errno.InvalidArgument)]
    [InlineData(-1, 0ul, 4, Errno.InvalidArgument)]
    [InlineData(0, 16384ul, 4, Errno.InvalidArgument)]
    [InlineData(0, 16382ul, 4, Errno.InvalidArgument)]
    [InlineData(0, 1ul << 40, 4, Errno.InvalidArgument)]
    [InlineData(0, ulong.MaxValue, 4, Errno.InvalidArgument)]
    [InlineData(1, 0ul, 4, Errno.InvalidArgument)]
    [InlineData(0, 0ul, (1 << 20) + 1, Errno.ArgumentTooBig)]
    public void An_access_beyond_what_is_there_is_refused(int region, ulong offset, int count, Errno error)
    {
        Client.Enable();
        Client.TryRead(region, offset, count, out _).ShouldBe(error);
        if (count < 100)
        {
            Client.TryWrite(region, offset, new byte[count]).ShouldBe(error);
        }
    }

    [Fact]
    public void While_memory_space_is_off_no_register_answers() =>
        WhenDisabled().ShouldBe(Errno.IoError);

    [Fact]
    public void A_reset_is_one_of_the_device()
    {
        Client.Enable();
        Client.Write(0, 0x10, 4, 5);
        int before = Device.Resets;
        Client.Call(VfioUserCommand.DeviceReset, [], [], out _).ShouldBe(Errno.Success);
        Device.Resets.ShouldBe(before + 1);
        Client.Read(0, 0x10, 4).ShouldBe(0ul);
    }

    [Theory]
    [InlineData(0, Errno.NotImplemented)]
    [InlineData(11, Errno.InvalidArgument)]
    [InlineData(12, Errno.InvalidArgument)]
    [InlineData(17, Errno.NotSupported)]
    [InlineData(18, Errno.NotSupported)]
    [InlineData(19, Errno.NotImplemented)]
    [InlineData(0xffff, Errno.NotImplemented)]
    public void A_command_that_is_not_the_clients_to_give_is_refused(ushort command, Errno error) =>
        Client.Call((VfioUserCommand)command, new byte[16], [], out _).ShouldBe(error);

    [Fact]
    public void No_device_migrates()
    {
        const uint Migration = 1;
        const uint Get = 1 << 16;
        const uint Probe = 1 << 18;
        Client.Call(VfioUserCommand.DeviceFeature, Words(16, Migration | Get, 0, 0), [], out _).ShouldBe(Errno.NotTypewriter);
        Client.Call(VfioUserCommand.DeviceFeature, Words(8, Migration | Get | Probe), [], out _).ShouldBe(Errno.NotTypewriter);
        Client.Call(VfioUserCommand.DeviceFeature, Words(8, 2 | Probe), [], out _).ShouldBe(Errno.NotTypewriter);
        Client.Call(VfioUserCommand.DeviceFeature, Words(8), [], out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void What_is_refused_is_logged_with_its_reason_but_not_without_end()
    {
        for (int i = 0; i < 300; i++)
        {
            Client.TryRead(9, 0, 4, out _);
        }

        Served.Log.Lines.Count(static line => line.Contains("RegionRead of 32 bytes is refused: InvalidArgument", StringComparison.Ordinal)).ShouldBe(100);
        Served.Log.Lines.Count(static line => line.Contains("not logged", StringComparison.Ordinal)).ShouldBe(1);
    }

    private static byte[] Words(params ReadOnlySpan<uint> words) => MemoryMarshal.AsBytes(words).ToArray();

    private static ulong Pair(uint region, uint count) => region | ((ulong)count << 32);

    private Errno WhenDisabled()
    {
        Client.Write(TestClient.Config, 4, 2, 0);
        return Client.TryRead(0, 0, 4, out _);
    }

    private VfioRegionInfo RegionInfo(int index, uint argsz, out byte[] reply) => RegionInfo(Client, index, argsz, out reply);

    private static VfioRegionInfo RegionInfo(TestClient client, int index, uint argsz, out byte[] reply)
    {
        client.Call(VfioUserCommand.DeviceGetRegionInfo, Words(argsz, 0, (uint)index, 0, 0, 0, 0, 0), [], out reply).ShouldBe(Errno.Success);
        return MemoryMarshal.Read<VfioRegionInfo>(reply);
    }
}
