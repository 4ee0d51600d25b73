using System.Globalization;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// What the explorer explores: a fresh object a run. The constructor sets up (outside of the explorer), the threads run one
/// at a time and switch only at points of the injection seam, the checks throw when something is wrong, and
/// <see cref="Dispose()"/> tears down. It must be deterministic: no clock but <see cref="ManualTime"/>, no random numbers
/// without a seed, no thread of its own.
/// </summary>
public abstract class Scenario : IDisposable
{
    private readonly List<(string Name, Action Body)> _threads = [];

    /// <summary>The logical threads, in the order in which the first, undisturbed run takes them.</summary>
    public IReadOnlyList<(string Name, Action Body)> Threads => _threads;

    /// <summary>Adds a logical thread; at most 30, in the constructor.</summary>
    protected void AddThread(string name, Action body) => _threads.Add((name, body));

    /// <summary>Throws if an invariant is broken. Called whenever another thread takes over, and at the end.</summary>
    public virtual void CheckAlways()
    {
    }

    /// <summary>Throws if the outcome is wrong. Called when every thread has ended.</summary>
    public virtual void CheckAtEnd()
    {
    }

    /// <summary>Every thread waits and none gets on: the scenario may let time pass.</summary>
    /// <returns>Whether anything changed; false makes it a deadlock.</returns>
    public virtual bool OnIdle() => false;

    /// <summary>Whether the explorer may preempt here. Fewer points make a smaller space.</summary>
    public virtual bool MaySwitch(InjectionKind kind, ulong detail) => true;

    /// <summary>The error with which a fallible point shall fail.</summary>
    public virtual Errno Fail(InjectionKind kind, ulong detail) => Errno.Success;

    /// <summary>What the detail of a point is called in a trace; null for the number.</summary>
    public virtual string? Describe(InjectionKind kind, ulong detail) => null;

    /// <summary>Name of the logical thread that calls; null outside of the explorer.</summary>
    public static string? RunningThread => (Injection.Current as LogicalThread)?.Name;

    /// <summary>Writes a remark of the running logical thread into the trace. Does nothing outside of the explorer.</summary>
    public static void Note(string text) => (Injection.Current as LogicalThread)?.Note(text);

    /// <summary>As <see cref="Note(string)"/>, for a number.</summary>
    public static void Note(string text, ulong value)
    {
        if (Injection.Current is LogicalThread thread)
        {
            thread.Note(string.Create(CultureInfo.InvariantCulture, $"{text} 0x{value:x}"));
        }
    }

    /// <summary>Tears down, also after a run that was cut off in the middle.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Tears down.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}
