using System.Buffers.Binary;
using Ioasis.Devices.Nvme;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Shadow doorbells (base specification 2.0, section 5.8).</summary>
public sealed class ShadowDoorbellTests : IDisposable
{
    private static readonly Command s_flush = new(NvmeIoOpcode.Flush) { Namespace = 1 };

    private readonly NvmeHost _host = NvmeHost.Ready();
    private readonly ulong _shadow;
    private readonly ulong _events;

    public ShadowDoorbellTests()
    {
        _shadow = _host.Memory.Allocate(4096);
        _events = _host.Memory.Allocate(4096);
    }

    private Command Configure => new(NvmeAdminOpcode.DoorbellBufferConfig) { Data1 = _shadow, Data2 = _events };

    public void Dispose() => _host.Dispose();

    private uint Get(ulong page, int index) => BinaryPrimitives.ReadUInt32LittleEndian(_host.Memory[page + ((ulong)index * 4), 4]);

    private void Put(ulong page, int index, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[page + ((ulong)index * 4), 4], value);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_controller_takes_all_that_is_in_memory_and_asks_for_the_next(bool queueFirst)
    {
        QueuePair queue;
        if (queueFirst)
        {
            queue = _host.CreateQueue();
            _ = _host.Admin.Succeed(Configure);
        }
        else
        {
            _ = _host.Admin.Succeed(Configure);
            queue = _host.CreateQueue();
        }

        for (int i = 0; i < 3; i++)
        {
            _ = queue.Put(s_flush);
        }

        // The register says one; memory says three.
        Put(_shadow, 2, 3);
        _host.Write32(NvmeRegisters.Doorbells + 8, 1);
        queue.Take(rings: false).Count.ShouldBe(3);
        Get(_events, 2).ShouldBe(3u);
    }

    [Fact]
    public void The_admin_queue_has_its_place_too_and_follows_its_registers()
    {
        _ = _host.Admin.Succeed(Configure);
        ulong data = _host.Memory.Allocate(4096);

        // By registers alone, as drivers do that keep only I/O queues in memory.
        for (int i = 0; i < 40; i++)
        {
            _ = _host.Admin.Succeed(Command.Identify(1, 0, data));
        }

        (Get(_shadow, 0), Get(_shadow, 1)).ShouldBe((_host.Admin.Tail, _host.Admin.Head));

        // By memory, with the register only where it is asked for.
        Get(_events, 0).ShouldBe(_host.Admin.Tail);
        _ = _host.Admin.Put(Command.Identify(1, 0, data));
        _ = _host.Admin.Put(Command.Identify(1, 0, data));
        Put(_shadow, 0, _host.Admin.Tail);
        _host.Write32(NvmeRegisters.Doorbells, _host.Admin.Tail);
        _host.Admin.Take().Count.ShouldBe(2);
    }

    [Fact]
    public void A_full_completion_queue_asks_for_its_head()
    {
        _ = _host.Admin.Succeed(Configure);
        QueuePair queue = _host.CreateQueue(entries: 4);
        for (int round = 0; round < 5; round++)
        {
            for (int i = 0; i < 3; i++)
            {
                _ = queue.Put(s_flush);
            }

            Put(_shadow, 2, queue.Tail);
            _host.Write32(NvmeRegisters.Doorbells + 8, queue.Tail);

            // The driver rings the head's register only if it passes what the controller asks for.
            uint asked = Get(_events, 3);
            uint before = queue.Head;
            queue.Take(rings: false).Count.ShouldBe(3);
            Put(_shadow, 3, queue.Head);
            if ((queue.Head + 4 - asked - 1) % 4 < (queue.Head + 4 - before) % 4)
            {
                queue.RingHead();
            }
        }
    }

    [Fact]
    public void With_the_pin_the_line_falls_when_the_head_in_memory_says_so()
    {
        _host.Connect(VfioPciInterrupt.Intx, 1);
        _ = _host.Admin.Succeed(Configure);
        QueuePair queue = _host.CreateQueue();
        _ = _host.TakeSignals();
        _host.Unmask();
        _host.TakeSignals().ShouldBe(0);
        _ = queue.Put(s_flush);
        Put(_shadow, 2, queue.Tail);
        _host.Write32(NvmeRegisters.Doorbells + 8, queue.Tail);
        _host.TakeSignals().ShouldBe(1);
        Get(_events, 3).ShouldBe(0u);
        _ = queue.Take(rings: false);
        Put(_shadow, 3, queue.Head);
        queue.RingHead();
        _host.Unmask();
        _host.TakeSignals().ShouldBe(0);
    }

    [Fact]
    public void Values_in_memory_that_cannot_be_are_not_taken()
    {
        _ = _host.Admin.Succeed(Configure);
        QueuePair queue = _host.CreateQueue();
        _ = queue.Put(s_flush);
        Put(_shadow, 2, 64);
        _host.Write32(NvmeRegisters.Doorbells + 8, 1);
        queue.Take(rings: false).Count.ShouldBe(1);
        Put(_shadow, 2, uint.MaxValue);
        _host.Write32(NvmeRegisters.Doorbells + 8, 1);
        _host.Status.ShouldBe(NvmeRegisters.Ready);
    }

    [Fact]
    public void Buffers_off_their_page_are_refused_and_a_controller_may_be_without()
    {
        _host.Admin.Refuse(NvmeStatus.InvalidField, Configure with { Data1 = _shadow + 64 });
        _host.Admin.Refuse(NvmeStatus.InvalidField, Configure with { Data2 = 0 });
        using NvmeHost without = NvmeHost.Ready(new() { Namespaces = [new() { Size = 1 << 20 }], ShadowDoorbells = false });
        without.Admin.Refuse(NvmeStatus.InvalidOpcode, Configure);
        ulong data = without.Memory.Allocate(4096);
        _ = without.Admin.Succeed(Command.Identify(1, 0, data));
        (without.Memory[data, 4096][257] & 1).ShouldBe(0);
    }
}
