using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>The invalidation queue with QEMU at the other end: around its end, and through its errors.</summary>
public sealed class VtdQueueTests
{
    // A type that there is not; an IOTLB descriptor with a reserved bit (section 6.5.2.3).
    private const ulong NoType = 0xf;
    private const ulong ReservedBit = 0x2012;

    [Theory]
    [InlineData(VtdTables.Legacy4, 8)]
    [InlineData(VtdTables.SecondStage, 7)]
    [InlineData(VtdTables.FirstStage, 7)]
    public void A_queue_goes_round_and_round(VtdTables tables, int sizeLog2)
    {
        using VtdRig rig = new(new() { Tables = tables, Driver = new() { QueueSizeLog2 = sizeLog2, Quirks = VtdRig.Quirks } });
        QueueChecks.GoesRound(rig, 300);
    }

    [Theory]
    [InlineData(VtdTables.Legacy4, NoType, 1)]
    [InlineData(VtdTables.Legacy4, ReservedBit, 2)]
    [InlineData(VtdTables.SecondStage, NoType, 2)]
    [InlineData(VtdTables.FirstStage, ReservedBit, 1)]
    [Trait("Requirement", "S4.15")]
    public void A_descriptor_that_is_refused_is_not_taken_for_done_and_the_queue_goes_on(VtdTables tables, ulong descriptor, int times)
    {
        SpoiltCommands? spoilt = null;
        using VtdRig rig = new(new() { Tables = tables, Registers = registers => spoilt = Spoil(registers, descriptor) });
        spoilt!.Memory = rig.Memory;
        QueueChecks.GoesOnAfterRefusal(rig, spoilt, times, "IQE");
    }

    [Theory]
    [InlineData(VtdTables.Legacy4)]
    [InlineData(VtdTables.SecondStage)]
    [Trait("Requirement", "S4.15")]
    public void A_queue_that_stays_broken_gives_an_error_and_no_page_back(VtdTables tables)
    {
        SpoiltCommands? spoilt = null;
        SettableClock clock = new();
        using VtdRig rig = new(new()
        {
            Tables = tables,
            Registers = registers => spoilt = Spoil(registers, NoType),
            Driver = new() { TimeProvider = clock, CommandTimeout = TimeSpan.FromMilliseconds(1), Quirks = VtdRig.Quirks },
        });
        spoilt!.Memory = rig.Memory;
        QueueChecks.GivesNoPageBackWhileBroken(rig, spoilt, clock, rig.DriverOptions.CommandTimeout);
    }

    private static SpoiltCommands Spoil(IRegisterWindow registers, ulong becomes) =>
        new(registers, RegisterOffset.InvalidationQueueTail, NextDescriptor, becomes);

    // The head, if the tail moves.
    private static PhysicalAddress? NextDescriptor(IRegisterWindow registers, ulong tail) =>
        registers.Read64(RegisterOffset.InvalidationQueueTail) != tail
        && (registers.Read32(RegisterOffset.GlobalStatus) & GlobalControl.QueuedInvalidationEnableBit) != 0
        && (registers.Read64(RegisterOffset.InvalidationQueueHead) & Intel.Architecture.InvalidationQueue.OffsetMask) is var head && head != tail
            ? new((registers.Read64(RegisterOffset.InvalidationQueueAddress) & ~0xffful) + head)
            : null;
}
