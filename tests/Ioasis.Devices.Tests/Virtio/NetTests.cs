using System.Buffers.Binary;
using Ioasis.Devices.Network;
using Ioasis.Devices.Virtio;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Virtio 1.3, section 5.1: frames between two network devices with a cable between them, and what drivers can ask for.</summary>
public sealed class NetTests
{
    private const ulong Filters = NetDriver.Control | NetDriver.ControlReceive | NetDriver.ControlExtra | NetDriver.ControlVlan | NetDriver.ControlMac;
    private const ulong Own = 0x5254_0000_0002;
    private const ulong Other = 0x5254_0000_0003;
    private const ulong Group = 0x0100_5e00_0001;

    public static TheoryData<bool> Layouts { get; } = [false, true];

    public static MatrixTheoryData<bool, bool, bool> Forms { get; } = new([false, true], [false, true], [false, true]);

    [Theory]
    [MemberData(nameof(Forms))]
    public void Frames_arrive_whole_and_in_order_both_ways(bool packed, bool indirect, bool merge)
    {
        ulong features = (merge ? NetDriver.Merge : 0) | (indirect ? (ulong)VirtioFeatures.IndirectDescriptors : 0);
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, features, packed);
        using NetDriver second = new(two, features | (ulong)VirtioFeatures.EventIndex, packed);
        for (int round = 0; round < 40; round++)
        {
            foreach ((NetDriver from, NetDriver to) in new[] { (first, second), (second, first) })
            {
                to.Post(2, indirect: indirect);
                byte[][] sent = [NetDriver.Frame(NetDriver.Broadcast, 60 + round, (byte)round), NetDriver.Frame(NetDriver.Broadcast, 1514, (byte)(round + 100))];
                foreach (byte[] frame in sent)
                {
                    from.Send(frame, indirect: indirect);
                }

                List<(byte[] Header, byte[] Frame)> came = to.Take();
                came.Select(static item => item.Frame).ShouldBe(sent);
                came.ShouldAllBe(static item => item.Header.SequenceEqual(new byte[] { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0 }));
            }
        }

        one.Counts.ShouldBe(new(80, 80, 0, 0, 0));
        two.Counts.ShouldBe(new(80, 80, 0, 0, 0));
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_frame_is_spread_over_small_buffers_once_there_are_enough(bool packed)
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, packed: packed);
        using NetDriver second = new(two, NetDriver.Merge | (ulong)VirtioFeatures.EventIndex, packed);
        for (byte round = 0; round < 10; round++)
        {
            byte[] frame = NetDriver.Frame(NetDriver.Broadcast, 1500, round);
            second.Post(5, 256);
            first.Send(frame);
            second.Take().ShouldBeEmpty("1512 bytes do not fit into five buffers of 256");
            second.Post(2, 256);
            (byte[] header, byte[] came) = second.Take().ShouldHaveSingleItem();
            came.ShouldBe(frame);
            BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(10)).ShouldBe((ushort)6);
            first.Send(NetDriver.Frame(NetDriver.Broadcast, 200, round));
            _ = second.Take().ShouldHaveSingleItem();
        }

        two.Counts.Received.ShouldBe(20);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void The_driver_sees_no_buffer_of_a_spread_frame_before_all_are_there(bool packed)
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, packed: packed);
        using NetDriver second = new(two, NetDriver.Merge, packed);
        second.Post(6, 256);
        int looks = 0;
        int seen = 0;
        second.Host.Memory.OnAccess = (_, _) =>
        {
            looks++;
            seen += second.Receiver.Peek() > 0 ? 1 : 0;
        };
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 1500));
        second.Host.Memory.OnAccess = null;
        looks.ShouldBeGreaterThan(12);

        // Whether an interrupt is wanted is looked at when all is done.
        seen.ShouldBeLessThanOrEqualTo(1);
        _ = second.Take().ShouldHaveSingleItem();
    }

    [Fact]
    public void A_frame_that_no_buffers_can_hold_is_lost_and_the_buffers_stay()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two);
        second.Post(1, 256);
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 245));
        second.Take().ShouldBeEmpty();
        two.Counts.NotReceived.ShouldBe(1);
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 244));
        second.Take().ShouldHaveSingleItem().Frame.Length.ShouldBe(244);

        (VirtioNet three, VirtioNet four) = NetDriver.MakePair();
        using NetDriver third = new(three);
        using NetDriver fourth = new(four, NetDriver.Merge);
        fourth.Post(16, 64);
        third.Send(NetDriver.Frame(NetDriver.Broadcast, 1500));
        fourth.Take().ShouldBeEmpty();
        four.Counts.NotReceived.ShouldBe(1);
        third.Send(NetDriver.Frame(NetDriver.Broadcast, 64));
        fourth.Take().ShouldHaveSingleItem().Frame.Length.ShouldBe(64);
    }

    [Theory]
    [InlineData(33, 6)]
    [InlineData(34, 7)]
    [InlineData(1486, 16)]
    public void A_checksum_is_completed_and_the_receiver_hears_of_it(int payload, int offset)
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, NetDriver.Checksum);
        using NetDriver second = new(two, NetDriver.GuestChecksum);
        byte[] frame = NetDriver.Frame(NetDriver.Broadcast, 28 + payload, 0x39);
        new Random(payload).NextBytes(frame.AsSpan(28));
        byte[] header = new byte[NetDriver.HeaderSize];
        header[0] = 1;
        header[6] = 28;
        header[8] = (byte)offset;
        second.Post(1);
        first.Send(frame, header: header);
        (byte[] told, byte[] came) = second.Take().ShouldHaveSingleItem();
        told[0].ShouldBe((byte)2);

        // RFC 1071: with the field as it was the words' sum is the complement of what the device put there; the field may lie across words.
        int sum = 0;
        for (int i = 28; i < frame.Length; i++)
        {
            sum += frame[i] << ((i - 28) % 2 == 0 ? 8 : 0);
        }

        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        BinaryPrimitives.ReadUInt16BigEndian(came.AsSpan(28 + offset)).ShouldBe(sum == 0xffff ? (ushort)0xffff : (ushort)~sum);
        frame.AsSpan(28 + offset, 2).Clear();
        came.AsSpan(28 + offset, 2).Clear();
        came.ShouldBe(frame);
    }

    [Fact]
    public void Without_agreement_no_checksum_is_computed_and_none_is_vouched_for()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two, NetDriver.GuestChecksum);
        second.Post(2);
        byte[] header = new byte[NetDriver.HeaderSize];
        header[0] = 1;
        first.Send(NetDriver.Frame(NetDriver.Broadcast), header: header);
        header[0] = 0;
        header[1] = 1;
        first.Send(NetDriver.Frame(NetDriver.Broadcast), header: header);
        second.Take().ShouldBeEmpty();
        one.Counts.NotSent.ShouldBe(2);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        second.Take().ShouldHaveSingleItem().Header[0].ShouldBe((byte)0);
    }

    [Fact]
    public void A_checksum_outside_of_its_frame_loses_the_frame()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, NetDriver.Checksum);
        using NetDriver second = new(two);
        second.Post(2);
        byte[] header = [1, 0, 0, 0, 0, 0, 40, 0, 23, 0, 0, 0];
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 64), header: header);
        second.Take().ShouldBeEmpty();
        header[8] = 22;
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 64), header: header);
        _ = second.Take().ShouldHaveSingleItem();
        header.AsSpan(6, 4).Fill(0xff);
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 64), header: header);
        second.Take().ShouldBeEmpty();
    }

    [Fact]
    public void Filters_let_through_what_the_driver_says()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two, Filters);
        second.Post(16);
        Arrives(Own).ShouldBeTrue();
        Arrives(NetDriver.Broadcast).ShouldBeTrue();
        Arrives(Other).ShouldBeFalse();
        Arrives(Group).ShouldBeFalse();

        second.Command(0, 1, 1).ShouldBe((byte)0);
        Arrives(Group).ShouldBeTrue();
        second.Command(0, 3, 1).ShouldBe((byte)0);
        Arrives(Group).ShouldBeFalse();
        second.Command(0, 5, 1).ShouldBe((byte)0);
        Arrives(NetDriver.Broadcast).ShouldBeFalse();
        second.Command(0, 2, 1).ShouldBe((byte)0);
        Arrives(Other).ShouldBeTrue();
        second.Command(0, 4, 1).ShouldBe((byte)0);
        Arrives(Own).ShouldBeFalse();
        second.Command(0, 0, 1).ShouldBe((byte)0);
        Arrives(Group).ShouldBeTrue();
        foreach (byte mode in (byte[])[0, 1, 2, 3, 4, 5])
        {
            second.Command(0, mode, 0).ShouldBe((byte)0);
        }

        second.Command(1, 0, [1, 0, 0, 0, .. Bytes(Other), 1, 0, 0, 0, .. Bytes(Group)]).ShouldBe((byte)0);
        Arrives(Other).ShouldBeTrue();
        Arrives(Group).ShouldBeTrue();
        second.Command(1, 0, [0, 0, 0, 0, 0, 0, 0, 0]).ShouldBe((byte)0);
        Arrives(Other).ShouldBeFalse();

        second.Command(1, 1, Bytes(Other)).ShouldBe((byte)0);
        Arrives(Other).ShouldBeTrue();
        Arrives(Own).ShouldBeFalse();
        second.Host.Read(VirtioRegisters.DeviceConfiguration, 4).ShouldBe(0x0000_5452u);
        second.Host.Read(VirtioRegisters.DeviceConfiguration + 4, 2).ShouldBe(0x0300u);
        two.Counts.Filtered.ShouldBe(7);

        // A reset brings the address and the filters back.
        second.Host.Write(VirtioRegisters.Status, 0, 1);
        second.Host.Read(VirtioRegisters.DeviceConfiguration + 4, 2).ShouldBe(0x0200u);

        bool Arrives(ulong destination)
        {
            first.Send(NetDriver.Frame(destination));
            return second.Take().Count == 1;
        }
    }

    [Fact]
    public void Frames_of_VLANs_pass_that_the_driver_added()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two, Filters);
        second.Post(8);
        Arrives(5).ShouldBeFalse();
        second.Command(2, 0, 5, 0).ShouldBe((byte)0);
        Arrives(5).ShouldBeTrue();
        Arrives(6).ShouldBeFalse();
        second.Command(2, 1, 5, 0).ShouldBe((byte)0);
        Arrives(5).ShouldBeFalse();
        second.Command(2, 0, 0, 16).ShouldBe((byte)1, "4096 is no VLAN");

        bool Arrives(byte id)
        {
            byte[] frame = NetDriver.Frame(Own, 64, 0, 0x8100);
            (frame[14], frame[15]) = (0xe0, id);
            first.Send(frame);
            return second.Take().Count == 1;
        }
    }

    [Fact]
    public void Commands_that_are_wrong_are_answered_with_an_error_and_change_nothing()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two, Filters);
        second.Command(0, 6, 1).ShouldBe((byte)1);
        second.Command(0, 0).ShouldBe((byte)1);
        second.Command(0, 0, 1, 1).ShouldBe((byte)1);
        second.Command(1, 0, 1, 0, 0).ShouldBe((byte)1);
        second.Command(1, 0, [1, 0, 0, 0, .. Bytes(Other), 2, 0, 0, 0, .. Bytes(Group)]).ShouldBe((byte)1);
        second.Command(1, 0, [0xff, 0xff, 0xff, 0xff, .. Bytes(Other), 0, 0, 0, 0]).ShouldBe((byte)1);
        second.Command(1, 0, [0, 0, 0, 0, 0, 0, 0, 0, 0]).ShouldBe((byte)1);
        second.Command(1, 1, 1, 2, 3, 4, 5).ShouldBe((byte)1);
        second.Command(1, 2, 1).ShouldBe((byte)1);
        second.Command(2, 2, 1, 0).ShouldBe((byte)1);
        second.Command(2, 0, 1).ShouldBe((byte)1);
        second.Command(3, 0).ShouldBe((byte)1);
        second.Command(4, 0, 1, 0).ShouldBe((byte)1, "several queues were not agreed on");
        second.Command(99, 0, 1).ShouldBe((byte)1);
        second.Post(2);
        first.Send(NetDriver.Frame(Other));
        second.Take().ShouldBeEmpty();
        first.Send(NetDriver.Frame(Own));
        _ = second.Take().ShouldHaveSingleItem();
        second.Host.Status.ShouldBe((VirtioStatus)15);
    }

    [Fact]
    public void Flows_are_spread_over_the_queues_that_the_driver_uses_and_each_keeps_to_one()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair(new() { QueuePairs = 4 });
        using NetDriver first = new(one);
        using NetDriver second = new(two, Filters | NetDriver.MultiQueue, pairs: 4);
        second.Host.Read(VirtioRegisters.DeviceConfiguration + 8, 2).ShouldBe(4u);
        for (int queue = 0; queue < 4; queue++)
        {
            second.Post(16, queue: queue);
        }

        int[] counts = Count(8);
        counts.ShouldBe([8, 0, 0, 0]);
        second.Command(4, 0, 0, 0).ShouldBe((byte)1);
        second.Command(4, 0, 5, 0).ShouldBe((byte)1);
        second.Command(4, 0, 4, 0).ShouldBe((byte)0);
        counts = Count(16);
        counts.Sum().ShouldBe(16);
        counts.Count(static count => count > 0).ShouldBeGreaterThan(1);

        // A flow again and again: one queue.
        int[] same = new int[4];
        for (int i = 0; i < 4; i++)
        {
            first.Send(Flow(7));
            for (int queue = 0; queue < 4; queue++)
            {
                same[queue] += second.Take(queue).Count;
            }
        }

        same.ShouldContain(4);

        // The driver sends by any of them.
        first.Post(4);
        for (int queue = 0; queue < 4; queue++)
        {
            second.Send(NetDriver.Frame(NetDriver.Broadcast, fill: (byte)queue), queue);
        }

        first.Take().Count.ShouldBe(4);

        int[] Count(int flows)
        {
            int[] found = new int[4];
            for (int i = 0; i < flows; i++)
            {
                first.Send(Flow(i));
                for (int queue = 0; queue < 4; queue++)
                {
                    int came = second.Take(queue).Count;
                    found[queue] += came;
                    if (came > 0)
                    {
                        second.Post(came, queue: queue);
                    }
                }
            }

            return found;
        }
    }

    [Fact]
    public void The_link_is_up_while_both_ends_are_there()
    {
        VirtioNet alone = new();
        using (NetDriver driver = new(alone, NetDriver.Status))
        {
            driver.Host.Read(VirtioRegisters.DeviceConfiguration + 6, 2).ShouldBe(0u);
            driver.Send(NetDriver.Frame(NetDriver.Broadcast));
            alone.Counts.NotSent.ShouldBe(1);
        }

        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, NetDriver.Status);
        first.Host.Connect(VfioPciInterrupt.MsiX, 1);
        first.Host.Write(VirtioRegisters.ConfigurationVector, 0, 2);
        ulong generation = first.Host.Read(VirtioRegisters.Generation, 1);
        first.Host.Read(VirtioRegisters.DeviceConfiguration + 6, 2).ShouldBe(1u);
        two.Dispose();
        first.Host.Read(VirtioRegisters.DeviceConfiguration + 6, 2).ShouldBe(0u);
        first.Host.Read(VirtioRegisters.Generation, 1).ShouldNotBe(generation);
        first.Host.TakeSignals(0).ShouldBe(1);

        // Another takes the place.
        using VirtioNet three = new();
        three.Join(one).ShouldBeNull();
        first.Host.Read(VirtioRegisters.DeviceConfiguration + 6, 2).ShouldBe(1u);
    }

    [Fact]
    public void Packets_beyond_the_MTU_do_not_go_out()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair(new() { Mtu = 1400 });
        using NetDriver first = new(one, NetDriver.Mtu);
        using NetDriver second = new(two);
        first.Host.Read(VirtioRegisters.DeviceConfiguration + 10, 2).ShouldBe(1400u);
        second.Post(2);
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 1419));
        second.Take().ShouldBeEmpty();
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 1418));
        _ = second.Take().ShouldHaveSingleItem();
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Data_that_cannot_be_reached_loses_its_frame_alone(bool packed)
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one, packed: packed);
        using NetDriver second = new(two, NetDriver.Merge, packed);
        ulong gone = second.Host.Memory.Allocate(2048);
        second.Host.Memory.SetMapped(gone, 2048, false);
        second.Post(gone, 2048);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));

        // The buffer comes back empty.
        second.Receiver.Take().ShouldHaveSingleItem().Length.ShouldBe(0u);
        second.Post(1);
        first.Host.Memory.SetMapped(first.SendAt + 4096, 4096, false);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        second.Take().ShouldBeEmpty();
        first.Host.Memory.SetMapped(first.SendAt + 4096, 4096, true);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        _ = second.Take().ShouldHaveSingleItem();
        one.Counts.NotSent.ShouldBe(1);
        two.Counts.NotReceived.ShouldBe(1);
    }

    [Fact]
    public void What_waits_for_buffers_is_bounded_and_a_reset_forgets_it()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        using NetDriver second = new(two);
        for (int i = 0; i < 1100; i++)
        {
            first.Send(NetDriver.Frame(NetDriver.Broadcast, 60 + (i % 100)));
        }

        one.Counts.Sent.ShouldBe(1024);
        one.Counts.NotSent.ShouldBe(76);
        second.Post(16);
        second.Take().Select(static item => item.Frame.Length).ShouldBe(Enumerable.Range(60, 16));
        second.Host.Backend.Reset().ShouldBe(Errno.Success);
        using NetDriver again = new(two);
        again.Post(1);
        again.Take().ShouldBeEmpty();
        first.Send(NetDriver.Frame(NetDriver.Broadcast, 99));
        again.Take().ShouldHaveSingleItem().Frame.Length.ShouldBe(99);
    }

    [Fact]
    public void A_frame_for_a_device_without_driver_is_lost()
    {
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair();
        using NetDriver first = new(one);
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        one.Counts.Sent.ShouldBe(1);
        two.Counts.NotReceived.ShouldBe(1);
        two.Dispose();
    }

    [Theory]
    [InlineData("virtio-net,mac=52:54:00:12:34", "six pairs")]
    [InlineData("virtio-net,mac=53:54:00:12:34:56", "no multicast")]
    [InlineData("virtio-net,mtu=67", "mtu=67")]
    [InlineData("virtio-net,queues=0", "queues=0")]
    [InlineData("virtio-net,queues=2,control=off", "control queue")]
    [InlineData("virtio-net,entries=7", "power of two")]
    [InlineData("virtio-net,colour=red", "has no key \"colour\"")]
    public void A_text_that_cannot_be_is_refused_with_its_reason(string text, string words)
    {
        DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldNotBeNull().ShouldContain(words);
        device.ShouldBeNull();
    }

    [Fact]
    public void A_text_says_all_of_it()
    {
        DeviceKinds.CreateDefault().TryCreate("virtio-net,mac=52:54:00:12:34:56,mtu=9000,queues=3,checksums=off,mergeable=off,packed=off", out PciDevice? device, out _).ShouldBeNull();
        using VirtioNet net = device.ShouldBeOfType<VirtioNet>();
        net.MacAddress.ShouldBe(0x5254_0012_3456ul);
        using VirtioHost host = new(net);
        host.Read(VirtioRegisters.QueueCount, 2).ShouldBe(7u);
        ulong offered = host.Offered();
        (offered & (NetDriver.Checksum | NetDriver.GuestChecksum | NetDriver.Merge | (ulong)VirtioFeatures.PackedRing)).ShouldBe(0ul);
        (offered & (NetDriver.Mtu | NetDriver.MultiQueue | Filters)).ShouldBe(NetDriver.Mtu | NetDriver.MultiQueue | Filters);
        net.Description.DeviceId.ShouldBe((ushort)0x1041);

        // What is told by the control queue needs it.
        host.Negotiate(VirtioHost.Wanted | NetDriver.ControlReceive).ShouldBeFalse();
    }

    [Fact]
    public void Peers_are_found_by_name_and_by_address_and_what_cannot_be_is_said()
    {
        using VirtioNet a = new(new() { PeerName = "b" });
        using VirtioNet b = new(new() { PeerName = "00:01.0" });
        using VirtioNet c = new(new() { PeerName = "b" });
        using VirtioNet d = new(new() { PeerName = "nobody" });
        using VirtioNet e = new(new() { PeerName = "e" });
        using VirtioNet f = new(new() { PeerName = "disk" });
        using VirtioBlock disk = new(new() { Size = 1 << 20 });
        NamedDevice[] all = [Named(1, "a", a), Named(2, "b", b), Named(3, "disk", disk)];
        DevicePeers.Join(all).ShouldBeNull();
        (a.IsLinkUp && b.IsLinkUp).ShouldBeTrue();
        DevicePeers.Join([.. all, Named(4, "c", c)]).ShouldNotBeNull().ShouldContain("peer=b: that device has a cable already");
        DevicePeers.Join([.. all, Named(4, "d", d)]).ShouldNotBeNull().ShouldContain("peer=nobody");
        DevicePeers.Join([.. all, Named(4, "e", e)]).ShouldNotBeNull().ShouldContain("itself");
        DevicePeers.Join([.. all, Named(4, "f", f)]).ShouldNotBeNull().ShouldContain("no network");

        static NamedDevice Named(int slot, string name, PciDevice device) => new(DeviceId.FromPci(0, 0, slot, 0), name, device);
    }

    private static byte[] Bytes(ulong address) => [.. Enumerable.Range(0, 6).Select(i => (byte)(address >> (40 - (8 * i))))];

    // UDP over IPv4 between ports.
    private static byte[] Flow(int number)
    {
        byte[] frame = NetDriver.Frame(Own, 64, 0, 0x0800);
        frame[14] = 0x45;
        frame[23] = 17;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(34), (ushort)(1000 + number));
        return frame;
    }
}
