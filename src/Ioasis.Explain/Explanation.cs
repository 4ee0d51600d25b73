using Ioasis.Explain.Meaning;
using Ioasis.Explain.Walks;

namespace Ioasis.Explain;

/// <summary>A group of faults with what is behind it.</summary>
/// <param name="Group">The faults.</param>
/// <param name="Look">What the first address looks like.</param>
/// <param name="LookText">That in a sentence; empty without an address.</param>
/// <param name="Causes">Likely causes, the likeliest first.</param>
/// <param name="Tries">What to try, the best first.</param>
/// <param name="Histories">Histories of its addresses, if a recording was given.</param>
/// <param name="Walk">The way of its first address through the tables, if a snapshot of the same IOMMU was given.</param>
internal sealed record Explanation(
    FaultGroup Group, AddressLook Look, string LookText, IReadOnlyList<string> Causes, IReadOnlyList<string> Tries, IReadOnlyList<IovaHistory> Histories,
    WalkStory? Walk)
{
    /// <summary>Explains every fault of a log.</summary>
    /// <param name="log">The log.</param>
    /// <param name="recording">A recording of the same run, or null.</param>
    /// <param name="snapshot">Memory and registers of the machine, or null.</param>
    public static IReadOnlyList<Explanation> Of(FaultLog log, HistoryFinder? recording = null, MachineSnapshot? snapshot = null)
    {
        ArgumentNullException.ThrowIfNull(log);
        return [.. FaultGroup.Fold(log.Faults).Select(group => Of(group, log.Machine, recording, snapshot))];
    }

    private static Explanation Of(FaultGroup group, LogMachine machine, HistoryFinder? recording, MachineSnapshot? snapshot)
    {
        Fault first = group.First;
        string words = "";
        AddressLook look = first.Address is { } address ? AddressLooks.Of(first, address, machine, out words) : AddressLook.Plain;
        IReadOnlyList<IovaHistory> histories = recording is null
            ? []
            : [.. group.Sightings.Select(fault => recording.Find(fault.Address!.Value, fault.Device, fault.Time))];
        Diagnosis diagnosis = new();
        diagnosis.Add(group, look, machine, histories);
        return new(group, look, words, diagnosis.Causes, diagnosis.Tries, histories, snapshot?.Walk(first));
    }
}
