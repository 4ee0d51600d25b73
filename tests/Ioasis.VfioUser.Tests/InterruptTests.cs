using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>Interrupts of every kind arrive by counters that came beside a message.</summary>
public sealed class InterruptTests : ClientOfProbe
{
    private const VfioIrqSetFlags Trigger = VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger;
    private const VfioIrqSetFlags Disable = VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionTrigger;

    private readonly SafeFileHandle[] _counters = [.. Enumerable.Range(0, 8).Select(static _ => SocketCalls.CreateEvent())];

    public InterruptTests() => Client.Enable();

    private protected override void DisposeOthers()
    {
        foreach (SafeFileHandle counter in _counters)
        {
            counter.Dispose();
        }
    }

    [Theory]
    [InlineData(VfioPciInterrupt.MsiX, 8)]
    [InlineData(VfioPciInterrupt.Msi, 4)]
    public void Each_vector_has_its_counter(VfioPciInterrupt kind, int count)
    {
        Client.SetInterrupts(kind, Trigger, 0, (uint)count, [.. _counters[..count]]).ShouldBe(Errno.Success);
        for (int i = 0; i < count; i++)
        {
            Device.Interrupt(i).ShouldBeTrue();
            Device.Interrupt(i).ShouldBeTrue();
            _counters.Select(SocketCalls.TakeCount).ShouldBe(Enumerable.Range(0, 8).Select(other => other == i ? 2ul : 0ul));
        }
    }

    [Fact]
    public void Vectors_without_a_counter_are_silent_and_others_are_not()
    {
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Trigger, 0, 4, [.. _counters[..4]]).ShouldBe(Errno.Success);
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Trigger, 1, 2).ShouldBe(Errno.Success);
        for (int i = 0; i < 4; i++)
        {
            Device.Interrupt(i).ShouldBeTrue();
        }

        _counters[..4].Select(SocketCalls.TakeCount).ShouldBe([1ul, 0ul, 0ul, 1ul]);
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Disable, 0, 0).ShouldBe(Errno.Success);
        Device.Interrupt(0).ShouldBeFalse();
        _counters[0].ShouldSatisfyAllConditions(static counter => SocketCalls.TakeCount(counter).ShouldBe(0ul));
    }

    [Fact]
    public void A_client_may_trigger_by_itself()
    {
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Trigger, 0, 2, [.. _counters[..2]]).ShouldBe(Errno.Success);
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Disable, 1, 1).ShouldBe(Errno.Success);
        _counters[..2].Select(SocketCalls.TakeCount).ShouldBe([0ul, 1ul]);
    }

    [Fact]
    public void The_wire_masks_itself_until_the_client_unmasks_it()
    {
        Client.SetInterrupts(VfioPciInterrupt.Intx, Trigger, 0, 1, _counters[0]).ShouldBe(Errno.Success);
        Device.SetLine(true);
        Device.SetLine(true);
        SocketCalls.TakeCount(_counters[0]).ShouldBe(1ul);
        Client.SetInterrupts(VfioPciInterrupt.Intx, VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionUnmask, 0, 1).ShouldBe(Errno.Success);
        SocketCalls.TakeCount(_counters[0]).ShouldBe(1ul);
        Device.SetLine(false);
    }

    [Fact]
    public void The_wire_is_unmasked_by_a_counter_too()
    {
        Client.SetInterrupts(VfioPciInterrupt.Intx, Trigger, 0, 1, _counters[0]).ShouldBe(Errno.Success);
        Client.SetInterrupts(VfioPciInterrupt.Intx, VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionUnmask, 0, 1, _counters[1]).ShouldBe(Errno.Success);
        Device.SetLine(true);
        SocketCalls.TakeCount(_counters[0]).ShouldBe(1ul);
        SocketCalls.Signal(_counters[1]);
        SocketCalls.WaitToRead(_counters[0], 60_000).ShouldBeTrue();
        SocketCalls.TakeCount(_counters[0]).ShouldBe(1ul);
    }

    [Fact]
    public void Errors_and_the_wish_to_have_the_device_back_are_told()
    {
        Client.SetInterrupts(VfioPciInterrupt.Error, Trigger, 0, 1, _counters[0]).ShouldBe(Errno.Success);
        Client.SetInterrupts(VfioPciInterrupt.Request, Trigger, 0, 1, _counters[1]).ShouldBe(Errno.Success);
        Device.Fail();
        Device.Backend.RequestRelease();
        _counters[..2].Select(SocketCalls.TakeCount).ShouldBe([1ul, 1ul]);
    }

    [Theory]
    [InlineData(2u, 0u, 9u, 8)]
    [InlineData(2u, 7u, 2u, 2)]
    [InlineData(2u, 0u, 3u, 2)]
    [InlineData(2u, 0u, uint.MaxValue, 0)]
    [InlineData(5u, 0u, 1u, 1)]
    [InlineData(0u, 1u, 1u, 1)]
    public void What_is_not_there_is_refused(uint kind, uint start, uint count, int descriptors) =>
        Client.SetInterrupts((VfioPciInterrupt)kind, Trigger, start, count, [.. _counters[..descriptors]]).ShouldBe(Errno.InvalidArgument);

    [Fact]
    public void What_is_no_counter_is_refused()
    {
        using SafeFileHandle file = File.OpenHandle("/proc/self/exe");
        Client.SetInterrupts(VfioPciInterrupt.MsiX, Trigger, 0, 1, file).ShouldBe(Errno.InvalidArgument);
        Client.SetInterrupts(VfioPciInterrupt.MsiX, VfioIrqSetFlags.DataBool | VfioIrqSetFlags.DataNone | VfioIrqSetFlags.ActionTrigger, 0, 1)
            .ShouldBe(Errno.InvalidArgument);
        Client.Call(VfioUserCommand.DeviceSetIrqs, new byte[19], [], out _).ShouldBe(Errno.InvalidArgument);
    }
}
