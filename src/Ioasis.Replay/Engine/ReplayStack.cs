using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Replay.Engine;

/// <summary>
/// The whole stack for one replay: a machine with one IOMMU, an endpoint for each device of the recording, and a client that
/// opened, bound and attached each to an address space of its own. The client's memory is the recording's physical memory.
/// </summary>
internal sealed class ReplayStack : IDisposable
{
    private readonly IommuFd _iommu;
    private readonly List<IDisposable> _handles = [];

    private readonly ReplayOptions _options;
    private readonly List<EmbeddedEndpoint> _endpoints = [];
    private readonly List<IoAddressSpace> _spaces = [];
    private readonly List<PagingDomain> _domains = [];
    private readonly HashSet<DeviceId> _ids = [];

    // Stand-ins are given from the last requester ID of segment 0 downwards: few machines have devices there.
    private const uint LastStandIn = 0xffff;

    /// <summary>Builds the machine without devices.</summary>
    /// <param name="options">How to replay.</param>
    /// <param name="target">On which IOMMU.</param>
    /// <param name="clock">The recording's time.</param>
    public ReplayStack(ReplayOptions options, ReplayTarget target, TraceClock clock)
    {
        _options = options;

        // Tables lie above everything recorded, so that a wrong address cannot hit one unnoticed: 2^54 with 56 bits of physical address.
        ulong limit = 1ul << (target.Iommu.PhysicalBits - 2);
        EmbeddedPlatformOptions platform = new()
        {
            Iommus = [target.Iommu],
            Caching = options.Hostile ? CachingMode.Hostile : CachingMode.Realistic,
            IotlbEntries = options.IotlbEntries,
            IotlbWays = options.IotlbWays,
            CollectStatistics = true,
            UserMemory = new IdentityUserMemory(limit),
            PagedMemoryLimit = limit,
            TableMemory = new(limit, (limit * 2) - 1),
            TimeProvider = clock,
            FaultCapacity = 1 << 16,
        };
        Platform = new(options.Machine(platform));
        _iommu = IommuFd.Open(Platform.Kernel);
    }

    /// <summary>The machine.</summary>
    public EmbeddedPlatform Platform { get; }

    /// <summary>How many devices there are.</summary>
    public int Devices => _endpoints.Count;

    /// <summary>What takes DMA: all devices are behind one IOMMU.</summary>
    public IDmaPort Port => _endpoints.Count > 0 ? _endpoints[0].Port : Platform.Iommu.Port;

    /// <summary>A device's address space.</summary>
    public IoAddressSpace Space(int device) => _spaces[device];

    /// <summary>Bytes of a device's page tables.</summary>
    public long TableBytes(int device) => _domains[device].TableBytes;

    /// <summary>Bytes of all page tables.</summary>
    public long TotalTableBytes()
    {
        long total = 0;
        foreach (PagingDomain domain in _domains)
        {
            total += domain.TableBytes;
        }

        return total;
    }

    /// <summary>The paging domain that a device is attached to.</summary>
    public PagingDomain DomainOf(int device) => _domains[device];

    /// <summary>Adds the next device, attached to an address space of its own.</summary>
    /// <param name="wanted">Its requester ID in the recording.</param>
    /// <returns>Its requester ID in the machine: another one if the IOMMU does not serve the recording's, or if a stand-in has it.</returns>
    public DeviceId AddDevice(DeviceId wanted)
    {
        DeviceId id = wanted;
        for (uint standIn = LastStandIn; Platform.Driver.ReasonToRefuse(id) is not null || !_ids.Add(id); standIn--)
        {
            id = standIn > 0 ? new(standIn) : throw new InvalidOperationException("There are no requester IDs left.");
        }

        EmbeddedEndpoint endpoint = Platform.AddEndpoint(id);
        VfioDevice vfio = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
        _handles.Add(vfio);
        vfio.Bind(_iommu);
        IoAddressSpace space = _iommu.AllocateAddressSpace();
        _handles.Add(space);
        if (_options.LazyInvalidation)
        {
            space.SetLazyInvalidation(true);
        }

        vfio.Attach(space);
        _endpoints.Add(endpoint);
        _spaces.Add(space);
        _domains.Add((PagingDomain)endpoint.Device.Group.Domain!);
        return id;
    }

    /// <summary>Closes what the client opened, then the machine.</summary>
    public void Dispose()
    {
        for (int i = _handles.Count - 1; i >= 0; i--)
        {
            _handles[i].Dispose();
        }

        _iommu.Dispose();
        Platform.Dispose();
    }
}
