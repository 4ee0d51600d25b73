using Ioasis.Devices.Nvme;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Doorbells that meet a reset, the end, each other, and another controller's, in every order that matters.</summary>
public sealed class ScheduleTests
{
    private static readonly Command s_flush = new(NvmeIoOpcode.Flush) { Namespace = 1 };

    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 1,
        MaxSchedules = ExplorerOptions.All ? 100_000 : 1500,
        RandomSchedules = ExplorerOptions.All ? 5000 : 100,
    };

    private static void Holds(Func<Scenario> create) =>
        TestContext.Current.TestOutputHelper?.WriteLine(ScheduleExplorer.Explore(create, Options).ShouldHold().ToString());

    /// <summary>A controller with commands in its queue that move data; no DMA once <see cref="Forbid"/> was called.</summary>
    private abstract class NvmeScenario : Scenario
    {
        private bool _isForbidden;

        protected NvmeScenario(NvmeMisbehaviour? wrong = null)
        {
            Host = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }], Queues = 4, Misbehaviour = wrong }, memory: 1 << 20);
            Queue = Host.CreateQueue(entries: 8);
            Data = Host.Memory.Allocate(4096);
            for (int i = 0; i < 3; i++)
            {
                _ = Queue.Put(Command.Blocks(NvmeIoOpcode.Read, (ulong)i, 1, Data));
            }

            Host.Memory.OnAccess = (request, _) =>
                _isForbidden.ShouldBeFalse($"DMA to 0x{request.Address.Value:x} after the controller was to be at rest");
        }

        protected NvmeHost Host { get; }

        protected QueuePair Queue { get; }

        protected ulong Data { get; }

        protected void Forbid() => _isForbidden = true;

        protected void Permit() => _isForbidden = false;

        protected override void Dispose(bool disposing)
        {
            Host.Dispose();
            base.Dispose(disposing);
        }
    }

    private sealed class DoorbellAgainstFunctionReset : NvmeScenario
    {
        public DoorbellAgainstFunctionReset()
        {
            AddThread("doorbell", Queue.Ring);
            AddThread("reset", () =>
            {
                Host.Backend.Reset().ShouldBe(Errno.Success);
                Forbid();
            });
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
                while ((Host.Status & NvmeRegisters.Ready) != 0)
                {
                    _ = Injection.Hit(InjectionKind.Wait);
                }

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
            AddThread("close", () =>
            {
                Host.Backend.Close();
                Forbid();
            });
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
                while (Host.Status != uint.MaxValue)
                {
                    _ = Injection.Hit(InjectionKind.Wait);
                }

                Forbid();
            });
        }
    }

    private sealed class UnmapAgainstTransfer : NvmeScenario
    {
        private byte[] _before = [];

        public UnmapAgainstTransfer()
        {
            Host.Memory[Data, 512].Fill(0xee);
            AddThread("doorbell", Queue.Ring);
            AddThread("unmap", () =>
            {
                Host.Memory.SetMapped(Data, 4096, false);
                _before = Host.Memory[Data, 4096].ToArray();
            });
        }

        public override void CheckAtEnd()
        {
            Host.Memory[Data, 4096].SequenceEqual(_before).ShouldBeTrue();
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
    public void No_DMA_leaves_after_a_function_reset_has_returned() => Holds(static () => new DoorbellAgainstFunctionReset());

    [Fact]
    public void No_DMA_leaves_once_a_disabled_controller_says_that_it_is_not_ready() => Holds(static () => new DoorbellAgainstDisable());

    [Fact]
    public void No_doorbell_is_lost_whoever_rings_at_the_same_time() => Holds(static () => new DoorbellAgainstDoorbell());

    [Fact]
    public void A_queue_that_is_deleted_while_its_doorbell_rings_completes_what_was_fetched() => Holds(static () => new DoorbellAgainstQueueDeletion());

    [Fact]
    public void No_DMA_leaves_after_the_last_close() => Holds(static () => new DoorbellAgainstTheEnd());

    [Fact]
    public void No_DMA_leaves_a_controller_that_is_gone() => Holds(static () => new DoorbellAgainstRemoval());

    [Fact]
    public void No_byte_lands_after_its_mapping_went() => Holds(static () => new UnmapAgainstTransfer());

    [Fact]
    public void Controllers_that_ring_each_others_doorbells_do_not_stop_each_other() => Holds(static () => new TwoThatRingEachOther());
}
