using System.Diagnostics;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Kind = Ioasis.Uapi.IoasidSetEventKind;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>Waits of the client with a time, with a token, and without a thread.</summary>
public sealed class WaitTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_is_awaited_is_given_to_everybody_who_awaits_it()
    {
        using IoasidRig rig = new();
        using PasidSetEvents first = rig.Set.Subscribe();
        using PasidSetEvents second = rig.Set.Subscribe();
        using VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        Task<IoasidSetEvent> one = first.ReadAsync(TestEnd);
        Task<IoasidSetEvent> two = second.ReadAsync(TestEnd);
        Task<IoasidVmEvent> exit = machine.ReadAsync(TestEnd);
        one.IsCompleted.ShouldBeFalse();

        using PasidHandle pasid = rig.Set.Allocate();
        (await one.WaitAsync(s_patience, TestEnd)).Ioasid.ShouldBe(pasid.Pasid.Value);
        (await two.WaitAsync(s_patience, TestEnd)).Kind.ShouldBe(Kind.Allocated);
        exit.IsCompleted.ShouldBeFalse();
        machine.PostErrno(new(5), 17, 99).ShouldBe(Errno.Success);
        IoasidVmEvent posted = await exit.WaitAsync(s_patience, TestEnd);
        (posted.Guest, posted.Code, posted.Data).ShouldBe((5u, 17u, 99ul));

        // What is there already is read at once, again and again.
        for (uint i = 0; i < 100; i++)
        {
            machine.PostErrno(new(5), i, 0).ShouldBe(Errno.Success);
            (await machine.ReadAsync(TestEnd).WaitAsync(s_patience, TestEnd)).Code.ShouldBe(i);
        }
    }

    [Fact]
    public async Task A_wait_that_is_cancelled_takes_no_event()
    {
        using IoasidRig rig = new();
        using PasidSetEvents events = rig.Set.Subscribe();
        using CancellationTokenSource source = new();
        Task<IoasidSetEvent> awaited = events.ReadAsync(source.Token);
        Errno read = Errno.Success;
        OperationCanceledException? thrown = null;
        Thread reader = new(() => thrown = Should.Throw<OperationCanceledException>(
            () => read = events.ReadErrno(Timeout.InfiniteTimeSpan, out _, source.Token)));
        reader.Start();
        await source.CancelAsync();
        reader.Join();
        thrown!.CancellationToken.ShouldBe(source.Token);
        read.ShouldBe(Errno.Success);
        await Should.ThrowAsync<OperationCanceledException>(awaited.WaitAsync(s_patience, TestEnd));
        Should.Throw<OperationCanceledException>(() => events.ReadErrno(TimeSpan.Zero, out _, source.Token));
        await Should.ThrowAsync<OperationCanceledException>(() => events.ReadAsync(source.Token));

        using PasidHandle pasid = rig.Set.Allocate();
        events.ReadErrno(TimeSpan.Zero, out IoasidSetEvent next, TestEnd).ShouldBe(Errno.Success);
        next.Ioasid.ShouldBe(pasid.Pasid.Value);
    }

    [Fact]
    public async Task A_wait_ends_with_its_descriptor()
    {
        using IoasidRig rig = new();
        PasidSetEvents events = rig.Set.Subscribe();
        Task<IoasidSetEvent> awaited = events.ReadAsync(TestEnd);
        events.Dispose();
        await Should.ThrowAsync<ObjectDisposedException>(awaited.WaitAsync(s_patience, TestEnd));
        await Should.ThrowAsync<ObjectDisposedException>(() => events.ReadAsync(TestEnd));
        await Closed(rig.Rig, events.Descriptor.Number);
    }

    [Fact]
    public async Task Nothing_is_left_of_a_wait()
    {
        using IoasidRig rig = new();
        using VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        int free = NextNumber(rig.Rig);
        machine.ReadErrno(TimeSpan.FromMilliseconds(1), out _, TestEnd).ShouldBe(Errno.TimedOut);
        NextNumber(rig.Rig).ShouldBe(free);

        // The thread that waits for others ends a while after the last of them, and its counter with it.
        Task<IoasidVmEvent> awaited = machine.ReadAsync(TestEnd);
        NextNumber(rig.Rig).ShouldNotBe(free);
        machine.PostErrno(new(5), 1, 0).ShouldBe(Errno.Success);
        await awaited.WaitAsync(s_patience, TestEnd);
        await Closed(rig.Rig, free);

        awaited = machine.ReadAsync(TestEnd);
        machine.PostErrno(new(5), 2, 0).ShouldBe(Errno.Success);
        (await awaited.WaitAsync(s_patience, TestEnd)).Code.ShouldBe(2u);
    }

    [Theory]
    [InlineData(-2)]
    [InlineData(int.MaxValue + 1L)]
    public void A_time_that_is_none_is_refused(long milliseconds)
    {
        using IoasidRig rig = new();
        using PasidSetEvents events = rig.Set.Subscribe();
        Should.Throw<ArgumentOutOfRangeException>(() => events.ReadErrno(TimeSpan.FromMilliseconds(milliseconds), out _, TestEnd))
            .ParamName.ShouldBe("timeout");
    }

    [Fact]
    public async Task A_kernel_without_descriptors_refuses_a_wait_and_nothing_is_held()
    {
        Rig rig = new(null, null, descriptorLimit: 7);
        using PasidFd pasids = PasidFd.Open(rig.Kernel);
        using VirtualMachinePasids machine = pasids.CreateVirtualMachine();
        List<int> taken = [];
        for (int made = rig.Kernel.CreateEvent(0, EventFlags.None); made >= 0; made = rig.Kernel.CreateEvent(0, EventFlags.None))
        {
            taken.Add(made);
        }

        (await Should.ThrowAsync<IommuException>(() => machine.ReadAsync(TestEnd))).Error.ShouldBe(Errno.TooManyOpenFiles);
        machine.ReadErrno(TimeSpan.FromMilliseconds(1), out _, TestEnd).ShouldBe(Errno.TooManyOpenFiles);
        machine.ReadErrno(TimeSpan.Zero, out _, TestEnd).ShouldBe(Errno.TimedOut);
        rig.Kernel.Close(taken[0]).ShouldBe(0);
        Task<IoasidVmEvent> awaited = machine.ReadAsync(TestEnd);
        machine.PostErrno(new(5), 3, 0).ShouldBe(Errno.Success);
        (await awaited.WaitAsync(s_patience, TestEnd)).Code.ShouldBe(3u);
    }

    // The lowest number that is free.
    private static int NextNumber(Rig rig)
    {
        int made = rig.Kernel.CreateEvent(0, EventFlags.None);
        made.ShouldBeGreaterThanOrEqualTo(0);
        rig.Kernel.Close(made).ShouldBe(0);
        return made;
    }

    private static async Task Closed(Rig rig, int descriptor)
    {
        for (long begin = Stopwatch.GetTimestamp(); NextNumber(rig) > descriptor; await Task.Delay(20, TestEnd))
        {
            Stopwatch.GetElapsedTime(begin).ShouldBeLessThan(s_patience);
        }
    }
}
