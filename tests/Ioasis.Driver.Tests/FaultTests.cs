using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;
using Microsoft.Extensions.Logging;

namespace Ioasis.Driver.Tests;

/// <summary>Faults are reported in full and in order, a flood is survived, and nothing waits for ever.</summary>
[Trait("Requirement", "S4.16")]
public class FaultTests
{
    [Fact]
    public void Records_come_in_order_with_everything_that_the_hardware_said()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 20);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(0xabcde), domain).ShouldBe(Errno.Success);
        rig.Hardware.Translate(new(device.Id, new(0x1000)), out _);
        rig.Hardware.Translate(new(device.Id, new(0x2fff), DmaFlags.Write), out _);
        rig.Hardware.Translate(
            new(device.Id, new(0x3000), DmaFlags.PasidValid | DmaFlags.Write, DmaKind.Untranslated, new(0xabcde)), out _);
        rig.Hardware.Translate(
            new(device.Id, new(0x4000), DmaFlags.PasidValid | DmaFlags.Execute, DmaKind.Untranslated, new(0xabcde)), out _);
        rig.HandleInterrupts();
        rig.Sink.Faults.Select(f => f.Iova.Value >> 12).ShouldBe([1ul, 2, 3, 4]);
        rig.Sink.Faults.Select(f => (FaultCause)f.Cause).ShouldBe(
        [
            FaultCause.ReadPageFault, FaultCause.WritePageFault, FaultCause.WritePageFault, FaultCause.InstructionPageFault,
        ]);
        rig.Sink.Faults.Select(f => f.Access).ShouldBe(
            [Access.Read, Access.Write, Access.Write, Access.Read | Access.Execute]);
        rig.Sink.Faults.Select(f => f.Pasid.Value).ShouldBe([0u, 0, 0xabcde, 0xabcde]);
        rig.Sink.Faults.ShouldAllBe(f => f.Device == device && f.Reason == IommuFaultReason.NotMapped);
    }

    [Fact]
    public void The_queue_wraps_around()
    {
        using Rig rig = new(new() { Driver = new() { FaultQueueSizeLog2 = 2 } });
        IommuDevice device = rig.AddDevice(0x10);
        for (ulong i = 1; i <= 100; i++)
        {
            rig.ShouldFault(device, i << 12, FaultCause.DdtEntryNotValid).Iova.Value.ShouldBe(i << 12);
        }

        rig.Driver.Statistics.Faults.ShouldBe(100);
    }

    [Fact]
    public void After_an_overflow_reporting_goes_on_and_the_loss_is_told()
    {
        using Rig rig = new(new() { Driver = new() { FaultQueueSizeLog2 = 3 } });
        IommuDevice device = rig.AddDevice(0x10);
        for (ulong i = 1; i <= 20; i++)
        {
            rig.Hardware.Translate(new(device.Id, new(i << 12)), out _);
        }

        rig.HandleInterrupts();
        rig.Sink.Lost.ShouldBe(1);
        rig.Sink.Faults.Select(f => f.Iova.Value >> 12).ShouldBe([1ul, 2, 3, 4, 5, 6, 7]);
        rig.Driver.Statistics.FaultOverflows.ShouldBe(1);
        rig.ShouldFault(device, 0x7_7000, FaultCause.DdtEntryNotValid).Iova.Value.ShouldBe(0x7_7000ul);
        rig.Sink.Lost.ShouldBe(1);
    }

    [Fact]
    public void A_flood_is_reported_in_full_but_logged_up_to_a_rate()
    {
        ManualTime time = new();
        using Rig rig = new(new() { Driver = new() { TimeProvider = time, FaultLogsPerSecond = 5 } });
        IommuDevice device = rig.AddDevice(0x10);
        for (ulong i = 1; i <= 300; i++)
        {
            _ = rig.Dma(device, i << 12);
        }

        rig.Sink.Faults.Count.ShouldBe(300);
        FaultLines(rig).ShouldBe(5);
        time.Advance(TimeSpan.FromSeconds(1));
        _ = rig.Dma(device, 0x1000);
        FaultLines(rig).ShouldBe(6);
        rig.Log.ToString().ShouldContain("295 more faults were not logged");
    }

    [Fact]
    public void An_interrupt_without_a_cause_is_harmless()
    {
        using Rig rig = new();
        for (int vector = 0; vector < 16; vector++)
        {
            rig.Driver.HandleInterrupt(vector);
        }

        rig.Sink.Faults.ShouldBeEmpty();
        rig.Driver.Statistics.Faults.ShouldBe(0);
    }

    [Fact]
    public void Interrupts_after_the_end_are_ignored()
    {
        using Rig rig = new();
        rig.Driver.Dispose();
        rig.Driver.HandleInterrupt(1);
        rig.Driver.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    private static int FaultLines(Rig rig) =>
        rig.Log.Lines.Count(line => line.Level == LogLevel.Warning && line.Text.Contains("IOVA", StringComparison.Ordinal));
}
