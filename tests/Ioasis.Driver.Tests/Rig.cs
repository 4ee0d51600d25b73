using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>How a rig is put together.</summary>
internal sealed record RigOptions
{
    public ulong Capabilities { get; init; } = RiscVIommuOptions.FullCapabilities;

    public CachingMode Caching { get; init; } = CachingMode.Hostile;

    public IommuMode MaxMode { get; init; } = IommuMode.ThreeLevel;

    public RiscVDriverOptions Driver { get; init; } = new();

    public Func<IRegisterWindow, IRegisterWindow> Registers { get; init; } = window => window;

    public Func<IPhysicalMemory, IPhysicalMemory> DriverMemory { get; init; } = memory => memory;

    public Func<IPhysicalMemory, IPhysicalMemory> HardwareMemory { get; init; } = memory => memory;

    public Func<RiscVIommuOptions, RiscVIommuOptions> Hardware { get; init; } = options => options;
}

/// <summary>Memory, one hostile IOMMU, its driver and the core, devices that cache: everything below the kernel side.</summary>
internal sealed class Rig : IPcieLink, IDisposable
{
    public const ulong Page = 4096;
    private const ulong PoolStart = 1ul << 32;
    private const ulong PoolLast = (1ul << 33) - 1;

    private readonly bool _ownsMemory;
    private readonly Dictionary<DeviceId, DeviceCache> _caches = [];

    public Rig(RigOptions? options = null, Rig? sharesMemoryWith = null)
    {
        options ??= new();
        Memory = sharesMemoryWith?.Memory ?? new SparsePhysicalMemory();
        Pages = sharesMemoryWith?.Pages ?? new RangePageAllocator(Memory, new(PoolStart, PoolLast));
        DriverMemory = sharesMemoryWith?.DriverMemory ?? options.DriverMemory(Memory);
        Core = sharesMemoryWith?.Core ?? new IommuSubsystem();
        _ownsMemory = sharesMemoryWith is null;
        Lines = new();
        Hardware = new(
            options.Hardware(new RiscVIommuOptions
            {
                Capabilities = options.Capabilities,
                Caching = options.Caching,
                MaxMode = options.MaxMode,
                CollectStatistics = true,
            }),
            options.HardwareMemory(Memory),
            Lines,
            link: this);
        Registers = options.Registers(Hardware);
        ProbeResult = RiscVIommuInstance.TryProbe(
            Registers, DriverMemory, Pages, options.Driver with { FaultSink = Sink, Logger = Log }, out RiscVIommuInstance? driver);
        _driver = driver;
    }

    private readonly RiscVIommuInstance? _driver;

    public SparsePhysicalMemory Memory { get; }

    public IPhysicalMemory DriverMemory { get; }

    public RangePageAllocator Pages { get; }

    public IommuSubsystem Core { get; }

    public RiscVIommu Hardware { get; }

    public IRegisterWindow Registers { get; }

    public InterruptLines Lines { get; }

    public RecordingSink Sink { get; } = new();

    public RecordingLogger Log { get; } = new();

    public Errno ProbeResult { get; }

    public RiscVIommuInstance Driver => _driver ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{Log}");

    /// <summary>Answers to page requests.</summary>
    public List<PcieMessage> Responses { get; } = [];

    public IommuDevice AddDevice(
        uint id, int pasidBits = 0, int? group = null, bool ats = false, bool pageRequests = false, bool responsesNeedPasid = false)
    {
        IommuDeviceOptions options = new()
        {
            PasidBits = pasidBits,
            Ats = ats,
            PageRequests = pageRequests,
            PageResponsesNeedPasid = responsesNeedPasid,
        };
        Core.TryAddDevice(Driver, new(id), $"{Driver.Name}-{id:x6}", group, options, out IommuDevice? device).ShouldBe(Errno.Success);
        if (ats)
        {
            _caches[device!.Id] = new(Hardware, device.Id);
        }

        return device!;
    }

    /// <summary>What a device that was added with ATS has cached.</summary>
    public DeviceCache CacheOf(IommuDevice device) => _caches[device.Id];

    public RiscVPagingDomain NewDomain(IommuDevice device)
    {
        Driver.TryAllocatePagingDomain(device, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        return (RiscVPagingDomain)domain!;
    }

    public RiscVPagingDomain NewSecondStage(
        IommuDevice device, PagingDomainOptions options = default, InterruptFileAddresses? interruptFiles = null)
    {
        Driver.TryAllocatePagingDomain(device, options with { NestParent = true }, interruptFiles, out RiscVPagingDomain? domain)
            .ShouldBe(Errno.Success);
        return domain!;
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
        translation.Status.ShouldBe(DmaStatus.Success, $"IOVA {iova:x}");
        translation.Address.ShouldBe(new PhysicalAddress(address));
    }

    /// <summary>Asserts that a DMA is refused and reported with a cause.</summary>
    public IommuFault ShouldFault(
        IommuDevice device, ulong iova, FaultCause cause, bool write = false, Pasid pasid = default)
    {
        Sink.Faults.Clear();
        Dma(device, iova, write, pasid).Status.ShouldNotBe(DmaStatus.Success, $"IOVA {iova:x} was translated");
        IommuFault fault = Sink.Faults.ShouldHaveSingleItem();
        ((FaultCause)fault.Cause).ShouldBe(cause);
        fault.DeviceId.ShouldBe(device.Id);
        return fault;
    }

    public void SendInvalidationRequest(in PcieMessage message)
    {
        if (_caches.TryGetValue(message.Device, out DeviceCache? cache))
        {
            cache.Invalidate(message);
        }
    }

    public void SendPageRequestGroupResponse(in PcieMessage message) => Responses.Add(message);

    public void HandleInterrupts()
    {
        for (int round = 0; round < 16 && Lines.TryTake(out int vector); round++)
        {
            Driver.HandleInterrupt(vector);
        }
    }

    public void Dispose()
    {
        _driver?.Dispose();
        if (_ownsMemory)
        {
            Memory.Dispose();
        }
    }
}

/// <summary>Interrupt wires whose levels a test looks at.</summary>
internal sealed class InterruptLines : IInterruptLines
{
    private readonly bool[] _levels = new bool[16];

    public int Raised { get; private set; }

    public void SetLevel(int vector, bool asserted)
    {
        lock (_levels)
        {
            Raised += asserted && !_levels[vector] ? 1 : 0;
            _levels[vector] = asserted;
        }
    }

    public bool TryTake(out int vector)
    {
        lock (_levels)
        {
            vector = Array.IndexOf(_levels, true);
            return vector >= 0;
        }
    }
}

/// <summary>A clock that a test moves; it also creeps forward with each look, so that waits end.</summary>
internal sealed class ManualTime(long creepTicks = 0) : TimeProvider
{
    private long _now;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Add(ref _now, creepTicks);

    public void Advance(TimeSpan by) => Interlocked.Add(ref _now, by.Ticks);
}

/// <summary>Shortcuts that tests read well with.</summary>
internal static class DomainExtensions
{
    public static void ShouldMap(this PagingDomain domain, ulong iova, ulong address, ulong length = Rig.Page) =>
        domain.Map(new(iova), new(address), length, Access.ReadWrite).ShouldBe(Errno.Success);

    /// <summary>Attaches a PASID of a device that is alone in its group, or the device itself if there is none.</summary>
    public static Errno Attach(this IommuDevice device, Pasid pasid, PagingDomain domain) =>
        pasid.IsPresent ? device.Group.AttachPasid(pasid, domain) : device.Group.Attach(domain);

    /// <summary>Unmaps and synchronises.</summary>
    public static void ShouldUnmap(this PagingDomain domain, ulong iova, ulong length = Rig.Page)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), length, ref gather).ShouldBe(length);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
    }
}
