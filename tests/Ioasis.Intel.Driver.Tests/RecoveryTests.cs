using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>How a queue that stopped gets on again (section 6.5.2.11), where its memory does not answer several times in a row.</summary>
public sealed class RecoveryTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    /// <summary>
    /// The first failure stops the queue. The next ones come while it runs empty, which is tried twice; the fourth stops it when everything
    /// went in again.
    /// </summary>
    [Theory]
    [InlineData("scalable", 1, 1)]
    [InlineData("scalable", 2, 1)]
    [InlineData("scalable", 3, 1)]
    [InlineData("scalable", 4, 2)]
    [InlineData("legacy", 2, 1)]
    [InlineData("legacy", 3, 1)]
    [Trait("Requirement", "S4.15")]
    public void A_queue_that_stops_again_while_it_runs_empty_is_restarted_without_waiting(string kind, int failures, int recoveries)
    {
        RingMemory? memory = null;
        SteppingTime time = new();
        RigOptions options = AttachTests.OptionsOf(kind);
        using Rig rig = new(options with
        {
            HardwareMemory = inner => memory = new(inner),
            Driver = options.Driver with { TimeProvider = time },
        });
        IommuDevice device = rig.AddDevice(0x10);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(Iova, Target);
        rig.Dma(device, Iova).Status.ShouldBe(DmaStatus.Success);
        memory!.Start = rig.Hardware.Read64(RegisterOffset.InvalidationQueueAddress) & ~0xffful;
        memory.Failures = failures;
        long before = time.Steps;
        domain.ShouldUnmap(Iova);
        memory.Failures.ShouldBe(0);
        rig.Dma(device, Iova).Status.ShouldNotBe(DmaStatus.Success);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(recoveries);

        // A wait for something that cannot come would look at the clock until the limit is over.
        (time.Steps - before).ShouldBeLessThan(SteppingTime.StepsOf(options.Driver.CommandTimeout));
    }

    /// <summary>Memory whose first page of a ring does not answer some times.</summary>
    private sealed class RingMemory(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        public ulong Start { get; set; }

        public int Failures { get; set; }

        public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            if (Failures > 0 && Start != 0 && address.Value - Start < 4096)
            {
                Failures--;
                value = 0;
                return MemoryStatus.AccessFault;
            }

            return base.Read64(address, out value);
        }
    }

    /// <summary>A clock that goes on by 10 ms whenever somebody looks at it.</summary>
    private sealed class SteppingTime : TimeProvider
    {
        private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(10);

        public long Steps { get; private set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public static long StepsOf(TimeSpan time) => time.Ticks / s_step.Ticks;

        public override long GetTimestamp() => ++Steps * s_step.Ticks;
    }
}
