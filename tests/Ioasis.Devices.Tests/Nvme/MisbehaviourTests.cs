using Ioasis.Devices.Nvme;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>A controller that misbehaves on request, as a line of text asks for it.</summary>
public sealed class MisbehaviourTests
{
    private static readonly Command s_flush = new(NvmeIoOpcode.Flush) { Namespace = 1 };

    private static NvmeHost Ready(string wrong, TimeProvider? time = null)
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.TryCreate($"nvme,size=1M,{wrong}", out PciDevice? device, out _).ShouldBeNull();
        NvmeController controller = (NvmeController)device!;
        if (time is not null)
        {
            NvmeMisbehaviour asked = controller.Options.Misbehaviour!;
            controller.Dispose();
            controller = new(new() { Namespaces = [new() { Size = 1 << 20 }], Misbehaviour = asked, TimeProvider = time });
        }

        NvmeHost host = new(controller);
        host.Enable();
        return host;
    }

    [Fact]
    public void A_command_fails_at_its_block_with_the_status_that_was_asked_for()
    {
        using NvmeHost host = Ready("fail=read@100:0x281,fail=write:0x280");
        QueuePair queue = host.CreateQueue();
        ulong data = host.Memory.Allocate(8192);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 92, 8, data));
        queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(NvmeIoOpcode.Read, 93, 8, data));
        queue.Refuse(NvmeStatus.UnrecoveredReadError, Command.Blocks(NvmeIoOpcode.Read, 100, 1, data));
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 101, 1, data));
        queue.Refuse(NvmeStatus.WriteFault, Command.Blocks(NvmeIoOpcode.Write, 0, 1, data));
        host.Controller.Misdeeds.Select(static misdeed => misdeed.Number).ShouldBe([2L, 3L, 5L]);
    }

    [Fact]
    public void A_command_is_done_late_and_can_be_aborted_or_end_with_its_queue_or_a_reset()
    {
        HandTime time = new();
        using NvmeHost host = Ready("delay=flush:10ms,delay=read:20ms", time);
        QueuePair queue = host.CreateQueue();
        ulong data = host.Memory.Allocate(4096);
        host.Memory[data, 512].Fill(0xee);
        _ = queue.Submit(Command.Blocks(NvmeIoOpcode.Read, 0, 1, data) with { Id = 5 });
        _ = queue.Submit(s_flush with { Id = 6 });
        queue.Take().ShouldBeEmpty();
        host.Controller.Pending.ShouldBe(2);
        time.Advance(TimeSpan.FromMilliseconds(11));
        queue.Take().ShouldHaveSingleItem().Id.ShouldBe((ushort)6);
        host.Memory[data, 1][0].ShouldBe((byte)0xee);
        time.Advance(TimeSpan.FromMilliseconds(10));
        queue.Take().ShouldHaveSingleItem().Id.ShouldBe((ushort)5);
        host.Memory[data, 1][0].ShouldBe((byte)0);

        // The same identifier twice is refused while the first is under way.
        _ = queue.Submit(s_flush with { Id = 8 });
        queue.Execute(s_flush with { Id = 8 }).Code.ShouldBe(NvmeStatus.CommandIdConflict);
        host.Admin.Succeed(new(NvmeAdminOpcode.Abort) { Word10 = 1 | (8u << 16) }).Value.ShouldBe(0ul);
        queue.Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.AbortRequested);
        _ = queue.Submit(s_flush with { Id = 9 });
        _ = host.Admin.Succeed(new(NvmeAdminOpcode.DeleteSubmissionQueue) { Word10 = 1 });
        queue.Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.AbortedQueueDeleted);
        _ = host.Admin.Succeed(NvmeHost.CreateSubmission(1, 64, queue.Submission, 1));
        QueuePair again = new(host, 1, 64, queue.Submission, queue.CompletionAt);
        _ = again.Submit(Command.Blocks(NvmeIoOpcode.Read, 0, 1, data));
        host.Memory[data, 512].Fill(0xee);
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.SetCommand(6);
        host.Controller.Pending.ShouldBe(0);
        time.Advance(TimeSpan.FromSeconds(1));
        host.Memory[data, 1][0].ShouldBe((byte)0xee);
    }

    [Fact]
    public void Interrupts_are_lost_or_late()
    {
        using NvmeHost lost = Ready("lose-interrupts=100");
        lost.Connect(VfioPciInterrupt.MsiX, 1);
        QueuePair queue = lost.CreateQueue();
        _ = queue.Succeed(s_flush);
        lost.TakeSignals().ShouldBe(0);
        lost.Controller.Misdeeds.ShouldNotBeEmpty();

        HandTime time = new();
        using NvmeHost late = Ready("late-interrupts=5ms", time);
        late.Connect(VfioPciInterrupt.MsiX, 1);
        queue = late.CreateQueue();
        _ = queue.Succeed(s_flush);
        late.TakeSignals().ShouldBe(0);
        time.Advance(TimeSpan.FromMilliseconds(6));
        late.TakeSignals().ShouldBeGreaterThan(0);
    }

    [Fact]
    public void Commands_complete_out_of_order_the_same_way_for_the_same_seed()
    {
        ushort[] Run(int seed)
        {
            using NvmeHost host = Ready($"reorder,seed={seed}");
            QueuePair queue = host.CreateQueue();
            for (ushort i = 0; i < 20; i++)
            {
                _ = queue.Put(s_flush with { Id = i });
            }

            queue.Ring();
            return [.. queue.Take().Select(static completion => completion.Id)];
        }

        ushort[] first = Run(7);
        first.Order().Select(static id => (int)id).ShouldBe(Enumerable.Range(0, 20));
        first.ShouldNotBe(first.Order().ToArray());
        Run(7).ShouldBe(first);
        Run(8).ShouldNotBe(first);
    }

    [Fact]
    public void Commands_complete_twice()
    {
        using NvmeHost host = Ready("twice=100");
        QueuePair queue = host.CreateQueue();
        _ = queue.Submit(s_flush with { Id = 3 });
        queue.Take().Select(static completion => completion.Id).ShouldBe([(ushort)3, (ushort)3]);
    }

    [Fact]
    public void Reads_write_to_stale_and_wild_addresses_and_say_whether_that_reached_memory()
    {
        using NvmeHost host = Ready("stale-dma=100,wild-dma=100,seed=3");
        QueuePair queue = host.CreateQueue();
        ulong first = host.Memory.Allocate(4096);
        ulong second = host.Memory.Allocate(4096);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, first));
        host.Memory[first, 1][0].ShouldBe((byte)0);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, second));
        host.Memory[first, 512].IndexOfAnyExcept((byte)0xdb).ShouldBe(-1);
        host.Memory.SetMapped(first, 4096, false);
        host.Memory.SetMapped(second, 4096, false);
        queue.Refuse(NvmeStatus.DataTransferError, Command.Blocks(NvmeIoOpcode.Read, 0, 1, second));
        host.Controller.Misdeeds.Count(static misdeed => misdeed.What.StartsWith("wild", StringComparison.Ordinal)).ShouldBe(2);
        host.Controller.Misdeeds.ShouldContain(static misdeed => misdeed.What.Contains("stale write", StringComparison.Ordinal) && misdeed.What.EndsWith("reached memory", StringComparison.Ordinal));
        host.Controller.Misdeeds.ShouldContain(static misdeed => misdeed.What.EndsWith("was refused", StringComparison.Ordinal));
    }

    [Fact]
    public void After_a_reset_the_data_of_the_last_read_is_written_once_more()
    {
        using NvmeHost host = Ready("dma-after-reset");
        QueuePair queue = host.CreateQueue();
        ulong data = host.Memory.Allocate(4096);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 0, 1, data));
        host.Memory[data, 1][0].ShouldBe((byte)0);
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Memory[data, 512].IndexOfAnyExcept((byte)0xdb).ShouldBe(-1);
    }

    [Fact]
    public void A_controller_that_is_gone_answers_all_ones_and_does_nothing_more()
    {
        using NvmeHost host = Ready("gone=3");
        QueuePair queue = host.CreateQueue();
        for (int i = 0; i < 5; i++)
        {
            _ = queue.Put(s_flush);
        }

        queue.Ring();
        queue.Take(rings: false).Count.ShouldBeLessThan(3);
        host.Status.ShouldBe(uint.MaxValue);
        host.Read64(NvmeRegisters.Capabilities).ShouldBe(ulong.MaxValue);
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.SetCommand(6);
        host.Status.ShouldBe(uint.MaxValue);
    }

    [Fact]
    public void A_controller_that_hangs_is_helped_by_a_reset_of_the_function_only()
    {
        using NvmeHost host = Ready("hung=2");
        QueuePair queue = host.CreateQueue();
        _ = queue.Succeed(s_flush);
        _ = queue.Submit(s_flush);
        _ = host.Admin.Submit(Command.Identify(1, 0, host.Memory.Allocate(4096)));
        queue.Take().ShouldBeEmpty();
        host.Admin.Take().ShouldBeEmpty();
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Status.ShouldBe(NvmeRegisters.Ready);
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.SetCommand(6);
        host.Status.ShouldBe(0u);
        host.Enable();
        _ = host.CreateQueue().Succeed(s_flush);
    }

    [Theory]
    [InlineData("fail=read", "fail=read: OPERATION[@LBA]:STATUS is expected.")]
    [InlineData("fail=reed:1", "any, flush, read")]
    [InlineData("fail=read@x:1", "a number is expected")]
    [InlineData("fail=read:0", "1 to 32767")]
    [InlineData("delay=read:10", "a time such as")]
    [InlineData("delay=10ms", "OPERATION:TIME")]
    [InlineData("twice=101", "0 to 100")]
    [InlineData("late-interrupts=-1ms", "a time such as")]
    public void What_cannot_be_asked_for_is_refused_in_words(string text, string words)
    {
        string? error = DeviceKinds.CreateDefault().TryCreate($"nvme,{text}", out PciDevice? device, out _);
        device.ShouldBeNull();
        error.ShouldNotBeNull().ShouldContain(words);
    }
}
