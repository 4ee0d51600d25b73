using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>
/// A command queue that fails at random positions under several threads: whatever a call says is done is done, and nobody waits
/// for ever (S4.15).
/// </summary>
[Collection("schedules")]
public class RecoveryTests
{
    private const uint Rounds = 400;

    /// <summary>What goes wrong.</summary>
    public enum Trouble
    {
        /// <summary>The hardware cannot read a command: CQMF.</summary>
        Unreadable,

        /// <summary>The hardware reads nonsense: CMD_ILL.</summary>
        Illegal,

        /// <summary>A device lets an ATS invalidation time out: CMD_TO.</summary>
        TimedOut,

        /// <summary>All of it.</summary>
        Everything,
    }

    [Theory]
    [InlineData(Trouble.Unreadable, 1)]
    [InlineData(Trouble.Unreadable, 2)]
    [InlineData(Trouble.Illegal, 3)]
    [InlineData(Trouble.Illegal, 4)]
    [InlineData(Trouble.TimedOut, 5)]
    [InlineData(Trouble.Everything, 6)]
    [Trait("Requirement", "S4.15")]
    public void An_unmap_that_succeeds_has_taken_place_whatever_befell_the_queue(Trouble trouble, int seed)
    {
        TroubledMemory? memory = null;
        using Rig rig = new(new()
        {
            HardwareMemory = inner => memory = new(inner, seed, (ulong)CommandBits.OpcodeMask),
            Driver = new() { CommandQueueSizeLog2 = 6 },
        });
        ulong register = rig.Hardware.Read64(RegisterOffset.CommandQueueBase);
        memory!.Locate(PpnField.ToAddress(register), (2ul << (int)(register & QueueBase.Log2SizeMinus1Mask)) * QueueBase.CommandSize);
        IommuDevice device = rig.AddDevice(0x10, ats: trouble is Trouble.TimedOut or Trouble.Everything);
        PagingDomain first = rig.NewDomain(device);
        PagingDomain second = rig.NewSecondStage(device);
        IommuDevice other = rig.AddDevice(0x18);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        other.Group.Attach(second).ShouldBe(Errno.Success);
        memory.IsUnreadable = trouble is Trouble.Unreadable or Trouble.Everything;
        memory.IsIllegal = trouble is Trouble.Illegal or Trouble.Everything;
        bool misses = trouble is Trouble.TimedOut or Trouble.Everything;
        ThreadsOnDriver threads = new(rig.Hardware, static () => { }, TestContext.Current.CancellationToken);

        // Two threads with the first stage, one with the second.
        long unconfirmed = threads.UnmapInTrouble(
            [(first, device), (first, device), (second, other)],
            Rounds,
            (index, round) =>
            {
                if (misses && index == 0 && round % 50 == 7)
                {
                    rig.CacheOf(device).Misses = 1;
                }
            },
            static () => Thread.Sleep(100));
        memory.IsUnreadable = memory.IsIllegal = false;
        rig.Driver.Statistics.QueueRecoveries.ShouldBeGreaterThan(0);

        // An error is an exception, not the rule: most was made good by trying again. A round counts once, however long its queue stays off.
        unconfirmed.ShouldBeLessThan(3 * Rounds / 10);
        device.Group.Detach().ShouldBe(Errno.Success);
        other.Group.Detach().ShouldBe(Errno.Success);
        first.Dispose();
        second.Dispose();
    }
}
