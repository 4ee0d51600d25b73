using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.VfioUser;

/// <summary>How a <see cref="ServedMachine"/> serves.</summary>
public sealed record ServedMachineOptions
{
    /// <summary>
    /// Whether clients may map doorbells: a store to them is no message then, but the device looks at the page, by a thread that is busy while there is
    /// work and up to a millisecond late when there was none. Memory can be mapped always.
    /// </summary>
    public bool MapDoorbells { get; init; }

    /// <summary>Where each page that a function accesses is logged, with commands and faults of the IOMMU before it; null for nowhere.</summary>
    internal AccessLog? Accesses { get; init; }

    /// <summary>Where it is said who comes and goes, and what is refused.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}
