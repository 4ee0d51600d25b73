using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>An IOMMU with devices that cache.</summary>
internal sealed class AtsRig : IPcieLink, IDisposable
{
    private readonly SparsePhysicalMemory _memory = new();
    private readonly InterruptLines _lines = new();
    private readonly Dictionary<DeviceId, DeviceCache> _caches = [];

    public AtsRig(
        Func<IPhysicalMemory, IPhysicalMemory>? hardwareMemory = null, RiscVDriverOptions? options = null,
        Func<IPhysicalMemory, IPhysicalMemory>? driverMemory = null)
    {
        RangePageAllocator pages = new(_memory, new(1ul << 32, (1ul << 33) - 1));
        Hardware = new(
            new() { Caching = CachingMode.Hostile }, hardwareMemory?.Invoke(_memory) ?? _memory, _lines, null, this);
        RiscVIommuInstance.TryProbe(
                Hardware, driverMemory?.Invoke(_memory) ?? _memory, pages, (options ?? new()) with { Logger = Log }, out RiscVIommuInstance? driver)
            .ShouldBe(Errno.Success);
        Driver = driver!;
    }

    public SparsePhysicalMemory Memory => _memory;

    public RiscVIommu Hardware { get; }

    public RiscVIommuInstance Driver { get; }

    public IommuSubsystem Core { get; } = new();

    public RecordingLogger Log { get; } = new();

    public List<PcieMessage> Responses { get; } = [];

    public IommuDevice AddDevice(
        uint id, int pasidBits = 0, bool ats = true, bool pageRequests = false, bool responsesNeedPasid = false)
    {
        IommuDeviceOptions options = new()
        {
            PasidBits = pasidBits,
            Ats = ats,
            PageRequests = pageRequests,
            PageResponsesNeedPasid = responsesNeedPasid,
        };
        Core.TryAddDevice(Driver, new(id), $"{id:x}", null, options, out IommuDevice? device).ShouldBe(Errno.Success);
        _caches[device!.Id] = new(Hardware, device.Id);
        return device;
    }

    public PagingDomain NewDomain(IommuDevice device, bool isSecondStage = false)
    {
        Driver.TryAllocatePagingDomain(device, new() { NestParent = isSecondStage }, out PagingDomain? domain).ShouldBe(Errno.Success);
        return domain!;
    }

    public Errno Attach(IommuDevice device, Pasid pasid, PagingDomain domain) =>
        pasid.IsPresent ? device.Group.AttachPasid(pasid, domain) : device.Group.Attach(domain);

    public DeviceCache CacheOf(IommuDevice device) => _caches[device.Id];

    public void SendInvalidationRequest(in PcieMessage message) => _caches[message.Device].Invalidate(message);

    public void SendPageRequestGroupResponse(in PcieMessage message) => Responses.Add(message);

    public void HandleInterrupts()
    {
        for (int round = 0; round < 16 && _lines.TryTake(out int vector); round++)
        {
            Driver.HandleInterrupt(vector);
        }
    }

    public void Dispose()
    {
        Driver.Dispose();
        _memory.Dispose();
    }
}

/// <summary>The cache of a device: it keeps what it is given until it is told to forget.</summary>
internal sealed class DeviceCache(RiscVIommu iommu, DeviceId id)
{
    private readonly Dictionary<(ulong Page, uint Pasid), PhysicalAddress> _pages = [];

    public bool Answers { get; set; } = true;

    public int Misses { get; set; }

    public bool Fetch(ulong iova, Pasid pasid)
    {
        iommu.Translate(
            new(id, new(iova), Flags(pasid), DmaKind.TranslationRequest, pasid), out DmaTranslation translation);
        if (translation.Status != DmaStatus.Success || (translation.Flags & DmaTranslationFlags.Read) == 0)
        {
            return false;
        }

        _pages[(iova >> 12, pasid.Value)] = translation.Address;
        return true;
    }

    public bool Knows(ulong iova, Pasid pasid) => _pages.ContainsKey((iova >> 12, pasid.Value));

    public DmaTranslation Access(ulong iova, Pasid pasid)
    {
        PhysicalAddress address = _pages[(iova >> 12, pasid.Value)];
        iommu.Translate(
            new(id, new(address.Value), Flags(pasid), DmaKind.Translated, pasid), out DmaTranslation translation);
        return translation;
    }

    public void Invalidate(in PcieMessage message)
    {
        if (!Answers || Misses-- > 0)
        {
            iommu.HandleInvalidationTimeout(1u << message.Tag);
            return;
        }

        ulong page = message.Payload >> 12;
        int pagesLog2 = (message.Payload & AtsInvalidatePayload.RangeBit) == 0
            ? 0
            : System.Numerics.BitOperations.TrailingZeroCount(~page) + 1;
        uint pasid = message.HasPasid ? message.Pasid.Value : 0;
        bool isGlobal = message.HasPasid && (message.Payload & AtsInvalidatePayload.GlobalBit) != 0;
        foreach ((ulong Page, uint Pasid) key in _pages.Keys.ToList())
        {
            bool isMeant = key.Pasid == pasid || (key.Pasid != 0 && isGlobal);
            if (isMeant && (pagesLog2 >= 52 || key.Page >> pagesLog2 == page >> pagesLog2))
            {
                _ = _pages.Remove(key);
            }
        }

        ulong payload = (1ul << 32) | (1ul << message.Tag);
        iommu.HandleInvalidationCompletion(new(
            PcieMessageCode.InvalidationCompletion, message.RequesterId, message.Segment, Pasid.Invalid, payload))
            .ShouldBeTrue();
    }

    private static DmaFlags Flags(Pasid pasid) => pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None;
}
