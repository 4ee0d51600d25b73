using System.Numerics;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Replay.Planning;
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

    public ReplayStack(MappingPlan plan, ReplayOptions options, TraceClock clock)
    {
        // Tables lie above everything recorded, so that a wrong address cannot hit one unnoticed.
        ulong top = 0;
        foreach (ref readonly Area area in plan.Areas.AsSpan())
        {
            top = Math.Max(top, area.Physical + (area.Length - 1));
        }

        ulong limit = 1ul << Math.Clamp(64 - BitOperations.LeadingZeroCount(top), 40, 54);
        EmbeddedPlatformOptions platform = new()
        {
            Mode = options.Mode,
            Caching = options.Hostile ? CachingMode.Hostile : CachingMode.Realistic,
            IotlbEntries = options.IotlbEntries,
            IotlbWays = options.IotlbWays,
            CollectStatistics = true,
            UserMemory = new IdentityUserMemory(limit),
            TableMemory = new(limit, (limit * 2) - 1),
            TimeProvider = clock,
            FaultCapacity = 1 << 16,
        };
        Platform = new(options.Machine(platform));
        Endpoints = new EmbeddedEndpoint?[plan.Trace.Devices.Count];
        Spaces = new IoAddressSpace?[plan.Trace.Devices.Count];
        _iommu = IommuFd.Open(Platform.Kernel);
        try
        {
            AttachAll(plan, options);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The machine.</summary>
    public EmbeddedPlatform Platform { get; }

    /// <summary>Endpoints by device; null for devices that nothing is mapped for and that do no DMA.</summary>
    public EmbeddedEndpoint?[] Endpoints { get; }

    /// <summary>Address spaces by device.</summary>
    public IoAddressSpace?[] Spaces { get; }

    /// <summary>Bytes of a device's page tables.</summary>
    public long TableBytes(int device) => DomainOf(device)?.TableBytes ?? 0;

    /// <summary>The paging domain that a device is attached to.</summary>
    public PagingDomain? DomainOf(int device) => Endpoints[device]?.Device.Group.Domain as PagingDomain;

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

    private void AttachAll(MappingPlan plan, ReplayOptions options)
    {
        for (int device = 0; device < Endpoints.Length; device++)
        {
            EmbeddedEndpoint endpoint = Platform.AddEndpoint(plan.Trace.Devices.Id(device));
            VfioDevice vfio = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
            _handles.Add(vfio);
            vfio.Bind(_iommu);
            IoAddressSpace space = _iommu.AllocateAddressSpace();
            _handles.Add(space);
            if (options.LazyInvalidation)
            {
                space.SetLazyInvalidation(true);
            }

            vfio.Attach(space);
            Endpoints[device] = endpoint;
            Spaces[device] = space;
        }
    }
}
