using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>What a handle can stand for in calls: a platform, or what lives and ends with one.</summary>
internal interface IPlatformMember
{
    /// <summary>The platform.</summary>
    NativePlatform Platform { get; }
}

/// <summary>A call on what a handle stands for: until the scope is disposed, by the same thread, its platform does not end.</summary>
internal readonly ref struct CallScope<T>
    where T : class, IPlatformMember
{
    private readonly EpochReclaimer.Scope _scope;

    /// <summary>Begins the call.</summary>
    /// <param name="handle">What the caller gave; may be anything.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public CallScope(nint handle)
    {
        if (HandleTable.Find(handle) is not T target)
        {
            return;
        }

        EpochReclaimer.Scope scope = target.Platform.Enter();
        if (target.Platform.IsEnded)
        {
            scope.Dispose();
            return;
        }

        _scope = scope;
        Target = target;
    }

    /// <summary>What the handle stands for; null if it stands for nothing of the kind, or the platform has ended.</summary>
    public T? Target { get; }

    /// <summary>Ends the call.</summary>
    public void Dispose()
    {
        if (Target is not null)
        {
            _scope.Dispose();
        }
    }
}
