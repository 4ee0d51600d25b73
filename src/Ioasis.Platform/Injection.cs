using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>What is about to happen at an injection point.</summary>
public enum InjectionKind
{
    /// <summary>Memory, an identifier or a table is allocated.</summary>
    Allocate,

    /// <summary>Physical memory is read.</summary>
    MemoryRead,

    /// <summary>Physical memory is written.</summary>
    MemoryWrite,

    /// <summary>A register is read.</summary>
    RegisterRead,

    /// <summary>A register is written.</summary>
    RegisterWrite,

    /// <summary>A lock is about to be taken.</summary>
    LockAcquire,

    /// <summary>A lock was released.</summary>
    LockRelease,

    /// <summary>The thread polls for something that another must do.</summary>
    Wait,

    /// <summary>Space in a hardware queue is taken.</summary>
    QueueSpace,

    /// <summary>Pages of a client are pinned.</summary>
    Pin,
}

/// <summary>A test's hand in the injection seam.</summary>
public interface IInjector
{
    /// <summary>
    /// A thread passes a point. The call may block (to let another logical thread run) and may make the operation fail.
    /// </summary>
    /// <returns>Success, or the error with which the operation must fail; points that cannot fail ignore it.</returns>
    Errno OnPoint(InjectionKind kind);

    /// <summary>As <see cref="OnPoint(InjectionKind)"/>, with what the point is about.</summary>
    /// <param name="kind">What is about to happen.</param>
    /// <param name="detail">
    /// The physical address, the offset of the register, or the <see cref="IoLock.Id"/> of the lock; a
    /// <see cref="InjectionKind.Wait"/> has the lock that it waits for, or 0 if it polls for something else.
    /// </param>
    Errno OnPoint(InjectionKind kind, ulong detail) => OnPoint(kind);
}

/// <summary>
/// The injection seam: every operation that can fail or block passes <see cref="Hit"/>, where a test can make it fail or can
/// switch to another logical thread. It is compiled away unless the runtime switch <c>Ioasis.Injection</c> is on.
/// </summary>
public static class Injection
{
    [ThreadStatic]
    private static IInjector? t_current;

    /// <summary>Whether the seam is compiled in: the runtime switch <c>Ioasis.Injection</c>.</summary>
    [FeatureSwitchDefinition("Ioasis.Injection")]
    public static bool IsSupported { get; } = AppContext.TryGetSwitch("Ioasis.Injection", out bool on) && on;

    /// <summary>The injector of this thread. Setting it has no effect unless <see cref="IsSupported"/>.</summary>
    public static IInjector? Current
    {
        get => IsSupported ? t_current : null;
        set
        {
            if (IsSupported)
            {
                t_current = value;
            }
        }
    }

    /// <summary>Passes an injection point.</summary>
    /// <param name="kind">What is about to happen.</param>
    /// <param name="detail">What it is about: see <see cref="IInjector.OnPoint(InjectionKind, ulong)"/>.</param>
    /// <returns>Success, or the error that a test wants.</returns>
    public static Errno Hit(InjectionKind kind, ulong detail = 0) =>
        IsSupported ? t_current?.OnPoint(kind, detail) ?? Errno.Success : Errno.Success;
}

/// <summary>
/// The lock of everything above this floor: a <see cref="Lock"/> that passes the injection seam, so that the explorer of
/// schedules owns it too. Use it as <c>using (_lock.Acquire()) { … }</c>.
/// </summary>
public sealed class IoLock
{
    private static long s_lastId;

    private readonly Lock _lock = new();

    /// <summary>A number of its own for each lock while the injection seam is compiled in; else 0.</summary>
    public ulong Id { get; } = Injection.IsSupported ? (ulong)Interlocked.Increment(ref s_lastId) : 0;

    /// <summary>Whether the calling thread holds the lock.</summary>
    public bool IsHeld => _lock.IsHeldByCurrentThread;

    /// <summary>Takes the lock; the scope releases it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Scope Acquire()
    {
        if (Injection.IsSupported && Injection.Current is not null)
        {
            AcquireExplored();
        }
        else
        {
            _lock.Enter();
        }

        return new(this);
    }

    // A logical thread never blocks in the lock itself: the explorer runs the others until it is free.
    private void AcquireExplored()
    {
        _ = Injection.Hit(InjectionKind.LockAcquire, Id);
        while (!_lock.TryEnter())
        {
            _ = Injection.Hit(InjectionKind.Wait, Id);
        }
    }

    /// <summary>Takes the lock if nobody has it; never waits.</summary>
    /// <param name="scope">Releases it; to be disposed of only if it was taken.</param>
    /// <returns>Whether it was taken.</returns>
    public bool TryAcquire(out Scope scope)
    {
        scope = new(this);
        if (Injection.IsSupported)
        {
            _ = Injection.Hit(InjectionKind.LockAcquire, Id);
        }

        return _lock.TryEnter();
    }

    /// <summary>Releases its lock when disposed.</summary>
    public readonly ref struct Scope
    {
        private readonly IoLock _owner;

        internal Scope(IoLock owner) => _owner = owner;

        /// <summary>Releases the lock.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Dispose()
        {
            _owner._lock.Exit();
            _ = Injection.Hit(InjectionKind.LockRelease, _owner.Id);
        }
    }
}
