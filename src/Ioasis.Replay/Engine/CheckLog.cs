using System.Globalization;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>What a check asks.</summary>
internal enum CheckKind
{
    /// <summary>The kernel takes the map.</summary>
    MapCall,

    /// <summary>The kernel gives back exactly what was mapped.</summary>
    UnmapCall,

    /// <summary>A translation after a map gives the recorded physical address.</summary>
    MapTranslation,

    /// <summary>What a device writes after a map stands at the recorded physical address.</summary>
    MapData,

    /// <summary>A DMA after an unmap faults: nothing stale is left.</summary>
    UnmapFault,

    /// <summary>A fault is reported with device, address and cause.</summary>
    FaultRecord,

    /// <summary>A DMA of the log reaches the page that the log says.</summary>
    LoggedDma,

    /// <summary>A DMA that faulted in the log faults.</summary>
    LoggedFault,
}

/// <summary>Counts checks and keeps the first that did not hold.</summary>
internal sealed class CheckLog(string tracePath, string logPath)
{
    private static readonly string[] Names =
    [
        "map is taken", "unmap gives back what was mapped", "reaches its page after map", "data arrives at its page",
        "faults after unmap", "fault is reported with its cause", "logged DMA reaches its page", "logged fault faults",
    ];

    private readonly long[] _counts = new long[Names.Length];
    private readonly long[] _mismatches = new long[Names.Length];
    private readonly List<Mismatch> _first = [];

    /// <summary>Counts a check.</summary>
    public void Count(CheckKind kind) => _counts[(int)kind]++;

    /// <summary>Whether a mismatch that comes now is listed; only then it needs words.</summary>
    public bool Lists => _first.Count < CheckReport.ListedMismatches;

    /// <summary>A check did not hold.</summary>
    public void Fail(CheckKind kind, int line, string device, ulong iova, string expected, string got)
    {
        _mismatches[(int)kind]++;
        if (Lists)
        {
            _first.Add(new()
            {
                Path = kind is CheckKind.LoggedDma or CheckKind.LoggedFault ? logPath : tracePath,
                Line = line,
                Device = device,
                Kind = Names[(int)kind],
                Iova = new(iova),
                Expected = expected,
                Got = got,
            });
        }
    }

    /// <summary>The report.</summary>
    public CheckReport ToReport() => new()
    {
        CheckCount = _counts.Sum(),
        ByKind = Counts(_counts),
        MismatchCount = _mismatches.Sum(),
        MismatchesByKind = Counts(_mismatches),
        FirstMismatches = _first,
    };

    public static string Physical(ulong address) => string.Create(CultureInfo.InvariantCulture, $"pa 0x{address:x}");

    public static string Fault(bool write) => write ? "a page fault of a write" : "a page fault of a read";

    public static string Outcome(in DmaTranslation translation) => translation.Status == DmaStatus.Success
        ? Physical(translation.Address.Value)
        : translation.Status == DmaStatus.UnsupportedRequest ? "a fault" : "an abort";

    private static NamedCount[] Counts(long[] counts) =>
        [.. Names.Select((name, i) => new NamedCount(name, counts[i])).Where(c => c.Count > 0)];
}
