using Ioasis.Primitives;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>How a logged access ended.</summary>
internal enum DmaOutcome : byte
{
    /// <summary>It reached memory.</summary>
    Translated,

    /// <summary>It faulted.</summary>
    Faulted,
}

/// <summary>One access of a device as the IOMMU's device model logged it.</summary>
internal struct DmaAccess
{
    /// <summary>Nanoseconds since the Unix epoch.</summary>
    public long TimeNs;

    /// <summary>The address that the device used; its offset in the page may be missing.</summary>
    public ulong Iova;

    /// <summary>What it was translated to; only the bits above <see cref="SizeLog2"/> count.</summary>
    public ulong Physical;

    /// <summary>Line in the file.</summary>
    public int Line;

    /// <summary>Device in the log's <see cref="DmaLog.Devices"/>.</summary>
    public int Device;

    /// <summary>What it did; <see cref="Primitives.Access.None"/> when the log does not say.</summary>
    public Access Access;

    /// <summary>How it ended.</summary>
    public DmaOutcome Outcome;

    /// <summary>log2 of the bytes around it that translate alike, 12 or more; or <see cref="UnknownSize"/>.</summary>
    public byte SizeLog2;

    /// <summary>The log has the start of a leaf, and not the leaf's size.</summary>
    public const byte UnknownSize = 0;

    /// <summary>PASID, 0 for none.</summary>
    public uint Pasid;
}

/// <summary>An invalidation that the log tells of.</summary>
/// <param name="TimeNs">Nanoseconds since the Unix epoch.</param>
/// <param name="Kind">Index into <see cref="DmaLog.InvalidationKinds"/>.</param>
/// <param name="BeforeAccess">How many accesses come before it in the log.</param>
/// <param name="Scope">What of the IOTLB it names.</param>
/// <param name="Domain">The domain or address space (PSCID) that it names.</param>
/// <param name="Address">The first address that it names.</param>
/// <param name="SizeLog2">log2 of the bytes that it names.</param>
internal readonly record struct LoggedInvalidation(
    long TimeNs, int Kind, int BeforeAccess, InvalidationScope Scope, uint Domain, ulong Address, byte SizeLog2);

/// <summary>What of the IOTLB a logged invalidation names.</summary>
internal enum InvalidationScope : byte
{
    /// <summary>Nothing: a fence, a directory, an interrupt table, or something that the log does not tell enough of.</summary>
    Other,

    /// <summary>Addresses of one domain.</summary>
    Pages,

    /// <summary>A whole domain.</summary>
    Domain,
}

/// <summary>What a device-side DMA log tells.</summary>
internal sealed class DmaLog
{
    internal DmaLog(InputLog input)
    {
        Input = input;
        Accesses = new(input.Path, "accesses", 32);
        Invalidations = new(input.Path, "invalidations");
    }

    /// <summary>How the reading went.</summary>
    public InputLog Input { get; }

    /// <summary>Requesters.</summary>
    public DeviceTable Devices { get; } = new();

    /// <summary>Accesses in the file's order.</summary>
    public SpilledList<DmaAccess> Accesses { get; }

    /// <summary>Times of the marks by number, in nanoseconds since the Unix epoch; of two with one number the later counts.</summary>
    public IReadOnlyDictionary<int, long> Marks { get; internal set; } = new Dictionary<int, long>();

    /// <summary>Kinds of invalidations, in the words of the specification or of the log.</summary>
    public IReadOnlyList<string> InvalidationKinds { get; internal set; } = [];

    /// <summary>Invalidations and fences in the file's order.</summary>
    public SpilledList<LoggedInvalidation> Invalidations { get; internal set; }

    /// <summary>Devices by domain, where the log tells (x86).</summary>
    public IReadOnlyDictionary<uint, int> DomainDevices { get; internal set; } = new Dictionary<uint, int>();

    /// <summary>Accesses that faulted.</summary>
    public int Faults { get; internal set; }
}
