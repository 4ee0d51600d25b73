using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Devices.Tests;

/// <summary>A device with work to do that moves data; no DMA once <see cref="Forbid"/> was called.</summary>
internal abstract class DeviceScenario<THost> : Scenario
    where THost : DeviceHost
{
    private bool _isForbidden;
    private byte[] _before = [];

    protected DeviceScenario(THost host)
    {
        Host = host;
        Data = host.Memory.Allocate(PageSize);
        host.Memory.OnAccess = (request, _) =>
            _isForbidden.ShouldBeFalse($"DMA to 0x{request.Address.Value:x} after the device was to be at rest");
    }

    protected THost Host { get; }

    /// <summary>A page that the work moves data to.</summary>
    protected ulong Data { get; }

    private static int PageSize => 4096;

    protected void Forbid() => _isForbidden = true;

    protected void Permit() => _isForbidden = false;

    /// <summary>A thread that resets the function.</summary>
    protected void AddFunctionReset() => AddThread("reset", () =>
    {
        Host.Backend.Reset().ShouldBe(Errno.Success);
        Forbid();
    });

    /// <summary>A thread that closes the device for the last time.</summary>
    protected void AddClose() => AddThread("close", () =>
    {
        Host.Backend.Close();
        Forbid();
    });

    /// <summary>A thread that takes <see cref="Data"/> from the device.</summary>
    protected void AddUnmap()
    {
        Host.Memory[Data, 512].Fill(0xee);
        AddThread("unmap", () =>
        {
            Host.Memory.SetMapped(Data, PageSize, false);
            _before = Host.Memory[Data, PageSize].ToArray();
        });
    }

    /// <summary><see cref="Data"/> is as it was when it was taken.</summary>
    protected void CheckThatNothingLanded() => Host.Memory[Data, PageSize].SequenceEqual(_before).ShouldBeTrue();

    protected static void WaitUntil(Func<bool> isSo)
    {
        while (!isSo())
        {
            _ = Injection.Hit(InjectionKind.Wait);
        }
    }

    protected override void Dispose(bool disposing)
    {
        Host.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>How devices' scenarios are explored.</summary>
internal static class DeviceSchedules
{
    private static readonly ExplorerOptions s_options = new()
    {
        RequiredPreemptions = 1,
        MaxSchedules = ExplorerOptions.All ? 100_000 : 1500,
        RandomSchedules = ExplorerOptions.All ? 5000 : 100,
    };

    public static void Holds(Func<Scenario> create) =>
        TestContext.Current.TestOutputHelper?.WriteLine(ScheduleExplorer.Explore(create, s_options).ShouldHold().ToString());
}
