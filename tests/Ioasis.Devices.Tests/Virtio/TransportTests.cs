using System.Buffers.Binary;
using Ioasis.Devices.Virtio;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Virtio 1.3, section 4.1 and chapters 2 and 3: discovery, negotiation, queues, interrupts, resets.</summary>
public sealed class TransportTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    private static VirtioHost Make(VirtioBlockOptions? options = null) => new(new VirtioBlock(options ?? new() { Size = 1 << 20, Queues = 2 }));

    // The capabilities by their kind: where each is, and its place in base address register 0.
    private static Dictionary<uint, (int At, uint Offset, uint Length)> FindCapabilities(VirtioHost host)
    {
        Dictionary<uint, (int, uint, uint)> found = [];
        for (int at = (int)host.ReadConfig(0x34, 1); at != 0; at = (int)host.ReadConfig(at + 1, 1))
        {
            if (host.ReadConfig(at, 1) == 9)
            {
                host.ReadConfig(at + 4, 1).ShouldBe(0u);
                found.Add(host.ReadConfig(at + 3, 1), (at, host.ReadConfig(at + 8, 4), host.ReadConfig(at + 12, 4)));
            }
        }

        return found;
    }

    [Fact]
    public void The_device_is_found_by_its_numbers_and_capabilities()
    {
        using VirtioHost host = Make();
        host.ReadConfig(0, 4).ShouldBe(0x1042_1af4u);
        host.ReadConfig(8, 1).ShouldBeGreaterThanOrEqualTo(1u);
        Dictionary<uint, (int At, uint Offset, uint Length)> all = FindCapabilities(host);
        all.Keys.Order().ToArray().ShouldBe([1u, 2, 3, 4, 5]);
        (all[1].Offset, all[1].Length).ShouldBe((VirtioRegisters.Common, 64u));
        (all[2].Offset, all[2].Length).ShouldBe((VirtioRegisters.Notify, 8u));
        host.ReadConfig(all[2].At + 16, 4).ShouldBe(4u);
        host.ReadConfig(all[2].At + 2, 1).ShouldBe(20u);
        (all[3].Offset, all[3].Length).ShouldBe((VirtioRegisters.InterruptStatus, 1u));
        all[4].Offset.ShouldBe(VirtioRegisters.DeviceConfiguration);
    }

    [Fact]
    public void Registers_are_reached_through_configuration_space()
    {
        using VirtioHost host = Make();
        int at = FindCapabilities(host)[5].At;
        host.WriteConfig(at + 8, VirtioRegisters.QueueCount, 4);
        host.WriteConfig(at + 12, 2, 4);
        host.ReadConfig(at + 16, 2).ShouldBe(2u);
        host.WriteConfig(at + 8, VirtioRegisters.Status, 4);
        host.WriteConfig(at + 12, 1, 4);
        host.WriteConfig(at + 16, 1, 1);
        host.Status.ShouldBe(VirtioStatus.Acknowledge);
        host.ReadConfig(at + 16, 1).ShouldBe(1u);

        // Places that are none, and lengths that are none, do nothing.
        host.WriteConfig(at + 4, 7, 1);
        host.WriteConfig(at + 16, 0, 1);
        host.WriteConfig(at + 4, 0, 1);
        host.WriteConfig(at + 12, 3, 4);
        host.WriteConfig(at + 16, 0, 1);
        host.WriteConfig(at + 12, 4, 4);
        host.WriteConfig(at + 8, uint.MaxValue - 3, 4);
        host.WriteConfig(at + 16, 0, 4);
        _ = host.ReadConfig(at + 16, 4);
        host.Status.ShouldBe(VirtioStatus.Acknowledge);
    }

    [Fact]
    public void Features_are_agreed_only_with_those_that_the_platform_needs_and_no_others()
    {
        using VirtioHost host = Make();
        ulong offered = host.Offered();
        (offered & VirtioHost.Wanted).ShouldBe(VirtioHost.Wanted);
        host.Negotiate(VirtioHost.Wanted).ShouldBeTrue();
        host.Negotiate(offered).ShouldBeTrue();
        host.Negotiate((ulong)VirtioFeatures.Version1).ShouldBeFalse();
        host.Negotiate((ulong)VirtioFeatures.AccessPlatform).ShouldBeFalse();
        host.Negotiate(VirtioHost.Wanted | (1ul << 41)).ShouldBeFalse();
        host.Negotiate(VirtioHost.Wanted).ShouldBeTrue();

        // What was agreed stays.
        host.Write(VirtioRegisters.DriverFeature, 0, 4);
        host.Read(VirtioRegisters.DriverFeature, 4).ShouldBe(VirtioHost.Wanted >> 32);
        host.Write(VirtioRegisters.DeviceFeatureSelect, 2, 4);
        host.Read(VirtioRegisters.DeviceFeature, 4).ShouldBe(0ul);
    }

    [Fact]
    public void Status_bits_are_only_cleared_by_a_reset_and_need_reset_only_by_the_device_set()
    {
        using VirtioHost host = Make();
        host.Write(VirtioRegisters.Status, 0x43, 1);
        host.Status.ShouldBe((VirtioStatus)3);
        host.Write(VirtioRegisters.Status, 1, 1);
        host.Status.ShouldBe((VirtioStatus)3);
        host.Write(VirtioRegisters.Status, 0x83, 1);
        host.Status.ShouldBe((VirtioStatus)0x83);
        host.Write(VirtioRegisters.Status, 0, 1);
        host.Status.ShouldBe(VirtioStatus.None);
    }

    [Fact]
    public void A_queue_that_does_not_exist_has_size_zero_and_vectors_that_do_not_exist_are_refused()
    {
        using VirtioHost host = Make();
        host.Write(VirtioRegisters.QueueSelect, 2, 2);
        host.Read(VirtioRegisters.QueueSize, 2).ShouldBe(0ul);
        host.Write(VirtioRegisters.QueueSelect, 1, 2);
        host.Read(VirtioRegisters.QueueSize, 2).ShouldBe(256ul);
        host.Read(VirtioRegisters.QueueNotifyOffset, 2).ShouldBe(1ul);
        host.Read(VirtioRegisters.QueueVector, 2).ShouldBe(0xfffful);
        host.Write(VirtioRegisters.QueueVector, 2, 2);
        host.Read(VirtioRegisters.QueueVector, 2).ShouldBe(2ul);
        host.Write(VirtioRegisters.QueueVector, 3, 2);
        host.Read(VirtioRegisters.QueueVector, 2).ShouldBe(0xfffful);
        host.Write(VirtioRegisters.ConfigurationVector, 0, 2);
        host.Read(VirtioRegisters.ConfigurationVector, 2).ShouldBe(0ul);

        // A width that is not the field's changes nothing.
        host.Write(VirtioRegisters.QueueSize, 8, 4);
        host.Read(VirtioRegisters.QueueSize, 2).ShouldBe(256ul);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Interrupts_come_by_message_or_wire_and_reading_the_status_ends_the_wire(bool messages)
    {
        using VirtioHost host = Make();
        host.Connect(messages ? VfioPciInterrupt.MsiX : VfioPciInterrupt.Intx, messages ? 3 : 1);
        DriverRing ring = host.Bring(vector: messages ? 2 : null);
        BlockDriver driver = new(host, ring);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        host.TakeSignals(messages ? 2 : 0).ShouldBe(1);
        host.Read(VirtioRegisters.InterruptStatus, 1).ShouldBe(messages ? 0ul : 1);
        if (messages)
        {
            return;
        }

        host.Read(VirtioRegisters.InterruptStatus, 1).ShouldBe(0ul);
        host.Unmask();
        host.TakeSignals().ShouldBe(0);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        host.TakeSignals().ShouldBe(1);
        host.Unmask();
        host.TakeSignals().ShouldBe(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_event_index_says_when_either_side_is_told(bool packed)
    {
        using VirtioHost host = Make();
        host.Connect(VfioPciInterrupt.MsiX, 3);
        DriverRing ring = host.Bring((ulong)VirtioFeatures.EventIndex, packed, vector: 1);
        BlockDriver driver = new(host, ring);
        for (int round = 0; round < 20; round++)
        {
            int at = round * 6;
            ring.WantInterrupt(packed ? (ushort)4 : (ushort)2);
            for (int i = 0; i < 3; i++)
            {
                host.TakeSignals(1).ShouldBe(0, $"round {round}");
                _ = ring.Submit(driver.Header(4), driver.End);
            }

            host.TakeSignals(1).ShouldBe(1, $"round {round}");
            ring.Take().Count.ShouldBe(3);
            int next = packed ? (at + 6) % 16 : (round + 1) * 3;
            (ring.DeviceEvent & (packed ? 0x7fff : 0xffff)).ShouldBe(next);
        }

        ring.WantInterrupt(null);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        host.TakeSignals(1).ShouldBe(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_queue_is_reset_by_itself_and_enabled_again(bool packed)
    {
        using VirtioHost host = Make();
        BlockDriver driver = new(host, host.Bring((ulong)VirtioFeatures.RingReset, packed));
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        host.Write(VirtioRegisters.QueueReset, 1, 2);
        host.Read(VirtioRegisters.QueueReset, 2).ShouldBe(0ul);
        host.Read(VirtioRegisters.QueueEnable, 2).ShouldBe(0ul);
        host.Read(VirtioRegisters.QueueSize, 2).ShouldBe(256ul);
        host.Notify(0);
        BlockDriver again = new(host, host.EnableQueue(0, 8, packed));
        again.Execute(4).ShouldBe(BlockDriver.Ok);
        host.Status.ShouldBe((VirtioStatus)15);
    }

    [Fact]
    public void Buffers_made_available_before_the_driver_is_ready_wait_for_it()
    {
        using VirtioHost host = Make();
        host.Negotiate(VirtioHost.Wanted).ShouldBeTrue();
        DriverRing ring = host.EnableQueue(0, 16, false);
        BlockDriver driver = new(host, ring);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().ShouldBeEmpty();
        host.Start();
        _ = ring.Take().ShouldHaveSingleItem();
    }

    [Theory]
    [InlineData("function")]
    [InlineData("status")]
    [InlineData("config")]
    public void Every_reset_leads_back_to_the_beginning(string kind)
    {
        using VirtioHost host = Make();
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        _ = ring.Put(false, driver.Header(4), driver.End);
        switch (kind)
        {
            case "function":
                host.Backend.Reset().ShouldBe(Errno.Success);
                break;
            case "status":
                host.Write(VirtioRegisters.Status, 0, 1);
                break;
            default:
                int express = 0x40;
                host.ReadConfig(express, 1).ShouldBe(0x10u);
                host.WriteConfig(express + 8, 0x8000, 2);
                break;
        }

        host.Status.ShouldBe(VirtioStatus.None);
        host.Notify(0);
        ring.Take().ShouldBeEmpty();
        host.Read(VirtioRegisters.QueueEnable, 2).ShouldBe(0ul);
        host.SetCommand(6);
        new BlockDriver(host, host.Bring()).Execute(4).ShouldBe(BlockDriver.Ok);
    }

    [Fact]
    public unsafe void Notifications_are_seen_in_a_mapping_also_when_the_same_number_is_written_again()
    {
        using VirtioHost host = Make();
        host.Backend.GetRegion(0, out DeviceRegion region).ShouldBe(Errno.Success);
        DeviceArea area = region.Areas.ShouldNotBeNull().ShouldHaveSingleItem();
        (area.Offset, area.Kind).ShouldBe((VirtioRegisters.Notify, DeviceAreaKind.Doorbells));
        host.Backend.Map(0, 0, 4096, out _).ShouldBe(Errno.InvalidArgument);
        host.Backend.Map(0, area.Offset, area.Size, out nint address).ShouldBe(Errno.Success);
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        for (int i = 0; i < 5; i++)
        {
            _ = ring.Put(false, driver.Header(4), driver.End);
            Volatile.Write(ref *(ushort*)address, 0);
            SpinWait.SpinUntil(() => ring.Take().Count == 1, s_limit).ShouldBeTrue();
        }

        host.Backend.Close();
    }

    [Fact]
    public void Without_bus_mastering_nothing_goes_out_and_nothing_breaks()
    {
        using VirtioHost host = Make();
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        host.SetCommand(2);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().ShouldBeEmpty();
        host.SetCommand(6);
        ring.Kick();
        _ = ring.Take().ShouldHaveSingleItem();
        BinaryPrimitives.ReadUInt16LittleEndian(host.Memory[ring.Device + 2, 2]).ShouldBe((ushort)1);
        host.Status.ShouldBe((VirtioStatus)15);
    }
}
