using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Platform.Tests;

/// <summary>An injector that writes down where it was called.</summary>
public sealed class RecordingInjector : IInjector
{
    public List<InjectionKind> Points { get; } = [];

    public Errno Result { get; init; }

    public Action<InjectionKind>? Action { get; init; }

    public Errno OnPoint(InjectionKind kind)
    {
        Points.Add(kind);
        Action?.Invoke(kind);
        return Result;
    }

    public Scope Install()
    {
        Injection.Current = this;
        return default;
    }

    public readonly struct Scope : IDisposable
    {
        public void Dispose() => Injection.Current = null;
    }
}

public sealed class InjectionTests
{
    [Fact]
    public void Without_an_injector_every_point_succeeds()
    {
        Injection.IsSupported.ShouldBeTrue();
        Injection.Hit(InjectionKind.Pin).ShouldBe(Errno.Success);
    }

    [Fact]
    public void An_injector_belongs_to_its_thread()
    {
        RecordingInjector injector = new() { Result = Errno.IoError };
        using (injector.Install())
        {
            Errno other = Errno.TimedOut;
            Thread thread = new(() => other = Injection.Hit(InjectionKind.Wait));
            thread.Start();
            thread.Join();
            other.ShouldBe(Errno.Success);
            Injection.Hit(InjectionKind.QueueSpace).ShouldBe(Errno.IoError);
        }

        injector.Points.ShouldBe([InjectionKind.QueueSpace]);
    }

    [Fact]
    public void A_lock_passes_its_points_in_order()
    {
        IoLock ioLock = new();
        RecordingInjector injector = new();
        using (injector.Install())
        {
            using (ioLock.Acquire())
            {
                ioLock.IsHeld.ShouldBeTrue();
            }
        }

        ioLock.IsHeld.ShouldBeFalse();
        injector.Points.ShouldBe([InjectionKind.LockAcquire, InjectionKind.LockRelease]);
    }

    [Fact]
    public void A_logical_thread_polls_for_a_lock_instead_of_blocking_in_it()
    {
        IoLock ioLock = new();
        using ManualResetEventSlim held = new();
        using ManualResetEventSlim release = new();
        Thread owner = new(() =>
        {
            using (ioLock.Acquire())
            {
                held.Set();
                release.Wait();
            }
        });
        owner.Start();
        held.Wait(TestContext.Current.CancellationToken);

        int waits = 0;
        RecordingInjector injector = new()
        {
            Action = kind =>
            {
                if (kind == InjectionKind.Wait && ++waits == 3)
                {
                    release.Set();
                    owner.Join();
                }
            },
        };
        using (injector.Install())
        {
            using (ioLock.Acquire())
            {
                ioLock.IsHeld.ShouldBeTrue();
            }
        }

        injector.Points.ShouldBe(
        [
            InjectionKind.LockAcquire, InjectionKind.Wait, InjectionKind.Wait, InjectionKind.Wait, InjectionKind.LockRelease,
        ]);
    }

    [Fact]
    public void A_lock_excludes_threads()
    {
        IoLock ioLock = new();
        int value = 0;
        Thread[] threads = [.. Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                using (ioLock.Acquire())
                {
                    value++;
                }
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        value.ShouldBe(80_000);
    }
}
