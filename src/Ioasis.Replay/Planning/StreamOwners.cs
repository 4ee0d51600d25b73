using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Finds owners for what nothing ties to a device while a recording is read, block by block. Where the first block shows one
/// IOVA space without a name, its events keep device -1, for <see cref="RestRule"/> to ask whose it is; further spaces are told apart.
/// </summary>
internal sealed class StreamOwners(DeviceTable devices)
{
    private SpaceResolver? _resolver;
    private Dictionary<int, int> _owners = [];

    // A block as the resolver sees it, used again for each: it is too large to be made anew.
    private MappingEvent[] _resolved = [];
    private int _unnamed = -1;
    private int _only = -1;

    /// <summary>Whether there was an event that nothing names: from then on every block has to be given here.</summary>
    public bool HasBegun => _resolver is not null;

    /// <summary>Assigns owners to the events of a block.</summary>
    /// <param name="block">The events.</param>
    /// <param name="candidates">Devices with DMA events so far.</param>
    /// <param name="only">The one device of the whole recording, or -1.</param>
    public void Assign(Span<MappingEvent> block, int[] candidates, int only)
    {
        bool isFirst = _resolver is null;
        if (isFirst && !IsNeeded(block))
        {
            return;
        }

        _resolver ??= new(devices);
        if (_resolved.Length < block.Length)
        {
            _resolved = new MappingEvent[block.Length];
        }

        Span<MappingEvent> resolved = _resolved.AsSpan(0, block.Length);
        block.CopyTo(resolved);
        foreach (ref MappingEvent e in resolved)
        {
            _resolver.Resolve(ref e);
        }

        if (isFirst)
        {
            _only = only;
            IReadOnlyList<int> spaces = _resolver.SpaceDevices;
            _unnamed = spaces.Count == 1 ? spaces[0] : -1;
            _owners = spaces.Count > 1 ? _resolver.FindOwners(candidates) : [];
        }

        Take(block, resolved);
    }

    private static bool IsNeeded(ReadOnlySpan<MappingEvent> block)
    {
        foreach (ref readonly MappingEvent e in block)
        {
            if (e.Device < 0 && !e.IsUnmap)
            {
                return true;
            }
        }

        return false;
    }

    private void Take(Span<MappingEvent> block, ReadOnlySpan<MappingEvent> resolved)
    {
        for (int i = 0; i < block.Length; i++)
        {
            ref MappingEvent e = ref block[i];
            if (e.Device >= 0)
            {
                continue;
            }

            if (_only >= 0)
            {
                e.Device = _only;
                e.Evidence = Evidence.OnlyDevice;
                continue;
            }

            int device = resolved[i].Device;
            if (device < 0 || (_unnamed >= 0 && !IsFurtherSpace(device)))
            {
                continue;
            }

            e.Device = _owners.TryGetValue(device, out int owner) ? owner : device;
            e.Evidence = Evidence.Inferred;
        }
    }

    // In a recording that began with one space the planner decides about it, and about unmaps of named devices.
    private bool IsFurtherSpace(int device) => device != _unnamed && _resolver!.IsSpace(device);
}
