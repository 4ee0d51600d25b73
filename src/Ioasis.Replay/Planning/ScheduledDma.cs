using Ioasis.Replay.DmaLogs;

namespace Ioasis.Replay.Planning;

/// <summary>How a logged access lies with respect to the mappings.</summary>
internal enum DmaClass : byte
{
    /// <summary>Its page was mapped to where it went.</summary>
    Live,

    /// <summary>
    /// Its page was mapped so, but the clocks as they were tied put it a little before the map or behind the unmap: it is
    /// replayed right behind the map, or right before the unmap.
    /// </summary>
    WithinTolerance,

    /// <summary>
    /// Its device was attached before the kernel trace began, and the trace does not map its page before it: the mapping was
    /// learned from the log. Later accesses to the page must agree with the first, until the trace unmaps it.
    /// </summary>
    MappedBefore,

    /// <summary>The log says that it faulted.</summary>
    RecordedFault,

    /// <summary>It was made before the first or after the last event of the kernel trace: what was mapped then is not known.</summary>
    OutsideRecording,

    /// <summary>No mapping of the recording explains it: a mismatch.</summary>
    Unexplained,
}

/// <summary>One access with its place in the replay.</summary>
internal struct ScheduledDma
{
    /// <summary>Index into <see cref="DmaLog.Accesses"/>.</summary>
    public int Access;

    /// <summary>The step after which it is made, or -1 for before the first.</summary>
    public int AfterStep;

    /// <summary>Device in the trace's table.</summary>
    public int Device;

    /// <summary>Its class.</summary>
    public DmaClass Class;

    /// <summary>log2 of the block whose start the logged physical address is: bits below do not count.</summary>
    public byte SizeLog2;
}
