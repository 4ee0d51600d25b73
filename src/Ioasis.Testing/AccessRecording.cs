using Ioasis.Platform;

namespace Ioasis.Testing;

/// <summary>An access to memory or to a register that went through a watched seam.</summary>
/// <param name="Thread">The logical thread, or null outside of the explorer.</param>
/// <param name="Kind">What was done.</param>
/// <param name="Address">Physical address, or offset of the register.</param>
/// <param name="Length">In bytes.</param>
/// <param name="Value">What was read or written; 0 for more than 8 bytes.</param>
public readonly record struct AccessEvent(string? Thread, InjectionKind Kind, ulong Address, int Length, ulong Value);

/// <summary>The accesses through watched seams, in order. Thread-safe.</summary>
public sealed class AccessRecording
{
    private readonly List<AccessEvent> _events = [];

    /// <summary>What was recorded so far.</summary>
    public IReadOnlyList<AccessEvent> Events
    {
        get
        {
            lock (_events)
            {
                return [.. _events];
            }
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        lock (_events)
        {
            _events.Clear();
        }
    }

    internal static void Done(AccessRecording? recording, InjectionKind kind, ulong address, int length, ulong value)
    {
        LogicalThread? thread = Injection.Current as LogicalThread;
        if (length <= 8)
        {
            thread?.Annotate(kind, address, value);
        }

        if (recording is not null)
        {
            lock (recording._events)
            {
                recording._events.Add(new(thread?.Name, kind, address, length, value));
            }
        }
    }
}
