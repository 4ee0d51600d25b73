using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>The command queue under errors, silence and a slow consumer: nothing counts as done that was not done.</summary>
[Trait("Requirement", "S4.15")]
public class CommandQueueTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(10)]
    public void The_ring_wraps_around_many_times(int sizeLog2)
    {
        using Rig rig = new(new() { Driver = new() { CommandQueueSizeLog2 = sizeLog2 } });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        for (uint i = 0; i < 3000; i++)
        {
            domain.ShouldMap(Iova, Target + (i * Rig.Page));
            rig.ShouldReach(device, Iova, Target + (i * Rig.Page));
            domain.ShouldUnmap(Iova);
        }

        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        rig.Driver.Statistics.Fences.ShouldBeGreaterThan(3000);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    public void A_consumer_that_takes_its_time_is_waited_for(int sizeLog2)
    {
        SlowConsumer slow = null!;
        using Rig rig = new(new()
        {
            Registers = window => slow = new(window),
            Driver = new() { CommandQueueSizeLog2 = sizeLog2, InvalidationCommandLimit = 8 },
        });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        for (uint i = 0; i < 50; i++)
        {
            domain.ShouldMap(Iova, Target, 4 * Rig.Page);
            rig.ShouldReach(device, Iova, Target);
            domain.ShouldUnmap(Iova, 4 * Rig.Page);
            rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        }

        slow.Steps.ShouldBeGreaterThan(100);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void An_illegal_command_is_recovered_from_and_the_invalidation_takes_place(int times)
    {
        SpoiledCommands spoiler = null!;
        using Rig rig = new(new() { DriverMemory = memory => spoiler = new(memory) });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        spoiler.Spoil(CommandOpcode.Iotinval, times);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(times);
        rig.Log.ToString().ShouldContain("CMD_ILL");
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [Trait("Requirement", "S4.15")]
    public void What_a_guest_or_its_host_invalidates_takes_place_though_the_queue_is_recovered(int times, bool isGuest)
    {
        SpoiledCommands spoiler = null!;
        using Rig rig = new(new() { DriverMemory = memory => spoiler = new(memory) });
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        guest.Map(Iova, Guest.Data);
        RiscVNestedDomain nested = guest.Nest(device, 5);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, guest.ToHost(Guest.Data));
        spoiler.Spoil(isGuest ? CommandOpcode.Iotinval : CommandOpcode.Iofence, times);
        if (isGuest)
        {
            guest.Unmap(Iova);
            Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, 5, Iova));
            rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        }
        else
        {
            guest.Parent.ShouldUnmap(Guest.Data);
            rig.ShouldFault(device, Iova, FaultCause.ReadGuestPageFault);
        }

        rig.Driver.Statistics.QueueRecoveries.ShouldBe(times);
    }

    [Fact]
    public void What_cannot_be_completed_is_an_error_and_frees_nothing()
    {
        SpoiledCommands spoiler = null!;
        ManualTime time = new();
        using Rig rig = new(new() { DriverMemory = memory => spoiler = new(memory), Driver = new() { TimeProvider = time } });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        spoiler.Spoil(null, int.MaxValue);
        InvalidationGather gather = default;
        domain.Unmap(new(Iova), Rig.Page, ref gather).ShouldBe(Rig.Page);
        domain.Sync(ref gather).ShouldBe(Errno.IoError);
        gather.IsEmpty.ShouldBeFalse();
        rig.Driver.Statistics.QueueFailures.ShouldBe(1);

        // Until the time-out has passed, nobody waits for the dead queue.
        domain.Sync(ref gather).ShouldBe(Errno.IoError);
        rig.Driver.Statistics.QueueFailures.ShouldBe(1);

        // A queue that works again takes up the invalidation where it was left.
        spoiler.Spoil(null, 0);
        time.Advance(TimeSpan.FromSeconds(2));
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
    }

    [Fact]
    public void A_queue_that_falls_silent_is_restarted_in_bounded_time()
    {
        SilentConsumer silent = null!;
        using Rig rig = new(new()
        {
            Registers = window => silent = new(window),
            Driver = new() { TimeProvider = new CreepingTime() },
        });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        silent.IsSilent = true;
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(1);
    }

    [Fact]
    public void A_queue_that_is_dead_for_good_fails_in_bounded_time_and_keeps_the_device_blocked_or_attached()
    {
        SilentConsumer silent = null!;
        using Rig rig = new(new()
        {
            Registers = window => silent = new(window),
            Driver = new() { TimeProvider = new CreepingTime() },
        });
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        silent.IsDead = true;
        RiscVPagingDomain other = rig.NewDomain(device);
        device.Group.Attach(other).ShouldBe(Errno.IoError);
        device.Group.Domain.ShouldBeSameAs(domain);
        device.Group.Detach().ShouldBe(Errno.IoError);
        rig.ShouldReach(device, Iova, Target);

        // The bond of a device that was pulled out is never given back while the hardware may know it.
        rig.Core.RemoveDevice(device);
        domain.BondCount.ShouldBe(1);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(1);
        rig.Log.ToString().ShouldContain("did not confirm");
        silent.IsDead = false;
        rig.Driver.Dispose();
        domain.BondCount.ShouldBe(0);
    }

    [Fact]
    public void The_interrupt_of_the_queue_recovers_it_without_a_waiter()
    {
        SpoiledCommands spoiler = null!;
        using Rig rig = new(new() { DriverMemory = memory => spoiler = new(memory) });
        (_, RiscVPagingDomain domain) = Attach(rig);
        domain.ShouldMap(Iova, Target);
        spoiler.Spoil(CommandOpcode.Iotinval, 1);
        rig.Driver.Commands.Submit([Command.InvalidateFirstStage(null, 1, Iova)], BatchKind.None, out ulong ticket).ShouldBe(Errno.Success);
        rig.HandleInterrupts();
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(1);
        rig.Driver.Commands.Wait(ticket).ShouldBe(Errno.Success);
    }

    private static (IommuDevice Device, RiscVPagingDomain Domain) Attach(Rig rig)
    {
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        return (device, domain);
    }

    /// <summary>Hardware that takes one command each time that somebody looks at the head.</summary>
    private sealed class SlowConsumer(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        private uint _given;
        private uint _tail;
        private uint _mask = uint.MaxValue;

        public int Steps { get; private set; }

        public override uint Read32(uint offset)
        {
            if (offset == RegisterOffset.CommandQueueHead && _given != _tail)
            {
                uint before = base.Read32(offset);
                _given = (_given + 1) & _mask;
                Steps++;
                base.Write32(RegisterOffset.CommandQueueTail, _given);
                return before;
            }

            return base.Read32(offset);
        }

        public override void Write32(uint offset, uint value)
        {
            if (offset == RegisterOffset.CommandQueueCsr)
            {
                _mask = (uint)((2ul << (int)(base.Read64(RegisterOffset.CommandQueueBase) & 0x1f)) - 1);
                _given = _tail = 0;
            }

            if (offset == RegisterOffset.CommandQueueTail)
            {
                _tail = value;
            }
            else
            {
                base.Write32(offset, value);
            }
        }
    }

    /// <summary>Hardware that misses doorbells: until the queue is restarted, or for ever.</summary>
    private sealed class SilentConsumer(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public bool IsSilent { get; set; }

        public bool IsDead { get; set; }

        public override void Write32(uint offset, uint value)
        {
            bool isOfQueue = offset is RegisterOffset.CommandQueueTail or RegisterOffset.CommandQueueCsr;
            if ((IsSilent && offset == RegisterOffset.CommandQueueTail) || (IsDead && isOfQueue))
            {
                return;
            }

            if (offset == RegisterOffset.CommandQueueCsr)
            {
                IsSilent = false;
            }

            base.Write32(offset, value);
        }
    }
}
