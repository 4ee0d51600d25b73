using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>The command queue with QEMU at the other end: around its end, and through its errors.</summary>
public class CommandQueueTests
{
    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(6)]
    public void A_small_queue_goes_round_and_round(int sizeLog2)
    {
        using QemuRig rig = new(new() { Driver = new() { CommandQueueSizeLog2 = sizeLog2 } });
        QueueChecks.GoesRound(rig, 100);
    }

    [Theory]
    [InlineData(0x7ful, 1)]
    [InlineData(0x7ful, 2)]
    [InlineData(0x381ul, 1)]
    [Trait("Requirement", "S4.15")]
    public void An_illegal_command_is_not_taken_for_completion_and_the_queue_goes_on(ulong command, int times)
    {
        SpoiltCommands? spoilt = null;
        using QemuRig rig = new(new() { Registers = registers => spoilt = Spoil(registers, command) });
        spoilt!.Memory = rig.Memory;
        QueueChecks.GoesOnAfterRefusal(rig, spoilt, times, "CMD_ILL");
    }

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void A_queue_that_stays_broken_gives_an_error_and_no_page_back()
    {
        SpoiltCommands? spoilt = null;
        SettableClock clock = new();
        using QemuRig rig = new(new()
        {
            Registers = registers => spoilt = Spoil(registers, 0x7f),
            Driver = new() { TimeProvider = clock },
        });
        spoilt!.Memory = rig.Memory;
        QueueChecks.GivesNoPageBackWhileBroken(rig, spoilt, clock, rig.DriverOptions.CommandTimeout);
    }

    private static SpoiltCommands Spoil(IRegisterWindow registers, ulong becomes) =>
        new(registers, RegisterOffset.CommandQueueTail, NextCommand, becomes);

    private static PhysicalAddress? NextCommand(IRegisterWindow registers, ulong tail) =>
        (registers.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.OnBit) != 0
        && registers.Read32(RegisterOffset.CommandQueueHead) is var head && head != tail
            ? new(PpnField.ToAddress(registers.Read64(RegisterOffset.CommandQueueBase)) + ((ulong)head * QueueBase.CommandSize))
            : null;
}
