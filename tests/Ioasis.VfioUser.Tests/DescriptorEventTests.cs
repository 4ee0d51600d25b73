using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>Event counters of other processes that devices signal and listen to.</summary>
public sealed class DescriptorEventTests
{
    [Fact]
    public void Who_listens_is_told_of_the_count_that_is_there_and_of_each_write_until_it_ends()
    {
        using SafeFileHandle counter = SocketCalls.CreateEvent();
        DescriptorEvent told = new(counter, EventThreads.Instance);
        using SemaphoreSlim calls = new(0);
        void Listener() => calls.Release();
        told.Signal();
        told.Listen(Listener);
        calls.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken).ShouldBeTrue();
        SocketCalls.TakeCountNow(counter).ShouldBe(0ul);
        SocketCalls.Signal(counter);
        calls.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken).ShouldBeTrue();
        told.Unlisten(Listener);
        told.Signal();
        told.Signal();
        SocketCalls.TakeCountNow(counter).ShouldBe(2ul);
        calls.CurrentCount.ShouldBe(0);
    }
}
