using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Embedded;

/// <summary>What an <see cref="EmbeddedPlatform"/> is made of. The defaults give a full-featured IOMMU for this process.</summary>
public sealed record EmbeddedPlatformOptions
{
    /// <summary>The IOMMUs: one of RISC-V if nothing else is said. At least one; they may be of different kinds.</summary>
    public IReadOnlyList<IommuSlot> Iommus { get; init; } = [new RiscVIommuSlot()];

    /// <summary>What the IOMMUs cache.</summary>
    public CachingMode Caching { get; init; } = CachingMode.Realistic;

    /// <summary>Entries of each IOTLB in <see cref="CachingMode.Realistic"/>: as is, for 16 MiB in pages of 4 KiB.</summary>
    public int IotlbEntries { get; init; } = 4096;

    /// <summary>Ways of a set of the IOTLB.</summary>
    public int IotlbWays { get; init; } = 16;

    /// <summary>Whether the IOMMUs count what they do.</summary>
    public bool CollectStatistics { get; init; }

    /// <summary>
    /// The memory that clients map; null for this process's own, which needs Linux. <see cref="IdentityUserMemory"/> makes the
    /// platform's physical memory itself the clients' memory.
    /// </summary>
    public IUserMemory? UserMemory { get; init; }

    /// <summary>Bits of physical address, 42 to 56. This process's own memory needs 56.</summary>
    public int PhysicalBits { get; init; } = SparsePhysicalMemory.MaxPhysicalBits;

    /// <summary>
    /// Physical addresses below this one, a multiple of 2 MiB, are kept page by page and can be given back;
    /// tables and queues of the IOMMU belong above. 0 for none.
    /// </summary>
    public ulong PagedMemoryLimit { get; init; }

    /// <summary>Physical memory that is set aside for tables and queues; its start is 4 KiB aligned.</summary>
    public AddressRange TableMemory { get; init; } = new(1ul << 40, (1ul << 41) - 1);

    /// <summary>Physical memory for drivers' buffers (<see cref="EmbeddedPlatform.DmaPages"/>); its start is 4 KiB aligned.</summary>
    public AddressRange DmaMemory { get; init; } = new(1ul << 41, (1ul << 42) - 1);

    /// <summary>
    /// Default domains of groups whose devices are opened by drivers (<see cref="EmbeddedEndpoint.OpenDma"/>); the clock is
    /// <see cref="TimeProvider"/>.
    /// </summary>
    public DmaDomainOptions Dma { get; init; } = new();

    /// <summary>Bytes that clients may have pinned, or null for no limit.</summary>
    public long? PinnedMemoryLimit { get; init; }

    /// <summary>Limits of deferred invalidation; the clock is <see cref="TimeProvider"/>.</summary>
    public LazyInvalidationOptions LazyInvalidation { get; init; } = new();

    /// <summary>Fault records that are kept until they are read; more are dropped and counted.</summary>
    public int FaultCapacity { get; init; } = 65536;

    /// <summary>The clock of everything.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Who takes the calls on <c>/dev/iommu</c> that iommufd does not know; null for nobody.</summary>
    internal IommufdExtension? IommufdExtension { get; init; }

    /// <summary>Where log lines go.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>
    /// Makes of the platform's memory the whole physical memory of the machine, for devices and the driver alike; null for the
    /// memory itself. For memory of other processes, at addresses where the platform has none.
    /// </summary>
    public Func<IPhysicalMemory, IPhysicalMemory>? PhysicalMemory { get; init; }

    /// <summary>
    /// Makes of the platform's memory what the driver sees of it; null for the memory itself. The hardware sees what is behind.
    /// For a record of the driver's stores, or for memory that fails.
    /// </summary>
    public Func<IPhysicalMemory, IPhysicalMemory>? DriverMemory { get; init; }

    /// <summary>Makes of an IOMMU's registers what its driver sees of them; null for the registers themselves.</summary>
    public Func<IRegisterWindow, IRegisterWindow>? DriverRegisters { get; init; }

    /// <summary>Makes of the link to the devices what an IOMMU sees of it; null for the link itself.</summary>
    public Func<IPcieLink, IPcieLink>? Link { get; init; }
}
