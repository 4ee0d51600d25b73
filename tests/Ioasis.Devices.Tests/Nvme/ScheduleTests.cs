using Ioasis.Devices.Nvme;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Doorbells that meet a reset, the end, each other, and another controller's, in every order that matters.</summary>
public sealed class ScheduleTests
{
    private static readonly Command s_flush = new(NvmeIoOpcode.Flush) { Namespace = 1 };

    /// <summary>A controller with commands in its queue that move data.</summary>
    private abstract class NvmeScenario : DeviceScenario<NvmeHost>
    {
        protected NvmeScenario(NvmeMisbehaviour? wrong = null)
            : base(NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }], Queues = 4, Misbehaviour = wrong }, memory: 1 << 20))
        {
            Queue = Host.CreateQueue(entries: 8);
            for (int i = 0; i < 3; i++)
            {
                _ = Queue.Put(Command.Blocks(NvmeIoOpcode.Read, (ulong)i, 1, Data));
            }
        }

        protected QueuePair Queue { get; }
    }

    private sealed class DoorbellAgainstFunctionReset : NvmeScenario
    {
        public DoorbellAgainstFunctionReset()
        {
            AddThread("doorbell", Queue.Ring);
            AddFunctionReset();
        }

        public override void CheckAtEnd()
        {
            Permit();
            Host.Status.ShouldBe(0u);
            Host.Enable();
            _ = Host.CreateQueue().Succeed(s_flush);
        }
    }

    private sealed class DoorbellAgainstDisable : NvmeScenario
    {
        public DoorbellAgainstDisable()
        {
            AddThread("doorbell", Queue.Ring);
            AddThread("disable", () =>
            {
                Host.Write32(NvmeRegisters.Configuration, 0);
                WaitUntil(() => (Host.Status & NvmeRegisters.Ready) == 0);
                Forbid();
            });
        }

        public override void CheckAtEnd()
        {
            Permit();
            Host.Enable();
            _ = Host.CreateQueue().Succeed(s_flush);
        }
    }

    private sealed class DoorbellAgainstDoorbell : NvmeScenario
    {
        private readonly QueuePair _other;

        public DoorbellAgainstDoorbell()
        {
            _other = Host.CreateQueue(2, 8);
            _ = _other.Put(s_flush);
            AddThread("first", Queue.Ring);
            AddThread("second", _other.Ring);
            AddThread("admin", () => Host.Admin.Submit(Command.Identify(1, 0, Host.Memory.Allocate(4096))));
        }

        public override void CheckAtEnd()
        {
            Queue.Take().Count.ShouldBe(3);
            _ = _other.Take().ShouldHaveSingleItem();
            _ = Host.Admin.Take().ShouldHaveSingleItem();
        }
    }

    private sealed class DoorbellAgainstQueueDeletion : NvmeScenario
    {
        public DoorbellAgainstQueueDeletion()
        {
            AddThread("doorbell", Queue.Ring);
            AddThread("delete", () => Host.Admin.Submit(new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 1 }));
        }

        public override void CheckAtEnd()
        {
            Host.Admin.Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.Success);

            // What was fetched before is complete; nothing comes after.
            _ = Queue.Take(rings: false);
            _ = Queue.Put(s_flush);
            Queue.Ring();
            Queue.Take(rings: false).ShouldBeEmpty();
            Host.Status.ShouldBe(NvmeRegisters.Ready);
        }
    }

    private sealed class DoorbellAgainstTheEnd : NvmeScenario
    {
        public DoorbellAgainstTheEnd()
        {
            AddThread("doorbell", Queue.TryRing);
            AddClose();
        }
    }

    private sealed class DoorbellAgainstRemoval : NvmeScenario
    {
        public DoorbellAgainstRemoval()
            : base(new() { GoneAt = 2 })
        {
            QueuePair other = Host.CreateQueue(2, 8);
            _ = other.Put(s_flush);
            AddThread("first", Queue.Ring);
            AddThread("second", other.Ring);
            AddThread("watch", () =>
            {
                WaitUntil(() => Host.Status == uint.MaxValue);
                Forbid();
            });
        }
    }

    private sealed class UnmapAgainstTransfer : NvmeScenario
    {
        public UnmapAgainstTransfer()
        {
            AddThread("doorbell", Queue.Ring);
            AddUnmap();
        }

        public override void CheckAtEnd()
        {
            CheckThatNothingLanded();
            List<Completion> all = Queue.Take();
            all.Count.ShouldBe(3);
            all.ShouldAllBe(static completion => completion.Code == NvmeStatus.Success || completion.Code == NvmeStatus.DataTransferError);

            // Once it is unmapped it stays so.
            int refused = all.FindIndex(static completion => completion.Code == NvmeStatus.DataTransferError);
            all.Skip(refused < 0 ? 3 : refused).ShouldAllBe(static completion => completion.Code == NvmeStatus.DataTransferError);
        }
    }

    /// <summary>Each reads into the other's doorbells, which are at 16 MiB of its bus.</summary>
    private sealed class TwoThatRingEachOther : Scenario
    {
        private const ulong Window = 16 << 20;

        private readonly NvmeHost[] _hosts = new NvmeHost[2];
        private readonly QueuePair[] _queues = new QueuePair[2];

        public TwoThatRingEachOther()
        {
            for (int i = 0; i < 2; i++)
            {
                int other = 1 - i;
                NvmeController controller = new(new() { Namespaces = [new() { Size = 1 << 20 }], Queues = 4 });
                WindowPort port = new(source => _hosts[other].Write32(NvmeRegisters.Doorbells + 16, source));
                _hosts[i] = new(controller, memory: 1 << 20, port: port);
                port.Memory = _hosts[i].Memory;
                _hosts[i].Enable();
                _queues[i] = _hosts[i].CreateQueue(entries: 8);
                _ = _hosts[i].CreateQueue(2, 8);
                _ = _queues[i].Put(Command.Blocks(NvmeIoOpcode.Read, 0, 1, Window));
            }

            AddThread("first", _queues[0].Ring);
            AddThread("second", _queues[1].Ring);
        }

        public override void CheckAtEnd()
        {
            _queues[0].Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.Success);
            _queues[1].Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.Success);
        }

        protected override void Dispose(bool disposing)
        {
            _hosts[0].Dispose();
            _hosts[1].Dispose();
            base.Dispose(disposing);
        }

        private sealed class WindowPort(Action<uint> ring) : IDmaPort
        {
            public HostMemory Memory { get; set; } = null!;

            public void Translate(in DmaRequest request, out DmaTranslation translation) => Memory.Translate(request, out translation);

            public DmaStatus Read(in DmaRequest request, Span<byte> destination) => Memory.Read(request, destination);

            public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
            {
                if (request.Address.Value < Window)
                {
                    return Memory.Write(request, source);
                }

                ring(BitConverter.ToUInt32(source));
                return DmaStatus.Success;
            }
        }
    }

    [Fact]
    public void No_DMA_leaves_after_a_function_reset_has_returned() => DeviceSchedules.Holds(static () => new DoorbellAgainstFunctionReset());

    [Fact]
    public void No_DMA_leaves_once_a_disabled_controller_says_that_it_is_not_ready() => DeviceSchedules.Holds(static () => new DoorbellAgainstDisable());

    [Fact]
    public void No_doorbell_is_lost_whoever_rings_at_the_same_time() => DeviceSchedules.Holds(static () => new DoorbellAgainstDoorbell());

    [Fact]
    public void A_queue_that_is_deleted_while_its_doorbell_rings_completes_what_was_fetched() => DeviceSchedules.Holds(static () => new DoorbellAgainstQueueDeletion());

    [Fact]
    public void No_DMA_leaves_after_the_last_close() => DeviceSchedules.Holds(static () => new DoorbellAgainstTheEnd());

    [Fact]
    public void No_DMA_leaves_a_controller_that_is_gone() => DeviceSchedules.Holds(static () => new DoorbellAgainstRemoval());

    [Fact]
    public void No_byte_lands_after_its_mapping_went() => DeviceSchedules.Holds(static () => new UnmapAgainstTransfer());

    [Fact]
    public void Controllers_that_ring_each_others_doorbells_do_not_stop_each_other() => DeviceSchedules.Holds(static () => new TwoThatRingEachOther());
}
