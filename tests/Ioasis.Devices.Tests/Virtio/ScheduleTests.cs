using Ioasis.Devices.Virtio;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Notifications that meet resets, the end, each other and an unmap, in every order that matters.</summary>
public sealed class ScheduleTests
{
    // Waits until registers read as ones.
    private static void WaitUntilGone(VirtioHost host)
    {
        while (host.Read(VirtioRegisters.Status, 1) != byte.MaxValue)
        {
            _ = Injection.Hit(InjectionKind.Wait);
        }
    }

    /// <summary>A disk with reads in its queue.</summary>
    private abstract class BlockScenario : DeviceScenario<VirtioHost>
    {
        protected BlockScenario(bool packed = false, VirtioMisbehaviour? wrong = null)
            : base(new(new VirtioBlock(new() { Size = 1 << 20, Queues = 2, Misbehaviour = wrong }), 1 << 20))
        {
            Host.Negotiate(VirtioHost.Wanted | (ulong)VirtioFeatures.RingReset | (packed ? (ulong)VirtioFeatures.PackedRing : 0)).ShouldBeTrue();
            Ring = Host.EnableQueue(0, 16, packed);
            Other = Host.EnableQueue(1, 16, packed);
            Host.Write(VirtioRegisters.QueueSelect, 0, 2);
            Host.Start();
            Driver = new(Host, Ring);
            for (int i = 0; i < 2; i++)
            {
                _ = Ring.Put(false, Driver.Header(0), new Piece(Data, 512, true), Driver.End);
            }
        }

        protected DriverRing Ring { get; }

        protected DriverRing Other { get; }

        protected BlockDriver Driver { get; }

        protected void CheckThatItWorks()
        {
            Permit();
            Host.SetCommand(6);
            new BlockDriver(Host, Host.Bring()).Execute(4).ShouldBe(BlockDriver.Ok);
        }
    }

    private sealed class NotificationAgainstFunctionReset : BlockScenario
    {
        public NotificationAgainstFunctionReset()
        {
            AddThread("notify", Ring.Kick);
            AddFunctionReset();
        }

        public override void CheckAtEnd()
        {
            Host.Status.ShouldBe(VirtioStatus.None);
            CheckThatItWorks();
        }
    }

    private sealed class NotificationAgainstStatus : BlockScenario
    {
        public NotificationAgainstStatus()
        {
            AddThread("notify", Ring.Kick);
            AddThread("reset", () =>
            {
                Host.Write(VirtioRegisters.Status, 0, 1);
                WaitUntil(() => Host.Status == VirtioStatus.None);
                Forbid();
            });
        }

        public override void CheckAtEnd() => CheckThatItWorks();
    }

    private sealed class NotificationAgainstQueueReset : BlockScenario
    {
        public NotificationAgainstQueueReset()
        {
            AddThread("notify", Ring.Kick);
            AddThread("reset", () =>
            {
                Host.Write(VirtioRegisters.QueueReset, 1, 2);
                WaitUntil(() => Host.Read(VirtioRegisters.QueueReset, 2) == 0);
                Forbid();
            });
        }

        public override void CheckAtEnd()
        {
            Host.Status.ShouldBe((VirtioStatus)15);
            CheckThatItWorks();
        }
    }

    private sealed class NotificationAgainstTheEnd : BlockScenario
    {
        public NotificationAgainstTheEnd()
        {
            AddThread("notify", () => Host.TryNotify(0));
            AddClose();
        }
    }

    private sealed class NotificationAgainstNotification : BlockScenario
    {
        public NotificationAgainstNotification()
        {
            _ = Other.Put(false, Driver.Header(0), new Piece(Data, 512, true), Driver.End);
            AddThread("first", Ring.Kick);
            AddThread("second", Other.Kick);
        }

        public override void CheckAtEnd()
        {
            Ring.Take().Count.ShouldBe(2);
            _ = Other.Take().ShouldHaveSingleItem();
        }
    }

    private sealed class UnmapAgainstTransfer : BlockScenario
    {
        public UnmapAgainstTransfer(bool packed)
            : base(packed)
        {
            AddThread("notify", Ring.Kick);
            AddUnmap();
        }

        public override void CheckAtEnd()
        {
            CheckThatNothingLanded();
            Ring.Take().Count.ShouldBe(2);
            Host.Status.ShouldBe((VirtioStatus)15);
        }
    }

    /// <summary>The disk goes with its second request.</summary>
    private abstract class GoingBlockScenario : BlockScenario
    {
        protected GoingBlockScenario(bool packed = false)
            : base(packed, new() { GoneAt = 2 }) =>
            AddThread("notify", () => Host.TryNotify(0));
    }

    private sealed class NotificationAgainstRemoval : GoingBlockScenario
    {
        public NotificationAgainstRemoval(bool packed)
            : base(packed)
        {
            _ = Other.Put(false, Driver.Header(0), new Piece(Data, 512, true), Driver.End);
            AddThread("second", Other.Kick);
            AddThread("watch", () =>
            {
                WaitUntilGone(Host);
                Forbid();
            });
        }

        public override void CheckAtEnd() => (Ring.Take().Count + Other.Take().Count).ShouldBe(1);
    }

    private sealed class RemovalAgainstUnmap : GoingBlockScenario
    {
        public RemovalAgainstUnmap() => AddUnmap();

        public override void CheckAtEnd()
        {
            CheckThatNothingLanded();
            Ring.Take().Count.ShouldBe(1);
        }
    }

    private sealed class RemovalAgainstFunctionReset : GoingBlockScenario
    {
        public RemovalAgainstFunctionReset() => AddFunctionReset();
    }

    private sealed class RemovalAgainstTheEnd : GoingBlockScenario
    {
        public RemovalAgainstTheEnd() => AddClose();
    }

    /// <summary>Two network devices with a cable; the frames of one go to the memory of the scenario's host.</summary>
    private abstract class NetScenario : DeviceScenario<VirtioHost>
    {
        private readonly NetDriver _sender;

        protected NetScenario(bool packed = false, VirtioMisbehaviour? sending = null, VirtioMisbehaviour? receiving = null)
            : this(NetDriver.MakePair(new() { Misbehaviour = sending }, new() { Misbehaviour = receiving }), packed)
        {
        }

        private NetScenario((VirtioNet First, VirtioNet Second) pair, bool packed)
            : this(pair.First, new NetDriver(pair.Second, NetDriver.Merge, packed), packed)
        {
        }

        private NetScenario(VirtioNet sender, NetDriver receiver, bool packed)
            : base(receiver.Host)
        {
            Receiver = receiver;
            _sender = new(sender, packed: packed);
            Receiver.Post(Data, 128);
            Receiver.Post(Data + 2048, 2048);
            Receiver.Receiver.Kick();
            _sender.Put(NetDriver.Frame(NetDriver.Broadcast, 200));
        }

        protected NetDriver Receiver { get; }

        protected VirtioNet SendingDevice => _sender.Device;

        protected NetDriver Sender => _sender;

        protected void AddSender() => AddThread("send", _sender.Transmitter.Kick);

        protected void CheckThatItWorks()
        {
            Permit();
            Host.SetCommand(6);
            using NetDriver again = new(Receiver.Device);
            again.Post(1);
            _sender.Transmitter.Take().Count.ShouldBe(1);
            _sender.Send(NetDriver.Frame(NetDriver.Broadcast));
            _ = again.Take().ShouldHaveSingleItem();
        }

        protected override void Dispose(bool disposing)
        {
            _sender.Dispose();
            base.Dispose(disposing);
        }
    }

    private sealed class FrameAgainstFunctionReset : NetScenario
    {
        public FrameAgainstFunctionReset()
        {
            AddSender();
            AddFunctionReset();
        }

        public override void CheckAtEnd() => CheckThatItWorks();
    }

    private sealed class FrameAgainstTheEnd : NetScenario
    {
        public FrameAgainstTheEnd()
        {
            AddSender();
            AddClose();
        }
    }

    private sealed class FrameAgainstUnmap : NetScenario
    {
        public FrameAgainstUnmap(bool packed)
            : base(packed)
        {
            AddSender();
            AddUnmap();
        }

        public override void CheckAtEnd()
        {
            CheckThatNothingLanded();
            (Receiver.Device.Counts.Received + Receiver.Device.Counts.NotReceived).ShouldBe(1);
            Host.Status.ShouldBe((VirtioStatus)15);
        }
    }

    private sealed class FramesBothWays : NetScenario
    {
        public FramesBothWays()
        {
            Receiver.Put(NetDriver.Frame(NetDriver.Broadcast, 100));
            AddSender();
            AddThread("answer", Receiver.Transmitter.Kick);
        }

        public override void CheckAtEnd()
        {
            Receiver.Take().ShouldHaveSingleItem().Frame.Length.ShouldBe(200);
            SendingDevice.Counts.Sent.ShouldBe(1);
            Receiver.Device.Counts.Sent.ShouldBe(1);
        }
    }

    private sealed class FrameAgainstTheEndOfItsSender : NetScenario
    {
        public FrameAgainstTheEndOfItsSender()
        {
            Receiver.Put(NetDriver.Frame(NetDriver.Broadcast, 100));
            AddThread("answer", Receiver.Transmitter.Kick);
            AddThread("end", SendingDevice.Dispose);
        }

        public override void CheckAtEnd()
        {
            Receiver.Device.IsLinkUp.ShouldBeFalse();
            Receiver.Transmitter.Take().Count.ShouldBe(1);
        }
    }

    /// <summary>The receiver goes with its second frame.</summary>
    private sealed class FrameAgainstRemoval : NetScenario
    {
        private readonly bool _unmaps;

        public FrameAgainstRemoval(bool unmaps)
            : base(receiving: new() { GoneAt = 2 })
        {
            _unmaps = unmaps;
            Receiver.Post(Host.Memory.Allocate(2048), 2048);
            Receiver.Receiver.Kick();
            Sender.Put(NetDriver.Frame(NetDriver.Broadcast, 100));
            AddSender();
            AddThread("watch", () =>
            {
                WaitUntilGone(Host);
                Forbid();
            });
            if (unmaps)
            {
                AddUnmap();
            }
        }

        public override void CheckAtEnd()
        {
            if (_unmaps)
            {
                CheckThatNothingLanded();
            }

            SendingDevice.Counts.Sent.ShouldBeGreaterThanOrEqualTo(1);
            Receiver.Device.Counts.Received.ShouldBeLessThanOrEqualTo(1);
            Sender.Transmitter.Take().Count.ShouldBe(2);
        }
    }

    /// <summary>The sender goes with its second frame.</summary>
    private sealed class FrameAgainstTheRemovalOfItsSender : NetScenario
    {
        private bool _isGone;

        public FrameAgainstTheRemovalOfItsSender()
            : base(sending: new() { GoneAt = 2 })
        {
            Sender.Put(NetDriver.Frame(NetDriver.Broadcast, 100));
            Sender.Host.Memory.OnAccess = (request, _) =>
                _isGone.ShouldBeFalse($"DMA to 0x{request.Address.Value:x} after the device was gone");
            AddSender();
            AddThread("watch", () =>
            {
                WaitUntilGone(Sender.Host);
                _isGone = true;
            });
        }

        public override void CheckAtEnd()
        {
            SendingDevice.Counts.Sent.ShouldBe(1);
            Receiver.Take().ShouldHaveSingleItem().Frame.Length.ShouldBe(200);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void No_DMA_leaves_a_disk_that_is_gone(bool packed) => DeviceSchedules.Holds(() => new NotificationAgainstRemoval(packed));

    [Fact]
    public void No_byte_lands_after_its_mapping_went_from_a_disk_that_goes() => DeviceSchedules.Holds(static () => new RemovalAgainstUnmap());

    [Fact]
    public void No_DMA_leaves_a_disk_that_goes_after_a_function_reset_has_returned() => DeviceSchedules.Holds(static () => new RemovalAgainstFunctionReset());

    [Fact]
    public void No_DMA_leaves_a_disk_that_goes_after_the_last_close() => DeviceSchedules.Holds(static () => new RemovalAgainstTheEnd());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void No_frame_lands_in_memory_of_a_card_that_is_gone(bool unmaps) => DeviceSchedules.Holds(() => new FrameAgainstRemoval(unmaps));

    [Fact]
    public void No_DMA_leaves_a_card_that_went_while_it_sent() => DeviceSchedules.Holds(static () => new FrameAgainstTheRemovalOfItsSender());

    [Fact]
    public void No_frame_lands_after_a_function_reset_has_returned() => DeviceSchedules.Holds(static () => new FrameAgainstFunctionReset());

    [Fact]
    public void No_frame_lands_after_the_last_close() => DeviceSchedules.Holds(static () => new FrameAgainstTheEnd());

    [Fact]
    public void No_byte_of_a_frame_lands_after_its_mapping_went() => DeviceSchedules.Holds(static () => new FrameAgainstUnmap(false));

    [Fact]
    public void No_byte_of_a_frame_lands_after_its_mapping_went_with_a_packed_ring() => DeviceSchedules.Holds(static () => new FrameAgainstUnmap(true));

    [Fact]
    public void Frames_that_cross_each_other_arrive() => DeviceSchedules.Holds(static () => new FramesBothWays());

    [Fact]
    public void A_device_that_ends_takes_the_link_from_its_peer_in_every_order() => DeviceSchedules.Holds(static () => new FrameAgainstTheEndOfItsSender());

    [Fact]
    public void No_DMA_leaves_after_a_function_reset_has_returned() => DeviceSchedules.Holds(static () => new NotificationAgainstFunctionReset());

    [Fact]
    public void No_DMA_leaves_once_the_status_reads_zero() => DeviceSchedules.Holds(static () => new NotificationAgainstStatus());

    [Fact]
    public void No_DMA_for_a_queue_leaves_once_its_reset_is_done() => DeviceSchedules.Holds(static () => new NotificationAgainstQueueReset());

    [Fact]
    public void No_DMA_leaves_after_the_last_close() => DeviceSchedules.Holds(static () => new NotificationAgainstTheEnd());

    [Fact]
    public void No_notification_is_lost_whoever_notifies_at_the_same_time() => DeviceSchedules.Holds(static () => new NotificationAgainstNotification());

    [Fact]
    public void No_byte_lands_after_its_mapping_went() => DeviceSchedules.Holds(static () => new UnmapAgainstTransfer(false));

    [Fact]
    public void No_byte_lands_after_its_mapping_went_with_a_packed_ring() => DeviceSchedules.Holds(static () => new UnmapAgainstTransfer(true));
}
