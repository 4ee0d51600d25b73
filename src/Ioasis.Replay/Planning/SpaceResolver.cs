using System.Runtime.InteropServices;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Tells the IOVA spaces apart that maps and unmaps without a device belong to, as in traces of kernels before 6.12. What is
/// sure: two maps of one IOVA that live at the same time are of two spaces. What decides the rest is how Linux hands out
/// IOVAs (downwards from 4 GiB, and again what was freed last) and that the same tasks and interrupts work for the same
/// device. A space stands for one device that the recording does not name; it gets a synthetic one, <c>space 1</c>.
/// </summary>
/// <remarks>It goes through the events in order, once, and holds what is live.</remarks>
internal sealed partial class SpaceResolver
{
    // More spaces than this are no spaces any more: unmaps are missing.
    private const int MostSpaces = 64;

    private readonly DeviceTable _devices;
    private readonly List<Space> _spaces = [];
    private readonly Dictionary<int, Space> _ofDevice = [];
    private readonly Dictionary<long, LastMap> _lastMaps = [];
    private readonly List<int> _found = [];
    private long _order;

    /// <summary>Makes one for a recording.</summary>
    /// <param name="devices">Its devices, to which those are added that stand for spaces.</param>
    public SpaceResolver(DeviceTable devices) => _devices = devices;

    /// <summary>The synthetic devices of the spaces that it told apart.</summary>
    public IReadOnlyList<int> SpaceDevices => [.. _spaces.Where(static s => s.IsSynthetic).Select(static s => s.Device)];

    /// <summary>Whether a device stands for a space.</summary>
    public bool IsSpace(int device) => _ofDevice.TryGetValue(device, out Space? space) && space.IsSynthetic;

    /// <summary>Says that maps without a device may be of a device that the recording names, because a log shows that some are.</summary>
    public void Absorb(int device) => Of(device).Absorbs = true;

    /// <summary>Gives an event without a device the space that it belongs to; takes note of those that have one.</summary>
    /// <param name="e">The event. An unmap of what is nowhere mapped keeps device -1.</param>
    /// <param name="lastUseNs">When a map is used last, if a log tells: an unmap before that is not its.</param>
    public void Resolve(ref MappingEvent e, long lastUseNs = long.MinValue)
    {
        _order++;
        ulong last = e.Iova + (e.Length - 1);
        if (e.IsUnmap)
        {
            Space? space = e.Device >= 0 ? Of(e.Device) : FindMapped(e, last);
            if (e.Device >= 0 && !space!.Overlaps(e.Iova, last, _found) && FindMapped(e, last) is { IsSynthetic: true } other)
            {
                // Its map was not named, and this is: the space is that device's.
                other.Links[e.Device] = other.Links.GetValueOrDefault(e.Device) + 1;
                space = other;
            }

            if (space is not null)
            {
                Claim(ref e, space);
                space.Unmap(e.Iova, last, _order, _found);
                space.Note(KeyOf(e));
            }

            return;
        }

        Space owner = e.Device >= 0 ? Of(e.Device) : FindFree(e, last);
        if (e.Device < 0)
        {
            CountConflicts(owner, e.Iova, last);
        }
        else if (!owner.IsSynthetic)
        {
            CountConflictsOf(owner, e.Iova, last);
        }

        Claim(ref e, owner);
        ref LastMap before = ref LastOf(e);
        owner.Map(e.Iova, last, _order, lastUseNs, _found);
        owner.Note(KeyOf(e));
        before = new(owner, last + 1);
    }

    private static void Claim(ref MappingEvent e, Space space)
    {
        if (e.Device < 0)
        {
            e.Device = space.Device;
            e.Evidence = Evidence.Inferred;
        }
    }

    private Space Of(int device)
    {
        if (!_ofDevice.TryGetValue(device, out Space? space))
        {
            space = new(device, isSynthetic: false);
            _ofDevice.Add(device, space);
            _spaces.Add(space);
        }

        return space;
    }

    /// <summary>The space for a map: of those that have nothing there, the likeliest; without one a new one.</summary>
    private Space FindFree(in MappingEvent e, ulong last)
    {
        Space? best = null;
        double most = double.NegativeInfinity;
        LastMap before = LastOf(e);
        int synthetic = 0;
        foreach (Space space in _spaces)
        {
            synthetic += space.IsSynthetic ? 1 : 0;
            if (!space.Absorbs || space.Overlaps(e.Iova, last, _found))
            {
                continue;
            }

            double score = space.MapScore(e.Iova, last, KeyOf(e))
                + (before.Space == space ? before.End == e.Iova ? 20 : 1.5 : 0);
            if (score > most)
            {
                (best, most) = (space, score);
            }
        }

        if (best is not null || synthetic >= MostSpaces)
        {
            return best ?? _spaces.Last(static s => s.IsSynthetic);
        }

        int number = synthetic + 1;
        int device = _devices.Intern(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{DeviceTable.SpaceName} {number}"));
        best = new(device, isSynthetic: true);
        _ofDevice[device] = best;
        _spaces.Add(best);
        return best;
    }

    /// <summary>
    /// The space for an unmap: of those that have exactly that mapped, the likeliest; otherwise the one with most of it. A
    /// device all of whose maps are named has its unmaps named too, so it comes last.
    /// </summary>
    private Space? FindMapped(in MappingEvent e, ulong last)
    {
        Space? best = null;
        double most = 0;
        foreach (Space space in _spaces)
        {
            double score = space.UnmapScore(e.Iova, last, KeyOf(e), e.TimeNs, _order, _found);
            score += score >= Space.Whole && space.Absorbs ? 1000 : 0;
            if (score > most)
            {
                (best, most) = (space, score);
            }
        }

        return best;
    }

    private ref LastMap LastOf(in MappingEvent e) =>
        ref CollectionsMarshal.GetValueRefOrAddDefault(_lastMaps, ((long)KeyOf(e) << 8) | (e.Task > 0 ? 0u : (byte)e.Cpu), out _);

    // A task by its number; interrupts by their kind, for they come whatever task runs.
    private static int KeyOf(in MappingEvent e) =>
        e.Context is ExecutionContextKind.SoftInterrupt or ExecutionContextKind.HardInterrupt ? -2 - (int)e.Context : e.Task;

    /// <summary>What a task mapped last: the chunks of one list follow each other upwards without a gap.</summary>
    private readonly record struct LastMap(Space? Space, ulong End);
}
