using Ioasis.Core;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Kernel;

/// <summary>How an <see cref="IoasisKernel"/> treats its user.</summary>
internal sealed record IoasisKernelOptions
{
    /// <summary>Bytes that the user may have pinned (Linux: RLIMIT_MEMLOCK), or null for no limit.</summary>
    public long? PinnedMemoryLimit { get; init; }

    /// <summary>Descriptors that the user may have open (Linux: RLIMIT_NOFILE).</summary>
    public int DescriptorLimit { get; init; } = 1 << 20;

    /// <summary>Where the memory of memory files comes from; null if there are none (ENOSYS).</summary>
    public IMemoryFileSource? MemoryFiles { get; init; }

    /// <summary>Mappings that a VFIO container may have at a time (Linux: vfio_iommu_type1.dma_entry_limit).</summary>
    public int ContainerMappingLimit { get; init; } = ushort.MaxValue;

    /// <summary>Limits of deferred invalidation, and the clock.</summary>
    public LazyInvalidationOptions LazyInvalidation { get; init; } = new();

    /// <summary>The system's PASIDs; null for an allocator of the kernel's own. Several kernels may share one.</summary>
    public PasidAllocator? Pasids { get; init; }

    /// <summary>The quota that the user's sets are charged to, of the same allocator; null for the root.</summary>
    public PasidQuota? PasidAccount { get; init; }

    /// <summary>Who takes the calls on <c>/dev/iommu</c> that iommufd does not know; null for nobody.</summary>
    public IommufdExtension? IommufdExtension { get; init; }

    /// <summary>Where log lines go.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}
