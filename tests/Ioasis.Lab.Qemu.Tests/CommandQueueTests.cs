using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>The command queue with QEMU at the other end: around its end, and through its errors.</summary>
public class CommandQueueTests
{
    private const ulong Iova = 0x4000_0000;

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(6)]
    public void A_small_queue_goes_round_and_round(int sizeLog2)
    {
        using QemuRig rig = new(new() { Driver = new() { CommandQueueSizeLog2 = sizeLog2 } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        for (ulong i = 0; i < 100; i++)
        {
            domain.ShouldMap(Iova, QemuRig.DataStart + (i << 12), (1 + (i % 3)) << 12);
            if (i % 10 == 0)
            {
                rig.ShouldReach(edu, Iova, QemuRig.DataStart + (i << 12), 4);
            }

            domain.ShouldUnmap(Iova, (1 + (i % 3)) << 12);
        }

        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        rig.Driver.Statistics.Fences.ShouldBeGreaterThan(100);
    }

    [Theory]
    [InlineData(0x7ful, 1)]
    [InlineData(0x7ful, 2)]
    [InlineData(0x381ul, 1)]
    [Trait("Requirement", "S4.15")]
    public void An_illegal_command_is_not_taken_for_completion_and_the_queue_goes_on(ulong command, int times)
    {
        FlippingBits? flips = null;
        using QemuRig rig = new(new() { Registers = registers => flips = new(registers, command) });
        flips!.Memory = rig.Memory;
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        flips.Left = times;
        domain.ShouldUnmap(Iova);
        flips.Left.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(times);
        rig.Driver.Statistics.QueueFailures.ShouldBe(0);
        rig.LogText.ShouldContain("CMD_ILL");
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        domain.ShouldMap(Iova, QemuRig.DataStart + QemuRig.Page);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart + QemuRig.Page);
    }

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void A_queue_that_stays_broken_gives_an_error_and_no_page_back()
    {
        FlippingBits? flips = null;
        SettableClock clock = new();
        using QemuRig rig = new(new()
        {
            Registers = registers => flips = new(registers, 0x7f),
            Driver = new() { TimeProvider = clock },
        });
        flips!.Memory = rig.Memory;
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        flips.Left = int.MaxValue;
        PageTables.InvalidationGather gather = default;
        domain.Unmap(new(Iova), QemuRig.Page, ref gather).ShouldBe(QemuRig.Page);
        domain.Sync(ref gather).ShouldBe(Errno.IoError);

        // And that was the truth: the device still gets there.
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        rig.Driver.Statistics.QueueFailures.ShouldBeGreaterThan(0);

        // When the memory is sound again, so is everything, once the driver has waited long enough to try.
        flips.Left = 0;
        domain.Sync(ref gather).ShouldBe(Errno.IoError);
        clock.Advance(rig.DriverOptions.CommandTimeout);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
    }

    private sealed class SettableClock : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Increment(ref _ticks);

        public void Advance(TimeSpan by) => Interlocked.Add(ref _ticks, by.Ticks);
    }

    /// <summary>Memory that goes bad between the driver's write of a command and the doorbell.</summary>
    private sealed class FlippingBits(IRegisterWindow inner, ulong becomes) : IRegisterWindow
    {
        public QtestMemory? Memory { get; set; }

        public int Left { get; set; }

        public uint Read32(uint offset) => inner.Read32(offset);

        public ulong Read64(uint offset) => inner.Read64(offset);

        public void Write32(uint offset, uint value)
        {
            if (offset == RegisterOffset.CommandQueueTail && Left > 0
                && (inner.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.OnBit) != 0
                && inner.Read32(RegisterOffset.CommandQueueHead) is var head && head != value)
            {
                Left--;
                ulong start = PpnField.ToAddress(inner.Read64(RegisterOffset.CommandQueueBase));
                _ = Memory!.Write64(new(start + ((ulong)head * QueueBase.CommandSize)), becomes);
            }

            inner.Write32(offset, value);
        }

        public void Write64(uint offset, ulong value) => inner.Write64(offset, value);
    }
}
