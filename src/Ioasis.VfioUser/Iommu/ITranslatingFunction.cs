using Ioasis.Platform;

namespace Ioasis.VfioUser;

/// <summary>A function that is an IOMMU: the others' requests go through it, by tables in the memory of its client.</summary>
public interface ITranslatingFunction
{
    /// <summary>Where the requests of the functions behind it go.</summary>
    IDmaPort Port { get; }

    /// <summary>Says where its tables are, and what is behind it. Once, before it is used.</summary>
    void UseMemory(IPhysicalMemory memory);
}
