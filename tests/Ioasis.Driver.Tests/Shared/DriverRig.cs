using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Shared;

/// <summary>What stands between the parts of a rig, whatever the IOMMU.</summary>
internal abstract record DriverRigOptions
{
    public Func<IRegisterWindow, IRegisterWindow> Registers { get; init; } = window => window;

    public Func<IPhysicalMemory, IPhysicalMemory> DriverMemory { get; init; } = memory => memory;

    public Func<IPhysicalMemory, IPhysicalMemory> HardwareMemory { get; init; } = memory => memory;
}

/// <summary>
/// Memory, one hostile IOMMU, its driver and the core: everything below the kernel side. The IOMMU and how it tells of interrupts are
/// those of a rig of one kind, which makes them when it is made.
/// </summary>
internal abstract class DriverRig<TModel, TDriver, TDomain> : IPcieLink, IDisposable
    where TModel : class, IDmaPort
    where TDriver : IommuInstance, IDisposable
    where TDomain : PagingDomain
{
    public const ulong Page = 4096;
    private const ulong PoolStart = 1ul << 32;
    private const ulong PoolLast = (1ul << 33) - 1;

    private readonly bool _ownsMemory;

    protected DriverRig(DriverRigOptions options, DriverRig<TModel, TDriver, TDomain>? sharesMemoryWith)
    {
        Memory = sharesMemoryWith?.Memory ?? new SparsePhysicalMemory();
        Pages = sharesMemoryWith?.Pages ?? new RangePageAllocator(Memory, new(PoolStart, PoolLast));
        DriverMemory = sharesMemoryWith?.DriverMemory ?? options.DriverMemory(Memory);
        Core = sharesMemoryWith?.Core ?? new IommuSubsystem();
        _ownsMemory = sharesMemoryWith is null;
    }

    public SparsePhysicalMemory Memory { get; }

    public IPhysicalMemory DriverMemory { get; }

    public RangePageAllocator Pages { get; }

    public IommuSubsystem Core { get; }

    public TModel Hardware { get; protected init; } = null!;

    public IRegisterWindow Registers { get; protected init; } = null!;

    public RecordingSink Sink { get; } = new();

    public RecordingLogger Log { get; } = new();

    public Errno ProbeResult { get; protected init; }

    public TDriver Driver => Probed ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{Log}");

    /// <summary>Answers to page requests.</summary>
    public List<PcieMessage> Responses { get; } = [];

    /// <summary>The driver, if it took the IOMMU.</summary>
    protected TDriver? Probed { get; init; }

    public TDomain NewDomain(IommuDevice device, PagingDomainOptions options = default)
    {
        Driver.TryAllocatePagingDomain(device, options, out PagingDomain? domain).ShouldBe(Errno.Success);
        return (TDomain)domain!;
    }

    /// <summary>Makes the DMA and lets the driver handle the interrupts that it raises.</summary>
    public DmaTranslation Dma(IommuDevice device, ulong iova, bool write = false, Pasid pasid = default)
    {
        DmaFlags flags = (write ? DmaFlags.Write : DmaFlags.None) | (pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None);
        Hardware.Translate(new(device.Id, new(iova), flags, DmaKind.Untranslated, pasid), out DmaTranslation translation);
        HandleInterrupts();
        return translation;
    }

    /// <summary>Asserts that a DMA reaches an address.</summary>
    public void ShouldReach(IommuDevice device, ulong iova, ulong address, bool write = false, Pasid pasid = default)
    {
        DmaTranslation translation = Dma(device, iova, write, pasid);
        translation.Status.ShouldBe(DmaStatus.Success, $"IOVA {iova:x}: {string.Join(", ", Sink.Faults)}");
        translation.Address.ShouldBe(new PhysicalAddress(address));
    }

    /// <summary>Asserts that a DMA is refused and reported with a cause of the IOMMU's own list.</summary>
    public IommuFault ShouldFault<TCause>(IommuDevice device, ulong iova, TCause cause, bool write = false, Pasid pasid = default)
        where TCause : struct, Enum
    {
        Sink.Faults.Clear();
        Dma(device, iova, write, pasid).Status.ShouldNotBe(DmaStatus.Success, $"IOVA {iova:x} was translated");
        IommuFault fault = Sink.Faults.ShouldHaveSingleItem();
        Enum.ToObject(typeof(TCause), fault.Cause).ShouldBe(cause);
        fault.DeviceId.ShouldBe(device.Id);
        fault.Iova.Value.ShouldBe(ReportedAddress(iova));
        return fault;
    }

    /// <summary>Gives the driver the interrupts that came.</summary>
    public abstract void HandleInterrupts();

    public abstract void SendInvalidationRequest(in PcieMessage message);

    public void SendPageRequestGroupResponse(in PcieMessage message) => Responses.Add(message);

    public void Dispose()
    {
        Probed?.Dispose();
        if (_ownsMemory)
        {
            Memory.Dispose();
        }
    }

    protected IommuDevice AddDevice(uint id, int? group, IommuDeviceOptions options)
    {
        Core.TryAddDevice(Driver, new(id), $"{Driver.Name}-{id:x6}", group, options, out IommuDevice? device)
            .ShouldBe(Errno.Success, Log.ToString());
        return device!;
    }

    /// <summary>The address that a fault at an IOVA is reported with.</summary>
    protected virtual ulong ReportedAddress(ulong iova) => iova;
}
