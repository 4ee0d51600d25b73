using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>How a rig is put together.</summary>
internal sealed record RigOptions
{
    public VtdIommuOptions Hardware { get; init; } = new() { Caching = CachingMode.Hostile };

    public VtdDriverOptions Driver { get; init; } = new();

    public Func<IRegisterWindow, IRegisterWindow> Registers { get; init; } = window => window;

    public Func<IPhysicalMemory, IPhysicalMemory> DriverMemory { get; init; } = memory => memory;

    public Func<IPhysicalMemory, IPhysicalMemory> HardwareMemory { get; init; } = memory => memory;

    /// <summary>Done to the hardware before the driver sees it.</summary>
    public Action<VtdIommu, SparsePhysicalMemory>? Before { get; init; }

    public static RigOptions Legacy { get; } = new() { Driver = new() { Mode = VtdMode.Legacy } };

    public static RigOptions FirstStage { get; } = new() { Driver = new() { FirstStageDomains = true } };

    public RigOptions With(ulong capability = 0, ulong extended = 0, ulong withoutCapability = 0, ulong withoutExtended = 0) => this with
    {
        Hardware = Hardware with
        {
            Capabilities = new((Hardware.Capabilities.Value | capability) & ~withoutCapability),
            ExtendedCapabilities = new((Hardware.ExtendedCapabilities.Value | extended) & ~withoutExtended),
        },
    };
}

/// <summary>Memory, one hostile unit, its driver and the core: everything below the kernel side.</summary>
internal sealed class Rig : IMsiSink, IPcieLink, IDisposable
{
    public const ulong Page = 4096;
    private const ulong PoolStart = 1ul << 32;
    private const ulong PoolLast = (1ul << 33) - 1;

    private readonly bool _ownsMemory;
    private readonly VtdIommuInstance? _driver;
    private readonly Queue<uint> _messages = new();

    public Rig(RigOptions? options = null, Rig? sharesMemoryWith = null)
    {
        options ??= new();
        Memory = sharesMemoryWith?.Memory ?? new SparsePhysicalMemory();
        Pages = sharesMemoryWith?.Pages ?? new RangePageAllocator(Memory, new(PoolStart, PoolLast));
        DriverMemory = sharesMemoryWith?.DriverMemory ?? options.DriverMemory(Memory);
        Core = sharesMemoryWith?.Core ?? new IommuSubsystem();
        _ownsMemory = sharesMemoryWith is null;
        Hardware = new(options.Hardware, options.HardwareMemory(Memory), this, this);
        options.Before?.Invoke(Hardware, Memory);
        Registers = options.Registers(Hardware);
        ProbeResult = VtdIommuInstance.TryProbe(
            Registers, DriverMemory, Pages, options.Driver with { FaultSink = Sink, Logger = Log }, out _driver);
    }

    public SparsePhysicalMemory Memory { get; }

    public IPhysicalMemory DriverMemory { get; }

    public RangePageAllocator Pages { get; }

    public IommuSubsystem Core { get; }

    public VtdIommu Hardware { get; }

    public IRegisterWindow Registers { get; }

    public RecordingSink Sink { get; } = new();

    public RecordingLogger Log { get; } = new();

    public Errno ProbeResult { get; }

    /// <summary>Invalidation requests that devices got.</summary>
    public List<PcieMessage> Invalidations { get; } = [];

    /// <summary>Whether devices answer them at once.</summary>
    public bool AnswersInvalidations { get; set; } = true;

    /// <summary>Whether the unit gives up on devices at once (ITE).</summary>
    public bool TimesOut { get; set; }

    /// <summary>How many of the next requests the unit gives up on.</summary>
    public int Misses { get; set; }

    public List<PcieMessage> Responses { get; } = [];

    public VtdIommuInstance Driver => _driver ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{Log}");

    public IommuDevice AddDevice(ushort id, int pasidBits = 0, bool ats = false, bool pageRequests = false, int? group = null)
    {
        Core.TryAddDevice(
            Driver, new(id), $"{Driver.Name}-{id:x4}", group,
            new IommuDeviceOptions { PasidBits = pasidBits, Ats = ats, PageRequests = pageRequests, PageResponsesNeedPasid = true },
            out IommuDevice? device).ShouldBe(Errno.Success, Log.ToString());
        return device!;
    }

    public VtdPagingDomain NewDomain(IommuDevice device, PagingDomainOptions options = default)
    {
        Driver.TryAllocatePagingDomain(device, options, out PagingDomain? domain).ShouldBe(Errno.Success);
        return (VtdPagingDomain)domain!;
    }

    /// <summary>A domain that a device is attached to.</summary>
    public VtdPagingDomain Attached(IommuDevice device, PagingDomainOptions options = default)
    {
        VtdPagingDomain domain = NewDomain(device, options);
        device.Group.Attach(domain).ShouldBe(Errno.Success, Log.ToString());
        return domain;
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

    /// <summary>Asserts that a DMA is refused and reported with a cause.</summary>
    public IommuFault ShouldFault(IommuDevice device, ulong iova, FaultReason cause, bool write = false, Pasid pasid = default)
    {
        Sink.Faults.Clear();
        Dma(device, iova, write, pasid).Status.ShouldNotBe(DmaStatus.Success, $"IOVA {iova:x} was translated");
        IommuFault fault = Sink.Faults.ShouldHaveSingleItem();
        ((FaultReason)fault.Cause).ShouldBe(cause);
        fault.DeviceId.ShouldBe(device.Id);
        fault.Iova.Value.ShouldBe(iova & ~0xffful);
        return fault;
    }

    public void HandleInterrupts()
    {
        for (int round = 0; round < 64; round++)
        {
            uint data;
            lock (_messages)
            {
                if (!_messages.TryDequeue(out data))
                {
                    return;
                }
            }

            _driver?.HandleInterrupt((int)data - 0x21);
        }
    }

    public MemoryStatus Send(PhysicalAddress address, uint data)
    {
        address.ShouldBe(new PhysicalAddress(0xfee0_0000));
        lock (_messages)
        {
            _messages.Enqueue(data);
        }

        return MemoryStatus.Success;
    }

    public void SendInvalidationRequest(in PcieMessage message)
    {
        Invalidations.Add(message);
        if (TimesOut || Misses-- > 0)
        {
            Hardware.HandleInvalidationTimeout(1u << message.Tag);
        }
        else if (AnswersInvalidations)
        {
            Answer(message);
        }
    }

    /// <summary>A device's completion of an invalidation request.</summary>
    public void Answer(in PcieMessage message) =>
        Hardware.HandleInvalidationCompletion(new(2, message.RequesterId, null, Pasid.Invalid, (1ul << message.Tag) | (1ul << 32)));

    public void SendPageRequestGroupResponse(in PcieMessage message) => Responses.Add(message);

    public void Dispose()
    {
        _driver?.Dispose();
        if (_ownsMemory)
        {
            Memory.Dispose();
        }
    }
}

/// <summary>Shortcuts that tests read well with.</summary>
internal static class DomainExtensions
{
    public static void ShouldMap(
        this PagingDomain domain, ulong iova, ulong address, ulong length = Rig.Page, Access access = Access.ReadWrite) =>
        domain.Map(new(iova), new(address), length, access).ShouldBe(Errno.Success);

    /// <summary>Unmaps and synchronises.</summary>
    public static void ShouldUnmap(this PagingDomain domain, ulong iova, ulong length = Rig.Page)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        unmapped.ShouldBe(length);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
    }
}
