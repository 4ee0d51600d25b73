using Ioasis.Client;
using Ioasis.Primitives;

namespace Ioasis.Linux.Tests;

/// <summary>Waits of the client on Linux's own descriptors.</summary>
public sealed class WaitTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_event_counter_of_Linux_is_awaited()
    {
        KernelDescriptor.MakeEventErrno(LinuxKernelAbi.Instance, out KernelDescriptor? counter).ShouldBe(Errno.Success);
        using KernelDescriptor descriptor = counter!;
        using CancellationTokenSource source = new();
        descriptor.WaitErrno(TimeSpan.FromMilliseconds(1), source.Token).ShouldBe(Errno.TimedOut);
        Task cancelled = descriptor.WaitForInputAsync(source.Token);
        Task<ulong> awaited = descriptor.ReadAsync<ulong>(TestEnd);
        await source.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(cancelled.WaitAsync(s_patience, TestEnd));
        awaited.IsCompleted.ShouldBeFalse();
        descriptor.CountErrno().ShouldBe(Errno.Success);
        (await awaited.WaitAsync(s_patience, TestEnd)).ShouldBe(1ul);

        awaited = descriptor.ReadAsync<ulong>(TestEnd);
        descriptor.Dispose();
        await Should.ThrowAsync<ObjectDisposedException>(awaited.WaitAsync(s_patience, TestEnd));
    }

    [Fact]
    public async Task A_wait_ends_with_its_descriptor_whenever_that_is_closed()
    {
        // The thread that waits is in another place of its loop each time.
        for (int round = 0; round < 300; round++)
        {
            KernelDescriptor.MakeEventErrno(LinuxKernelAbi.Instance, out KernelDescriptor? counter).ShouldBe(Errno.Success);
            using KernelDescriptor descriptor = counter!;
            Task awaited = descriptor.WaitForInputAsync(TestEnd);
            Thread.SpinWait(round * 10);
            descriptor.Dispose();
            await Should.ThrowAsync<ObjectDisposedException>(awaited.WaitAsync(s_patience, TestEnd));
        }
    }
}
