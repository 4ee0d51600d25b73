using Ioasis.Devices.Tests.Nvme;
using Ioasis.Devices.Virtio;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Misbehaviour on request: it happens as it was asked for, by the same seed in the same way, and is listed.</summary>
public sealed class MisbehaviourTests
{
    private readonly HandTime _time = new();

    private VirtioBlock MakeDisk(string text)
    {
        DeviceKinds.CreateDefault().TryCreate($"virtio-blk,size=1M,{text}", out PciDevice? device, out _).ShouldBeNull();
        VirtioBlockOptions options = device.ShouldBeOfType<VirtioBlock>().Options;
        device.Dispose();
        return new(options with { TimeProvider = _time });
    }

    private (VirtioNet First, VirtioNet Second) MakePair(string text)
    {
        DeviceKinds.CreateDefault().TryCreate($"virtio-net,{text}", out PciDevice? device, out _).ShouldBeNull();
        VirtioNetOptions options = device.ShouldBeOfType<VirtioNet>().Options;
        device.Dispose();
        VirtioNet first = new(options with { TimeProvider = _time });
        VirtioNet second = new();
        first.Join(second).ShouldBeNull();
        return (first, second);
    }

    [Fact]
    public void Requests_fail_that_were_named_and_are_not_done()
    {
        using VirtioHost host = new(MakeDisk("fail=read@8:1,fail=flush:2"));
        BlockDriver driver = new(host, host.Bring(1 << 9));
        ulong data = host.Memory.Allocate(4096);
        driver.Execute(0, 0, new Piece(data, 4096, true)).ShouldBe(BlockDriver.Ok);
        host.Memory[data, 4096].Fill(0xee);
        driver.Execute(0, 1, new Piece(data, 4096, true)).ShouldBe(BlockDriver.IoError);
        host.Memory[data, 4096].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
        driver.Execute(1, 8, new Piece(data, 512)).ShouldBe(BlockDriver.Ok);
        driver.Execute(4).ShouldBe(BlockDriver.Unsupported);
        Misdeeds(host.Device).ShouldBe(["2: Read at sector 1 failed with 1", "4: Flush at sector 0 failed with 2"]);
    }

    [Fact]
    public void Requests_are_late_and_a_reset_forgets_them()
    {
        using VirtioHost host = new(MakeDisk("delay=read:10ms"));
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        ulong data = host.Memory.Allocate(4096);
        _ = ring.Submit(driver.Header(0), new Piece(data, 512, true), driver.End);
        ring.Take().ShouldBeEmpty();
        _time.Advance(TimeSpan.FromMilliseconds(9));
        ring.Take().ShouldBeEmpty();
        _time.Advance(TimeSpan.FromMilliseconds(1));
        _ = ring.Take().ShouldHaveSingleItem();
        driver.Execute(4).ShouldBe(BlockDriver.Ok);

        _ = ring.Submit(driver.Header(0), new Piece(data, 512, true), driver.End);
        DriverRing again = host.Bring();
        _time.Advance(TimeSpan.FromSeconds(1));
        again.Take().ShouldBeEmpty();
        ring.Take().ShouldBeEmpty();
    }

    [Fact]
    public void Interrupts_are_lost_or_late()
    {
        using VirtioHost lost = new(MakeDisk("lose-interrupts=100"));
        lost.Connect(VfioPciInterrupt.MsiX, 2);
        new BlockDriver(lost, lost.Bring(vector: 1)).Execute(4).ShouldBe(BlockDriver.Ok);
        lost.TakeSignals(1).ShouldBe(0);
        Misdeeds(lost.Device).ShouldBe(["1: interrupt 1 lost"]);

        using VirtioHost late = new(MakeDisk("late-interrupts=5ms"));
        late.Connect(VfioPciInterrupt.MsiX, 2);
        new BlockDriver(late, late.Bring(vector: 1)).Execute(4).ShouldBe(BlockDriver.Ok);
        late.TakeSignals(1).ShouldBe(0);
        _time.Advance(TimeSpan.FromMilliseconds(5));
        late.TakeSignals(1).ShouldBe(1);
    }

    [Fact]
    public void What_is_there_together_completes_in_an_order_that_follows_from_the_seed()
    {
        uint[] first = Order(3);
        Order(3).ShouldBe(first);
        first.Order().ToArray().ShouldBe([0u, 3, 6, 9]);
        Enumerable.Range(1, 8).Select(seed => string.Join(' ', Order(seed))).Distinct().Count().ShouldBeGreaterThan(2);

        uint[] Order(int seed)
        {
            using VirtioHost host = new(MakeDisk($"reorder,seed={seed}"));
            DriverRing ring = host.Bring();
            BlockDriver driver = new(host, ring);
            ulong data = host.Memory.Allocate(4096);
            for (int i = 0; i < 4; i++)
            {
                _ = ring.Put(false, driver.Header(0), new Piece(data, 512, true), driver.End);
            }

            ring.Kick();
            return [.. ring.Take().Select(static used => used.Id)];
        }
    }

    [Fact]
    public void Requests_complete_twice()
    {
        using VirtioHost host = new(MakeDisk("twice=100"));
        DriverRing ring = host.Bring();
        BlockDriver driver = new(host, ring);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().Select(static used => used.Id).ShouldBe([0u, 0u]);
        Misdeeds(host.Device).ShouldBe(["1: buffer 0 of queue 0 completed twice"]);
    }

    [Fact]
    public void Memory_is_written_that_was_given_before_and_some_that_never_was()
    {
        using VirtioHost host = new(MakeDisk("stale-dma=100,wild-dma=100"));
        BlockDriver driver = new(host, host.Bring());
        ulong first = host.Memory.Allocate(4096);
        ulong second = host.Memory.Allocate(4096);
        driver.Execute(0, 0, new Piece(first, 512, true)).ShouldBe(BlockDriver.Ok);
        host.Memory[first, 512].Fill(0xee);
        driver.Execute(0, 0, new Piece(second, 512, true)).ShouldBe(BlockDriver.Ok);
        host.Memory[first, 512].IndexOfAnyExcept((byte)0xdb).ShouldBe(-1);
        string[] told = Misdeeds(host.Device);
        told.Count(static what => what.Contains("wild write", StringComparison.Ordinal)).ShouldBe(2);
        told.ShouldContain($"2: stale write to 0x{first:x} reached memory");
    }

    [Fact]
    public void Memory_is_written_after_a_reset()
    {
        using VirtioHost host = new(MakeDisk("dma-after-reset"));
        BlockDriver driver = new(host, host.Bring());
        ulong data = host.Memory.Allocate(4096);
        driver.Execute(0, 0, new Piece(data, 512, true)).ShouldBe(BlockDriver.Ok);
        host.Write(VirtioRegisters.Status, 0, 1);
        host.Memory[data, 512].IndexOfAnyExcept((byte)0xdb).ShouldBe(-1);
        Misdeeds(host.Device).ShouldBe([$"1: late write to 0x{data:x} reached memory"]);
    }

    [Fact]
    public void A_device_is_gone_or_hangs_until_the_function_is_reset()
    {
        using VirtioHost gone = new(MakeDisk("gone=2"));
        DriverRing ring = gone.Bring();
        BlockDriver driver = new(gone, ring);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().ShouldBeEmpty();
        gone.Read(VirtioRegisters.Status, 1).ShouldBe(0xffu);
        gone.Write(VirtioRegisters.Status, 0, 1);
        gone.Read(VirtioRegisters.Status, 1).ShouldBe(0xffu);

        using VirtioHost hung = new(MakeDisk("hung=2"));
        ring = hung.Bring();
        driver = new(hung, ring);
        driver.Execute(4).ShouldBe(BlockDriver.Ok);
        _ = ring.Submit(driver.Header(4), driver.End);
        ring.Take().ShouldBeEmpty();
        hung.Write(VirtioRegisters.Status, 0, 1);
        hung.Status.ShouldBe((VirtioStatus)15, "a reset by the status is not done either");
        hung.Backend.Reset().ShouldBe(Errno.Success);
        hung.SetCommand(6);
        new BlockDriver(hung, hung.Bring()).Execute(4).ShouldBe(BlockDriver.Ok);
        Misdeeds(hung.Device).ShouldBe(["2: hung"]);
    }

    [Fact]
    public void Frames_are_lost_both_ways_by_chance()
    {
        (VirtioNet one, VirtioNet two) = MakePair("fail=send:50,fail=receive:50,seed=7");
        using NetDriver first = new(one);
        using NetDriver second = new(two);
        second.Post(16);
        first.Post(16);
        for (int i = 0; i < 16; i++)
        {
            first.Send(NetDriver.Frame(NetDriver.Broadcast));
            second.Send(NetDriver.Frame(NetDriver.Broadcast));
        }

        second.Take().Count.ShouldBe((int)one.Counts.Sent);
        first.Take().Count.ShouldBe((int)one.Counts.Received);
        one.Counts.Sent.ShouldBeInRange(1, 15);
        one.Counts.Received.ShouldBeInRange(1, 15);
        one.Misdeeds.Count.ShouldBe(32 - (int)(one.Counts.Sent + one.Counts.Received));
    }

    [Fact]
    public void Frames_are_late_both_ways()
    {
        (VirtioNet one, VirtioNet two) = MakePair("delay=any:10ms");
        using NetDriver first = new(one);
        using NetDriver second = new(two);
        first.Post(2);
        second.Post(2);
        first.Put(NetDriver.Frame(NetDriver.Broadcast));
        first.Transmitter.Kick();
        second.Send(NetDriver.Frame(NetDriver.Broadcast));
        first.Take().ShouldBeEmpty();
        second.Take().ShouldBeEmpty();
        _time.Advance(TimeSpan.FromMilliseconds(10));
        _ = first.Take().ShouldHaveSingleItem();
        _ = second.Take().ShouldHaveSingleItem();
        _ = first.Transmitter.Take().ShouldHaveSingleItem();
    }

    [Fact]
    public void A_frame_comes_twice_and_a_card_hangs()
    {
        (VirtioNet one, VirtioNet two) = MakePair("twice=100,hung=3");
        using NetDriver first = new(one);
        using NetDriver second = new(two);
        first.Post(4);
        second.Send(NetDriver.Frame(NetDriver.Broadcast));
        first.Take().Count.ShouldBe(2);
        second.Send(NetDriver.Frame(NetDriver.Broadcast));
        first.Take().Count.ShouldBe(2);
        second.Send(NetDriver.Frame(NetDriver.Broadcast));
        first.Take().ShouldBeEmpty();
        first.Put(NetDriver.Frame(NetDriver.Broadcast));
        first.Transmitter.Kick();
        first.Transmitter.Take().ShouldBeEmpty();
        Misdeeds(one).ShouldBe(["1: a received frame completed twice", "2: a received frame completed twice", "3: hung"]);
    }

    [Theory]
    [InlineData("virtio-blk,fail=read", "OPERATION:VALUE")]
    [InlineData("virtio-blk,fail=send:1", "any, read, write")]
    [InlineData("virtio-blk,fail=read:0", "1 to 255")]
    [InlineData("virtio-net,fail=send:101", "1 to 100")]
    [InlineData("virtio-net,fail=send@1:1", "no sector")]
    [InlineData("virtio-net,delay=read:1ms", "any, send, receive")]
    [InlineData("virtio-net,delay=send:1h", "500us")]
    [InlineData("virtio-net,twice=101", "twice=101")]
    public void What_cannot_be_is_refused_with_its_reason(string text, string words) =>
        DeviceKinds.CreateDefault().TryCreate(text, out _, out _).ShouldNotBeNull().ShouldContain(words);

    private static string[] Misdeeds(VirtioDevice device) => [.. device.Misdeeds.Select(static misdeed => $"{misdeed.Number}: {misdeed.What}")];
}
