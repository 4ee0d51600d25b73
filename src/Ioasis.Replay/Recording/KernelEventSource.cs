using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>Gives the events of a kernel trace one after the other, whatever form it has. One thread pulls.</summary>
internal abstract class KernelEventSource(InputLog input)
{
    /// <summary>How the reading goes.</summary>
    public InputLog Input { get; } = input;

    /// <summary>The names of events and how many there were of each.</summary>
    public EventNames Names { get; } = new();

    /// <summary>Reads up to the next event. What <paramref name="e"/> points to is valid until the next call.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="TraceInputException">The file cannot be read or is cut off.</exception>
    public abstract bool TryRead(ref KernelEvent e);

    /// <summary>Notes what is known only at the end.</summary>
    public abstract void Finish();
}
