using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>Reads a whole kernel trace into memory.</summary>
internal static class KernelTraceReader
{
    /// <summary>Reads all of it.</summary>
    /// <exception cref="TraceInputException">The file cannot be read, is cut off, or holds no event.</exception>
    public static KernelTrace Read(KernelEventSource source, AttributionRule rule, CancellationToken cancellationToken = default)
    {
        MappingReader reader = new(source, rule, cancellationToken);
        List<MappingEvent> mappings = new(1 << 14);
        while (reader.TryRead(out MappingEvent e))
        {
            mappings.Add(e);
        }

        reader.Trace.Invalidations = reader.NewInvalidations;
        reader.Trace.Mappings = [.. mappings];
        reader.Trace.Invalidations = reader.NewInvalidations;
        return reader.Trace;
    }
}
