using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>VFIO_DEVICE_SET_IRQS with every kind of data and action, and what arrives at the counters.</summary>
public sealed class InterruptTests
{
    private const VfioIrqSetFlags Trigger = VfioIrqSetFlags.ActionTrigger;
    private const VfioIrqSetFlags Mask = VfioIrqSetFlags.ActionMask;
    private const VfioIrqSetFlags Unmask = VfioIrqSetFlags.ActionUnmask;
    private const VfioIrqSetFlags None = VfioIrqSetFlags.DataNone;
    private const VfioIrqSetFlags Bool = VfioIrqSetFlags.DataBool;
    private const VfioIrqSetFlags Fd = VfioIrqSetFlags.DataEventFd;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void The_form_of_a_call_is_checked_before_its_meaning()
    {
        using PciRig rig = new(new TestPciDevice());
        void Refused(uint index, VfioIrqSetFlags flags, uint start, uint count, int data, uint? argsz = null) =>
            rig.SetIrqs((VfioPciInterrupt)index, flags, start, count, new byte[data], argsz).ShouldBe(Errno.InvalidArgument);

        Refused(0, None | Trigger, 0, 1, 0, 19);
        Refused(5, None | Trigger, 0, 1, 0);
        Refused(0, None | Trigger | (VfioIrqSetFlags)64, 0, 1, 0);
        Refused(0, Trigger, 0, 1, 0);
        Refused(0, None | Bool | Trigger, 0, 1, 1);
        Refused(0, None | Trigger, 1, 0, 0);
        Refused(0, None | Trigger, 0, 2, 0);
        Refused(1, None | Trigger, 3, 2, 0);
        Refused(1, None | Trigger, 1, uint.MaxValue - 1, 0);
        Refused(2, Fd | Trigger, 0, 2, 7);
        Refused(2, Bool | Trigger, 0, 8, 7);
        rig.SetIrqs(VfioPciInterrupt.MsiX, Fd | Trigger, 0, 2, new byte[4], 28).ShouldBe(Errno.BadAddress);
        rig.Kernel.Ioctl(rig.Device.Descriptor.Number, VfioRequests.DeviceSetIrqs, new byte[19]).ShouldBe(-(int)Errno.BadAddress);
    }

    [Fact]
    public void What_vfio_pci_cannot_do_is_ENOTTY()
    {
        using PciRig rig = new(new TestPciDevice());
        foreach (VfioPciInterrupt index in (VfioPciInterrupt[])
            [VfioPciInterrupt.Msi, VfioPciInterrupt.MsiX, VfioPciInterrupt.Error, VfioPciInterrupt.Request])
        {
            rig.Act(index, Mask).ShouldBe(Errno.NotTypewriter);
            rig.Act(index, Unmask).ShouldBe(Errno.NotTypewriter);
        }

        rig.Act(VfioPciInterrupt.Intx, Mask | Unmask).ShouldBe(Errno.NotTypewriter);
        rig.Act(VfioPciInterrupt.Intx, 0).ShouldBe(Errno.NotTypewriter);
        rig.Connect(VfioPciInterrupt.Intx, 0, rig.NewEvent()).ShouldBe(Errno.Success);
        rig.SetIrqs(VfioPciInterrupt.Intx, Fd | Mask, 0, 1, new byte[4]).ShouldBe(Errno.NotTypewriter);
    }

    [Fact]
    public void The_wire_masks_itself_and_fires_again_at_the_unmask_while_it_is_asserted()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        device.Line(true);
        rig.Take(counter).ShouldBe(0ul);
        rig.Act(VfioPciInterrupt.Intx, Unmask).ShouldBe(Errno.InvalidArgument);
        rig.Connect(VfioPciInterrupt.Intx, 0, counter).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(1ul);
        device.Line(true);
        rig.Take(counter).ShouldBe(0ul);
        rig.Act(VfioPciInterrupt.Intx, Unmask).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(1ul);
        device.Line(false);
        rig.Act(VfioPciInterrupt.Intx, Unmask).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(0ul);

        // Masked by hand; a bool of 0 does nothing.
        rig.Act(VfioPciInterrupt.Intx, Mask).ShouldBe(Errno.Success);
        device.Line(true);
        rig.SetIrqs(VfioPciInterrupt.Intx, Bool | Unmask, 0, 1, [0]).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(0ul);
        rig.SetIrqs(VfioPciInterrupt.Intx, Bool | Unmask, 0, 1, [1]).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(1ul);

        // Signalled by the client itself; then off, and the other kinds are possible.
        rig.Act(VfioPciInterrupt.Intx, Trigger).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(1ul);
        rig.Connect(VfioPciInterrupt.Msi, 0, counter).ShouldBe(Errno.InvalidArgument);
        rig.Act(VfioPciInterrupt.Intx, Trigger, 0, 0).ShouldBe(Errno.Success);
        rig.Act(VfioPciInterrupt.Intx, Trigger).ShouldBe(Errno.InvalidArgument);
        rig.Connect(VfioPciInterrupt.Msi, 0, counter).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.Intx, 0, counter).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void A_counter_can_unmask_the_wire()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        int unmask = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.Intx, 0, counter).ShouldBe(Errno.Success);
        Errno Set(int descriptor) =>
            rig.SetIrqs(VfioPciInterrupt.Intx, Fd | Unmask, 0, 1, MemoryMarshal.AsBytes(new Span<int>(ref descriptor)));
        Set(99).ShouldBe(Errno.BadDescriptor);
        Set(unmask).ShouldBe(Errno.Success);
        Set(unmask).ShouldBe(Errno.Busy);
        device.Line(true);
        rig.Take(counter).ShouldBe(1ul);
        rig.Add(unmask, 1);
        rig.Take(counter).ShouldBe(1ul);

        // Whoever listens takes the count.
        rig.Take(unmask).ShouldBe(0ul);
        Set(-1).ShouldBe(Errno.Success);
        rig.Add(unmask, 1);
        rig.Take(counter).ShouldBe(0ul);
        rig.Take(unmask).ShouldBe(1ul);

        // A wire that unmasks itself by its own counter is a mistake, not the end.
        rig.Act(VfioPciInterrupt.Intx, Mask).ShouldBe(Errno.Success);
        Set(counter).ShouldBe(Errno.Success);
        rig.Add(counter, 1);
        device.Line(false);
        rig.Act(VfioPciInterrupt.Intx, Trigger, 0, 0).ShouldBe(Errno.Success);
    }

    [Fact]
    public void Interrupt_disable_of_the_command_register_holds_the_wire_back()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.Intx, 0, counter).ShouldBe(Errno.Success);
        rig.Config.Write(4, (ushort)0x402);
        device.Line(true);
        rig.Act(VfioPciInterrupt.Intx, Unmask).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(0ul);
        (rig.Config.Read<ushort>(6) & 8).ShouldBe(8);
        rig.Config.Write(4, (ushort)2);
        rig.Take(counter).ShouldBe(1ul);
    }

    [Fact]
    public void MSI_has_the_vectors_it_was_enabled_with_and_MSI_X_takes_more_later()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        rig.Config.Write(4, (ushort)6);
        int[] counters = [.. Enumerable.Range(0, 8).Select(_ => rig.NewEvent())];
        rig.Connect(VfioPciInterrupt.Msi, 0, counters[0], -1).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.Msi, 2, counters[2]).ShouldBe(Errno.InvalidArgument);
        device.Message(0).ShouldBeTrue();
        device.Message(1).ShouldBeTrue();
        device.Message(3).ShouldBeTrue();
        counters.Select(rig.Take).ShouldBe([1, 0, 0, 0, 0, 0, 0, 0]);
        rig.Act(VfioPciInterrupt.Msi, Trigger, 0, 0).ShouldBe(Errno.Success);
        device.Message(0).ShouldBeFalse();

        rig.Connect(VfioPciInterrupt.MsiX, 1, counters[1]).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.MsiX, 7, counters[7]).ShouldBe(Errno.Success);
        device.Message(7).ShouldBeTrue();
        rig.SetIrqs(VfioPciInterrupt.MsiX, Bool | Trigger, 0, 8, [1, 1, 1, 1, 1, 1, 1, 0]).ShouldBe(Errno.Success);
        counters.Select(rig.Take).ShouldBe([0, 1, 0, 0, 0, 0, 0, 1]);

        // Without bus mastering no message leaves the device.
        rig.Config.Write(4, (ushort)2);
        device.Message(7).ShouldBeFalse();
        rig.Take(counters[7]).ShouldBe(0ul);
    }

    [Fact]
    public void When_one_of_several_vectors_fails_those_before_it_have_no_counter_and_nothing_new_is_enabled()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        rig.Config.Write(4, (ushort)6);
        int a = rig.NewEvent();
        int b = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.MsiX, 0, a, 99).ShouldBe(Errno.BadDescriptor);
        device.Message(0).ShouldBeFalse();
        rig.Connect(VfioPciInterrupt.MsiX, 0, a, rig.Container.Descriptor.Number).ShouldBe(Errno.InvalidArgument);
        rig.Connect(VfioPciInterrupt.MsiX, 0, a, b).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.MsiX, 0, b, 99).ShouldBe(Errno.BadDescriptor);
        device.Message(0).ShouldBeTrue();
        device.Message(1).ShouldBeTrue();
        (rig.Take(a), rig.Take(b)).ShouldBe((0ul, 0ul));
    }

    [Fact]
    public void Errors_and_requests_have_one_counter_each()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        int counter = rig.NewEvent();
        rig.Act(VfioPciInterrupt.Error, Trigger).ShouldBe(Errno.InvalidArgument);
        rig.Connect(VfioPciInterrupt.Error, 0, counter).ShouldBe(Errno.Success);
        device.Error();
        rig.Act(VfioPciInterrupt.Error, Trigger).ShouldBe(Errno.Success);
        rig.SetIrqs(VfioPciInterrupt.Error, Bool | Trigger, 0, 1, [1]).ShouldBe(Errno.Success);
        rig.SetIrqs(VfioPciInterrupt.Error, Bool | Trigger, 0, 1, [0]).ShouldBe(Errno.Success);
        rig.Take(counter).ShouldBe(3ul);
        rig.Act(VfioPciInterrupt.Error, Trigger, 0, 0).ShouldBe(Errno.Success);
        device.Error();
        rig.Take(counter).ShouldBe(0ul);
        rig.Connect(VfioPciInterrupt.Request, 0, counter).ShouldBe(Errno.Success);
        rig.Connect(VfioPciInterrupt.Request, 0, -1).ShouldBe(Errno.Success);
        rig.Act(VfioPciInterrupt.Request, Trigger).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_counter_that_is_closed_takes_its_signals_nowhere_and_a_device_that_is_closed_sends_none()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        rig.Config.Write(4, (ushort)6);
        int counter = rig.NewEvent();
        int kept = rig.NewEvent();
        rig.Connect(VfioPciInterrupt.MsiX, 0, counter, kept).ShouldBe(Errno.Success);
        rig.Kernel.Close(counter).ShouldBe(0);
        device.Message(0).ShouldBeTrue();
        rig.Device.Dispose();
        device.Message(1).ShouldBeFalse();
        rig.Take(kept).ShouldBe(0ul);
    }

    [Fact]
    public async Task The_client_awaits_interrupts_and_loses_none()
    {
        TestPciDevice device = new();
        using PciRig rig = new(device);
        rig.Config.Write(4, (ushort)6);
        using VfioInterruptSet set = rig.Device.EnableInterrupts(VfioPciInterrupt.MsiX, 3);
        ValueTask<ulong> wait = set[1].WaitAsync(Token);
        wait.IsCompleted.ShouldBeFalse();
        Should.Throw<InvalidOperationException>(() => set[1].WaitAsync(Token).AsTask());
        device.Message(1).ShouldBeTrue();
        (await wait).ShouldBe(1ul);

        ulong total = 0;
        for (int i = 0; i < 1000; i++)
        {
            _ = device.Message(2);
        }

        while (total < 1000)
        {
            total += await set[2].WaitAsync(Token);
        }

        total.ShouldBe(1000ul);

        // A cancelled wait does not eat the next interrupt.
        using CancellationTokenSource source = new();
        ValueTask<ulong> cancelled = set[0].WaitAsync(source.Token);
        await source.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(cancelled.AsTask());
        set.TriggerErrno(0).ShouldBe(Errno.Success);
        (await set[0].WaitAsync(Token)).ShouldBe(1ul);
        set.MaskErrno(0).ShouldBe(Errno.NotTypewriter);

        ValueTask<ulong> last = set[0].WaitAsync(Token);
        set.Dispose();
        await Should.ThrowAsync<ObjectDisposedException>(last.AsTask());
        device.Message(1).ShouldBeFalse();
        rig.Device.EnableInterruptsErrno(VfioPciInterrupt.MsiX, 9, out _).ShouldBe(Errno.InvalidArgument);
        rig.Device.EnableInterruptsErrno(VfioPciInterrupt.MsiX, 0, out _).ShouldBe(Errno.InvalidArgument);
        Should.Throw<IommuException>(() => rig.Device.EnableInterrupts(VfioPciInterrupt.Msi, 5))
            .Message.ShouldContain("Msi, 5 vectors");
    }
}
