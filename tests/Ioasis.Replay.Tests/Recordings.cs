using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Testing;

namespace Ioasis.Replay.Tests;

/// <summary>The recordings in examples/traces, and small ones made up by tests.</summary>
internal static class Recordings
{
    public static string PathOf(string name) => Path.Combine(ExternalProgram.RepositoryRoot, "examples", "traces", name);

    /// <summary>A small input of one kind, in the tests' folder.</summary>
    public static string Case(string name) =>
        Path.Combine(ExternalProgram.RepositoryRoot, "tests", "Ioasis.Replay.Tests", "Cases", name);

    public static KernelTrace Trace(string name, AttributionRule rule = AttributionRule.TightestFit) =>
        RecordingReader.Read(PathOf(name), new() { Attribution = rule }, TestContext.Current.CancellationToken).Trace!;

    public static DmaLog Log(string name) =>
        RecordingReader.Read(PathOf(name), null, TestContext.Current.CancellationToken).Log!;

    public static LoadedRecording Parse(string text, RecordingReadOptions? options = null)
    {
        using InputSource source = InputSource.Wrap("made-up", new MemoryStream(System.Text.Encoding.UTF8.GetBytes(text)));
        return RecordingReader.Read(source, options, TestContext.Current.CancellationToken);
    }

    /// <summary>A log as another one, but for its accesses.</summary>
    public static DmaLog Changed(DmaLog log, Func<int, DmaAccess, DmaAccess> change)
    {
        DmaLog changed = new(log.Input)
        {
            Marks = log.Marks,
            Invalidations = log.Invalidations,
            InvalidationKinds = log.InvalidationKinds,
            DomainDevices = log.DomainDevices,
            Faults = log.Faults,
        };
        for (int device = 0; device < log.Devices.Count; device++)
        {
            changed.Devices.Intern(log.Devices.Id(device));
        }

        int index = 0;
        foreach (DmaAccess access in log.Accesses)
        {
            changed.Accesses.Add(change(index++, access));
        }

        return changed;
    }
}
