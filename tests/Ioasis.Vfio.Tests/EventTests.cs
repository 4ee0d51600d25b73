using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Uapi;

#pragma warning disable CA1859 // The seam is what is tested, not the class behind it.

namespace Ioasis.Vfio.Tests;

/// <summary>Event counters as <c>eventfd(2)</c> describes them, and waiting for them.</summary>
public sealed class EventTests
{
    private static ulong? Take(IKernelAbi kernel, int descriptor, int expected = 8)
    {
        ulong value = 0;
        kernel.Read(descriptor, MemoryMarshal.AsBytes(new Span<ulong>(ref value))).ShouldBe(expected);
        return expected < 0 ? null : value;
    }

    private static nint Add(IKernelAbi kernel, int descriptor, ulong value) =>
        kernel.Write(descriptor, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    private static PollEvents Poll(IKernelAbi kernel, int descriptor)
    {
        _ = kernel.Poll(descriptor, PollEvents.In | PollEvents.Out, 0, out PollEvents ready);
        return ready;
    }

    [Fact]
    public void A_counter_adds_up_and_a_read_takes_all_or_with_a_semaphore_one()
    {
        IKernelAbi kernel = new Rig().Kernel;
        int all = kernel.CreateEvent(5, EventFlags.NonBlocking);
        int one = kernel.CreateEvent(2, EventFlags.NonBlocking | EventFlags.Semaphore);
        Add(kernel, all, 7).ShouldBe(8);
        Take(kernel, all).ShouldBe(12ul);
        _ = Take(kernel, all, -(int)Errno.TryAgain);
        Take(kernel, one).ShouldBe(1ul);
        Take(kernel, one).ShouldBe(1ul);
        _ = Take(kernel, one, -(int)Errno.TryAgain);
        kernel.CreateEvent(0, (EventFlags)2).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void A_counter_holds_at_most_two_to_the_64_less_2()
    {
        IKernelAbi kernel = new Rig().Kernel;
        int counter = kernel.CreateEvent(0, EventFlags.NonBlocking);
        Poll(kernel, counter).ShouldBe(PollEvents.Out);
        Add(kernel, counter, ulong.MaxValue).ShouldBe(-(int)Errno.InvalidArgument);
        Add(kernel, counter, ulong.MaxValue - 1).ShouldBe(8);
        Poll(kernel, counter).ShouldBe(PollEvents.In);
        Add(kernel, counter, 1).ShouldBe(-(int)Errno.TryAgain);
        Add(kernel, counter, 0).ShouldBe(8);
        Take(kernel, counter).ShouldBe(ulong.MaxValue - 1);
        kernel.Read(counter, new byte[7]).ShouldBe(-(int)Errno.InvalidArgument);
        kernel.Write(counter, new byte[7]).ShouldBe(-(int)Errno.InvalidArgument);
        kernel.Read(counter, new byte[8], 0).ShouldBe(-(int)Errno.IllegalSeek);
        kernel.Write(counter, new byte[8], 0).ShouldBe(-(int)Errno.IllegalSeek);
        kernel.Ioctl(counter, 1, 0).ShouldBe(-(int)Errno.NotTypewriter);
        kernel.Map(counter, 0, 4096, MemoryProtection.Read, out _).ShouldBe(-(int)Errno.NoDevice);
    }

    [Fact]
    public async Task A_read_waits_for_a_write_and_a_poll_for_the_first_of_several()
    {
        IKernelAbi kernel = new Rig().Kernel;
        int first = kernel.CreateEvent(0, EventFlags.None);
        int second = kernel.CreateEvent(0, EventFlags.None);
        Task<ulong?> reading = Task.Run(() => Take(kernel, first), TestContext.Current.CancellationToken);
        _ = Add(kernel, first, 3);
        (await reading).ShouldBe(3ul);

        Task<(int, PollEvents, PollEvents)> polling = Task.Run(
            () =>
            {
                PollDescriptor[] descriptors =
                [
                    new() { Descriptor = first, Events = PollEvents.In },
                    new() { Descriptor = -1, Events = PollEvents.In },
                    new() { Descriptor = second, Events = PollEvents.In },
                ];
                return (kernel.Poll(descriptors, -1), descriptors[0].Ready, descriptors[2].Ready);
            },
            TestContext.Current.CancellationToken);
        _ = Add(kernel, second, 1);
        (await polling).ShouldBe((1, PollEvents.None, PollEvents.In));

        // A full counter holds a writer up until somebody takes it.
        _ = Add(kernel, first, ulong.MaxValue - 1);
        Task<nint> writing = Task.Run(() => Add(kernel, first, 2), TestContext.Current.CancellationToken);
        Take(kernel, first).ShouldBe(ulong.MaxValue - 1);
        (await writing).ShouldBe((nint)8);
        Take(kernel, first).ShouldBe(2ul);
    }

    [Fact]
    public void A_poll_ends_with_its_time_and_knows_descriptors_that_are_not_there()
    {
        IKernelAbi kernel = new Rig().Kernel;
        int counter = kernel.CreateEvent(0, EventFlags.None);
        kernel.Poll(counter, PollEvents.In, 1, out PollEvents ready).ShouldBe(0);
        ready.ShouldBe(PollEvents.None);
        PollDescriptor[] descriptors = [new() { Descriptor = 99, Events = PollEvents.In }];
        kernel.Poll(descriptors, -1).ShouldBe(1);
        descriptors[0].Ready.ShouldBe(PollEvents.Invalid);
        kernel.Poll([], 0).ShouldBe(0);
        kernel.Poll(99, PollEvents.In, -1, out _).ShouldBe(-(int)Errno.BadDescriptor);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public async Task A_process_that_dies_ends_its_waits()
    {
        KernelProcess kernel = new Rig().Kernel;
        int counter = kernel.CreateEvent(0, EventFlags.None);
        using ManualResetEventSlim started = new();
        Task<nint> reading = Task.Run(
            () =>
            {
                started.Set();
                return kernel.Read(counter, new byte[8]);
            },
            TestContext.Current.CancellationToken);
        started.Wait(TestContext.Current.CancellationToken);
        kernel.CloseAll();
        nint result = await reading;
        result.ShouldBeOneOf(-(int)Errno.Interrupted, -(int)Errno.BadDescriptor);
        kernel.Kernel.Audit.IsEmpty.ShouldBeTrue();
    }
}
