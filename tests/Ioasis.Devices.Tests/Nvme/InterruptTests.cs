using Ioasis.Devices.Nvme;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Interrupts (PCIe transport 1.0, section 3.5; base specification 2.0, sections 5.27.1.6 and 5.27.1.7).</summary>
public sealed class InterruptTests
{
    private static Command Flush { get; } = new(NvmeIoOpcode.Flush) { Namespace = 1 };

    [Fact]
    public void Each_completion_queue_has_its_vector()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Connect(VfioPciInterrupt.MsiX, 8);
        QueuePair first = host.CreateQueue(1, vector: 3);
        QueuePair second = host.CreateQueue(2, vector: 7);
        host.TakeSignals(0).ShouldBe(4);
        _ = first.Execute(Flush);
        (host.TakeSignals(3), host.TakeSignals(7), host.TakeSignals(0)).ShouldBe((1, 0, 0));
        _ = second.Execute(Flush);
        (host.TakeSignals(3), host.TakeSignals(7)).ShouldBe((0, 1));

        // Commands that are there together share one.
        _ = first.Put(Flush);
        _ = first.Put(Flush);
        _ = first.Submit(Flush);
        host.TakeSignals(3).ShouldBe(1);
        first.Take().Count.ShouldBe(3);
    }

    [Fact]
    public void A_queue_without_interrupts_has_none()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Connect(VfioPciInterrupt.MsiX, 2);
        ulong memory = host.Memory.Allocate(8192);
        _ = host.Admin.Succeed(NvmeHost.CreateCompletion(1, 16, memory, 1) with { Word11 = 1 | (1 << 16) });
        _ = host.Admin.Succeed(NvmeHost.CreateSubmission(1, 16, memory + 4096, 1));
        _ = new QueuePair(host, 1, 16, memory + 4096, memory).Succeed(Flush);
        host.TakeSignals(1).ShouldBe(0);
    }

    [Fact]
    public void The_pin_stays_asserted_while_there_is_an_entry_that_was_not_taken()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Connect(VfioPciInterrupt.Intx, 1);
        QueuePair queue = host.CreateQueue();
        _ = host.TakeSignals();
        host.Unmask();
        _ = queue.Put(Flush);
        _ = queue.Submit(Flush);
        host.TakeSignals().ShouldBe(1);
        _ = queue.Take(1);
        host.Unmask();
        host.TakeSignals().ShouldBe(1);
        _ = queue.Take(1);
        host.Unmask();
        host.TakeSignals().ShouldBe(0);
    }

    [Fact]
    public void The_pin_is_masked_by_the_mask_register()
    {
        using NvmeHost host = NvmeHost.Ready();
        QueuePair queue = host.CreateQueue();
        host.Connect(VfioPciInterrupt.Intx, 1);
        host.Write32(NvmeRegisters.InterruptMaskSet, 1);
        host.Read32(NvmeRegisters.InterruptMaskClear).ShouldBe(1u);
        _ = queue.Submit(Flush);
        host.TakeSignals().ShouldBe(0);
        host.Write32(NvmeRegisters.InterruptMaskClear, 1);
        host.TakeSignals().ShouldBe(1);
    }

    [Fact]
    public void A_masked_MSI_is_sent_when_its_mask_goes()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Connect(VfioPciInterrupt.Msi, 4);
        QueuePair queue = host.CreateQueue(1, vector: 2);
        host.Write32(NvmeRegisters.InterruptMaskSet, 1 << 2);
        _ = queue.Execute(Flush);
        host.TakeSignals(2).ShouldBe(0);
        host.Write32(NvmeRegisters.InterruptMaskClear, 1 << 1);
        host.TakeSignals(2).ShouldBe(0);
        host.Write32(NvmeRegisters.InterruptMaskClear, 1 << 2);
        host.TakeSignals(2).ShouldBe(1);
        host.Write32(NvmeRegisters.InterruptMaskClear, 1 << 2);
        host.TakeSignals(2).ShouldBe(0);
    }

    [Fact]
    public void Completions_share_interrupts_by_number_and_time()
    {
        HandTime time = new();
        using NvmeHost host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }], TimeProvider = time });
        host.Connect(VfioPciInterrupt.MsiX, 3);
        QueuePair queue = host.CreateQueue(1, vector: 1);
        QueuePair other = host.CreateQueue(2, vector: 2);

        // More than 3 entries, or 1 ms; vector 2 is left out, and admin completions never wait.
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.SetFeatures) { Word10 = 8, Word11 = 3 | (10 << 8) });
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.SetFeatures) { Word10 = 9, Word11 = 2 | (1 << 16) });
        host.TakeSignals(0).ShouldBe(6);
        for (int i = 0; i < 3; i++)
        {
            _ = queue.Execute(Flush);
            host.TakeSignals(1).ShouldBe(0);
        }

        _ = queue.Execute(Flush);
        host.TakeSignals(1).ShouldBe(1);
        _ = queue.Execute(Flush);
        _ = other.Execute(Flush);
        (host.TakeSignals(1), host.TakeSignals(2)).ShouldBe((0, 1));
        time.Advance(TimeSpan.FromMilliseconds(2));
        host.TakeSignals(1).ShouldBe(1);
        time.Advance(TimeSpan.FromMilliseconds(10));
        host.TakeSignals(1).ShouldBe(0);
    }

    [Theory]
    [InlineData(NvmeInterrupts.Pin, 1, 0, 0)]
    [InlineData(NvmeInterrupts.Msi, 0, 32, 0)]
    [InlineData(NvmeInterrupts.MsiX, 0, 0, 65)]
    public void A_controller_has_the_interrupts_that_it_is_built_with(NvmeInterrupts interrupts, int pin, int msi, int msiX)
    {
        using NvmeHost host = new(new NvmeOptions { Namespaces = [new() { Size = 1 << 20 }], Interrupts = interrupts });
        foreach ((VfioPciInterrupt kind, int count) in new[] { (VfioPciInterrupt.Intx, pin), (VfioPciInterrupt.Msi, msi), (VfioPciInterrupt.MsiX, msiX) })
        {
            _ = host.Backend.GetInterrupt((int)kind, out DeviceInterrupt interrupt);
            interrupt.Count.ShouldBe((uint)count, kind.ToString());
        }
    }
}
