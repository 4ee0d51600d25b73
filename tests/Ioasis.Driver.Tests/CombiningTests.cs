using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Threads that invalidate while another has the command queue: it carries out their commands with one fence.</summary>
[Trait("Requirement", "S4.15")]
public class CombiningTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;

    [Fact]
    public void What_was_posted_while_the_queue_was_taken_is_done_under_one_fence()
    {
        using Bench bench = new(domains: 4);
        long fences = bench.Fences;
        long invalidations = bench.Invalidations;
        bench.UnmapTogether(pages: 1, waitFor: 3);
        (bench.Fences - fences, bench.Invalidations - invalidations).ShouldBe((2, 4));
        bench.ShouldReachNothing();
    }

    [Fact]
    public void Commands_that_are_too_many_for_the_board_wait_for_the_queue()
    {
        using Bench bench = new(domains: 3);
        bench.UnmapTogether(CommandBoard.MaxCommands + 1, waitFor: 0);
        bench.ShouldReachNothing();
    }

    [Fact]
    public void A_thread_that_finds_no_place_on_the_board_waits_for_the_queue()
    {
        using Bench bench = new(domains: CommandBoard.Places + 3);
        bench.UnmapTogether(pages: 1, waitFor: CommandBoard.Places);
        bench.ShouldReachNothing();
    }

    [Fact]
    public void A_ring_that_is_too_small_for_all_takes_them_by_and_by()
    {
        // Room for four commands a batch, of which three come from each thread.
        using Bench bench = new(domains: 5, queueSizeLog2: CommandQueue.MinSizeLog2);
        bench.UnmapTogether(pages: 3, waitFor: CommandBoard.Places);
        bench.ShouldReachNothing();
    }

    [Fact]
    public void Who_waits_on_the_board_of_an_IOMMU_that_is_removed_is_told()
    {
        using Bench bench = new(domains: 3);
        bench.UnmapTogether(pages: 1, waitFor: 2, removes: true);
        bench.Rig.Driver.Commands.PostedCount.ShouldBe(0);
    }

    private sealed class Bench : IDisposable
    {
        private readonly IommuDevice[] _devices;
        private readonly RiscVPagingDomain[] _domains;
        private DoorbellGate _gate = null!;

        public Bench(int domains, int queueSizeLog2 = 8)
        {
            Rig = new(new()
            {
                Registers = window => _gate = new(window),
                Driver = new() { CommandQueueSizeLog2 = queueSizeLog2, InvalidationCommandLimit = 16 },
            });
            _devices = [.. Enumerable.Range(1, domains).Select(id => Rig.AddDevice((uint)id))];
            _domains = [.. _devices.Select(device => Rig.NewDomain(device))];
            for (int i = 0; i < domains; i++)
            {
                _devices[i].Group.Attach(_domains[i]).ShouldBe(Errno.Success);
                _domains[i].ShouldMap(Iova, Target, 16 * Rig.Page);
                Rig.ShouldReach(_devices[i], Iova, Target);
            }
        }

        public Rig Rig { get; }

        public long Fences => Rig.Driver.Statistics.Fences;

        public long Invalidations => Rig.Driver.Statistics.FirstStageInvalidations;

        // The first thread stands at the doorbell, with the lock of the queue, until enough others have posted.
        public void UnmapTogether(int pages, int waitFor, bool removes = false)
        {
            using ManualResetEventSlim atDoorbell = new();
            _gate.AtDoorbell = () =>
            {
                _gate.AtDoorbell = null;
                atDoorbell.Set();
                SpinWait.SpinUntil(() => Rig.Driver.Commands.PostedCount >= waitFor, TimeSpan.FromSeconds(60)).ShouldBeTrue();
            };
            Exception? failure = null;
            Thread[] threads = [.. _domains.Select((domain, index) => new Thread(() =>
            {
                try
                {
                    if (index > 0)
                    {
                        atDoorbell.Wait();
                    }

                    domain.ShouldUnmap(Iova, (ulong)pages * Rig.Page);
                }
                catch (Exception error)
                {
                    failure = error;
                }
            }))];
            Array.ForEach(threads, static thread => thread.Start());
            if (removes)
            {
                atDoorbell.Wait();
                Rig.Driver.Dispose();
            }

            Array.ForEach(threads, static thread => thread.Join());
            failure.ShouldBeNull();
        }

        public void ShouldReachNothing()
        {
            foreach (IommuDevice device in _devices)
            {
                Rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
            }
        }

        public void Dispose() => Rig.Dispose();
    }

    private sealed class DoorbellGate(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public Action? AtDoorbell { get; set; }

        public override void Write32(uint offset, uint value)
        {
            if (offset == RegisterOffset.CommandQueueTail)
            {
                AtDoorbell?.Invoke();
            }

            base.Write32(offset, value);
        }
    }
}
