using System.Buffers.Binary;
using Ioasis.Devices.Nvme;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Queues (base specification 2.0, sections 3.3, 5.4 to 5.7).</summary>
public sealed class QueueTests
{
    private static NvmeOptions Small { get; } = new() { Namespaces = [new() { Size = 1 << 20 }], Queues = 4, QueueEntries = 1024 };

    [Fact]
    public void Queues_wrap_with_their_phase_many_times()
    {
        using NvmeHost host = NvmeHost.Ready();
        QueuePair queue = host.CreateQueue(entries: 5);
        for (int i = 0; i < 23; i++)
        {
            Completion completion = queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
            completion.Head.ShouldBe((ushort)((i + 1) % 5));
        }
    }

    [Fact]
    public void A_queue_has_up_to_65536_entries()
    {
        using NvmeHost host = NvmeHost.Ready(memory: 24 << 20);
        QueuePair queue = host.CreateQueue(entries: 65536);
        for (int i = 0; i < 65535; i++)
        {
            _ = queue.Put(new(NvmeIoOpcode.Flush) { Namespace = 1, Id = (ushort)i });
        }

        queue.Ring();
        List<Completion> all = queue.Take();
        all.Count.ShouldBe(65535);
        all.ShouldAllBe(static completion => completion.Status == NvmeStatus.Success);
        _ = queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        _ = queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        queue.Head.ShouldBe(1u);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reads_at_depth_32_with_their_doorbells_and_interrupts_allocate_nothing(bool shadow)
    {
        const int Depth = 32;
        const int Rounds = 200;
        using NvmeHost host = NvmeHost.Ready(Small);
        host.Connect(VfioPciInterrupt.MsiX, 5);
        ulong doorbells = host.Memory.Allocate(4096);
        if (shadow)
        {
            _ = host.Admin.Succeed(new(NvmeAdminOpcode.DoorbellBufferConfig) { Data1 = doorbells, Data2 = host.Memory.Allocate(4096) });
        }

        // As many entries as commands at a time, and one more: each round all of the ring is new.
        QueuePair queue = host.CreateQueue(entries: Depth + 1);
        ulong data = host.Memory.Allocate(4096);
        for (uint i = 0; i <= Depth; i++)
        {
            Command.Blocks(NvmeIoOpcode.Read, i, 8, data).WriteTo(host.Memory[queue.Submission + (i * 64), 64], (ushort)i);
        }

        uint position = 0;
        Round();
        _ = host.TakeSignals();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Rounds; i++)
        {
            Round();
        }

        (GC.GetAllocatedBytesForCurrentThread() - before).ShouldBe(0);
        host.Controller.Completed.ShouldBeGreaterThanOrEqualTo(Depth * (Rounds + 1));
        host.TakeSignals().ShouldBe(Rounds);

        void Round()
        {
            position = (position + Depth) % (Depth + 1);
            BinaryPrimitives.WriteUInt32LittleEndian(host.Memory[doorbells + 8, 4], position);
            _ = host.TryWrite32(NvmeRegisters.Doorbells + 8, position);
            BinaryPrimitives.WriteUInt32LittleEndian(host.Memory[doorbells + 12, 4], position);
            _ = host.TryWrite32(NvmeRegisters.Doorbells + 12, position);
        }
    }

    [Fact]
    public void A_full_completion_queue_holds_up_its_commands_until_the_driver_takes_entries()
    {
        using NvmeHost host = NvmeHost.Ready();
        ulong completionAt = host.Memory.Allocate(4096);
        _ = host.Admin.Succeed(NvmeHost.CreateCompletion(1, 4, completionAt));
        ulong submissionAt = host.Memory.Allocate(4096);
        _ = host.Admin.Succeed(NvmeHost.CreateSubmission(1, 64, submissionAt, 1));
        QueuePair queue = new(host, 1, 4, submissionAt, completionAt);
        for (ushort i = 0; i < 10; i++)
        {
            new Command(NvmeIoOpcode.Flush) { Namespace = 1 }.WriteTo(host.Memory[submissionAt + (i * 64ul), 64], i);
        }

        host.Write32(NvmeRegisters.Doorbells + 8, 10);
        List<Completion> all = queue.Take(rings: false);
        all.Select(static completion => completion.Id).ShouldBe([0, 1, 2]);
        queue.RingHead();
        all.AddRange(queue.Take());
        all.AddRange(queue.Take());
        all.AddRange(queue.Take());
        all.Select(static completion => (int)completion.Id).ShouldBe(Enumerable.Range(0, 10));
    }

    [Fact]
    public void Several_submission_queues_share_a_completion_queue()
    {
        using NvmeHost host = NvmeHost.Ready(Small);
        QueuePair first = host.CreateQueue(1);
        QueuePair second = host.CreateQueue(2, completion: 1);
        _ = second.Submit(new(NvmeIoOpcode.Flush) { Namespace = 1, Id = 77 });
        Completion completion = first.Take().ShouldHaveSingleItem();
        (completion.Id, completion.Queue).ShouldBe(((ushort)77, (ushort)2));
        host.Admin.Refuse(NvmeStatus.InvalidQueueDeletion, new(NvmeAdminOpcode.DeleteCompletionQueue) { Word10 = 1 });
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 1 });
        host.Admin.Refuse(NvmeStatus.InvalidQueueDeletion, new(NvmeAdminOpcode.DeleteCompletionQueue) { Word10 = 1 });
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 2 });
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.DeleteCompletionQueue) { Word10 = 1 });
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, new(NvmeAdminOpcode.DeleteCompletionQueue) { Word10 = 1 });
    }

    [Fact]
    public void Queues_are_created_only_as_the_specification_permits()
    {
        using NvmeHost host = NvmeHost.Ready(Small);
        ulong memory = host.Memory.Allocate(65536);
        Command good = NvmeHost.CreateCompletion(1, 64, memory);
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateCompletion(0, 64, memory));
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateCompletion(5, 64, memory));
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateCompletion(1, 1, memory));
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateCompletion(1, 1025, memory));
        host.Admin.Refuse(NvmeStatus.InvalidField, good with { Word11 = 2 });
        host.Admin.Refuse(NvmeStatus.PrpOffsetInvalid, NvmeHost.CreateCompletion(1, 64, memory + 64));
        host.Admin.Refuse(NvmeStatus.InvalidInterruptVector, NvmeHost.CreateCompletion(1, 64, memory, vector: 5));
        _ = host.Admin.Succeed(good);
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, good);

        Command submission = NvmeHost.CreateSubmission(1, 64, memory + 4096, 1);
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateSubmission(0, 64, memory, 1));
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateSubmission(5, 64, memory, 1));
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateSubmission(1, 1, memory, 1));
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateSubmission(1, 1025, memory, 1));
        host.Admin.Refuse(NvmeStatus.CompletionQueueInvalid, NvmeHost.CreateSubmission(1, 64, memory, 2));
        host.Admin.Refuse(NvmeStatus.CompletionQueueInvalid, NvmeHost.CreateSubmission(1, 64, memory, 200));
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, NvmeHost.CreateSubmission(1, 64, memory, 0));
        host.Admin.Refuse(NvmeStatus.InvalidField, submission with { Word11 = 1 << 16 });
        host.Admin.Refuse(NvmeStatus.PrpOffsetInvalid, NvmeHost.CreateSubmission(1, 64, memory + 8, 1));
        _ = host.Admin.Succeed(submission);
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, submission);
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 0 });
        host.Admin.Refuse(NvmeStatus.InvalidQueueId, new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 3 });
    }

    [Fact]
    public void Entry_sizes_are_set_before_queues_are_created()
    {
        using NvmeHost host = new(Small);
        host.Enable(configuration: 1);
        ulong memory = host.Memory.Allocate(8192);
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateCompletion(1, 64, memory));
        host.Write32(NvmeRegisters.Configuration, 0x46_0001);
        _ = host.Admin.Succeed(NvmeHost.CreateCompletion(1, 64, memory));
        host.Write32(NvmeRegisters.Configuration, 0x40_0001);
        host.Admin.Refuse(NvmeStatus.InvalidQueueSize, NvmeHost.CreateSubmission(1, 64, memory + 4096, 1));
    }

    [Fact]
    public void Doorbells_that_cannot_be_are_told_by_an_event_and_move_nothing()
    {
        using NvmeHost host = NvmeHost.Ready(Small);
        QueuePair queue = host.CreateQueue(1, 64);
        foreach ((uint offset, uint value, uint information) in new[] { (8u, 64u, 1u), (12u, 3u, 1u), (12u, 64u, 1u), (16u, 1u, 0u), (20u, 0u, 0u), (0xff0u, 1u, 0u) })
        {
            ushort request = host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest));
            host.Admin.Take().ShouldBeEmpty();
            host.Write32(NvmeRegisters.Doorbells + offset, value);
            Completion told = host.Admin.Take().ShouldHaveSingleItem();
            (told.Id, told.Status, told.Value).ShouldBe((request, NvmeStatus.Success, (ulong)(0 | (information << 8) | (1 << 16))));

            // The type stays silent until its log page is read.
            _ = host.Admin.Succeed(Logs.Get(1, host.Memory.Allocate(4096), 64));
        }

        _ = queue.Succeed(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        host.Status.ShouldBe(NvmeRegisters.Ready);
    }

    [Fact]
    public void The_next_command_of_a_deleted_queue_is_not_done()
    {
        using NvmeHost host = NvmeHost.Ready(Small);
        QueuePair queue = host.CreateQueue(1);
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 1 });
        _ = queue.Submit(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        queue.Take().ShouldBeEmpty();
    }

    [Fact]
    public void Unknown_and_malformed_admin_commands_are_refused()
    {
        using NvmeHost host = NvmeHost.Ready(Small);
        foreach (byte opcode in (byte[])[0x03, 0x0d, 0x10, 0x11, 0x14, 0x18, 0x19, 0x1a, 0x20, 0x7f, 0x81, 0x82, 0x84, 0xc0, 0xff])
        {
            Completion completion = host.Admin.Execute(new(opcode));
            completion.Code.ShouldBe(NvmeStatus.InvalidOpcode);
            completion.MustNotRetry.ShouldBeTrue();
        }

        // Fused, and data by SGL, which admin commands on PCIe do not have.
        host.Admin.Refuse(NvmeStatus.InvalidField, new(NvmeAdminOpcode.Identify) { Flags = 1, Word10 = 1 });
        host.Admin.Refuse(NvmeStatus.InvalidField, new(NvmeAdminOpcode.Identify) { Flags = 0x40, Word10 = 1 });
    }
}

/// <summary>Get Log Page as a driver builds it.</summary>
internal static class Logs
{
    public static Command Get(byte page, ulong data, int bytes, ulong offset = 0, bool keepsEvent = false, uint space = uint.MaxValue) =>
        new(NvmeAdminOpcode.GetLogPage)
        {
            Namespace = space,
            Data1 = data,
            Word10 = page | (keepsEvent ? 1u << 15 : 0) | (((uint)(bytes / 4) - 1) << 16),
            Word11 = ((uint)(bytes / 4) - 1) >> 16,
            Word12 = (uint)offset,
            Word13 = (uint)(offset >> 32),
        };
}
