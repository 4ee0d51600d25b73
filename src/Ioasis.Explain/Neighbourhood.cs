using Ioasis.Replay.Recording;

namespace Ioasis.Explain;

/// <summary>Finds what was mapped near an address over the time of a recording: for a picture, in which a hundred mappings are many.</summary>
internal static class Neighbourhood
{
    private const ulong Near = 64 * 1024;
    private const int MostBefore = 120;
    private const int MostAfter = 40;

    /// <summary>Finds them.</summary>
    /// <param name="trace">The recording.</param>
    /// <param name="address">The address.</param>
    /// <param name="device">Its device in the recording, or -1 for any.</param>
    /// <param name="seconds">When it faulted; null for the end.</param>
    public static IReadOnlyList<NeighbourMapping> Find(KernelTrace trace, ulong address, int device, double? seconds)
    {
        LinkedList<Mapping> before = new();
        List<Mapping> after = [];
        foreach (ref readonly MappingEvent e in trace.Mappings.AsSpan())
        {
            if (!IsNear(e, address) || (device >= 0 && e.Device >= 0 && e.Device != device))
            {
                continue;
            }

            double time = e.TimeNs / 1e9;
            if (e.IsUnmap)
            {
                End(before, e, time);
                End(after, e, time);
                continue;
            }

            Mapping mapping = new(e.Iova, e.Length, e.Device, time);
            if (seconds is { } fault && time > fault)
            {
                if (after.Count < MostAfter)
                {
                    after.Add(mapping);
                }

                continue;
            }

            _ = before.AddLast(mapping);
            if (before.Count > MostBefore)
            {
                Forget(before);
            }
        }

        return [.. before.Concat(after).Select(m => new NeighbourMapping(m.Start, m.Length, m.Device < 0 ? null : trace.Devices.Name(m.Device), m.From, m.To))];
    }

    // The oldest that is over; one that lives is what a picture must not leave out.
    private static void Forget(LinkedList<Mapping> mappings)
    {
        LinkedListNode<Mapping>? node = mappings.First;
        while (node is { Value.To: null, Next: not null })
        {
            node = node.Next;
        }

        mappings.Remove(node!);
    }

    private static void End(IEnumerable<Mapping> mappings, in MappingEvent unmap, double time)
    {
        ulong last = unmap.Iova + (unmap.Length - 1);
        foreach (Mapping mapping in mappings)
        {
            if (mapping.To is null && mapping.Start <= last && unmap.Iova <= mapping.Start + (mapping.Length - 1)
                && (unmap.Device < 0 || mapping.Device < 0 || mapping.Device == unmap.Device))
            {
                mapping.To = time;
            }
        }
    }

    private static bool IsNear(in MappingEvent e, ulong address)
    {
        ulong last = e.Iova + (e.Length - 1);
        return e.Length > 0 && (address < e.Iova ? e.Iova - address <= Near : address <= last || address - last <= Near);
    }

    private sealed class Mapping(ulong start, ulong length, int device, double from)
    {
        public ulong Start => start;

        public ulong Length => length;

        public int Device => device;

        public double From => from;

        public double? To { get; set; }
    }
}
