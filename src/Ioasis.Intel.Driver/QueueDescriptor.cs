using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Primitives;
using PageResponseCode = Ioasis.Intel.Architecture.PageResponseCode;

namespace Ioasis.Intel.Driver;

/// <summary>A descriptor of the invalidation queue (section 6.5.2): two doublewords; two more of a wide one are 0.</summary>
internal readonly record struct QueueDescriptor(ulong Low, ulong High)
{
    /// <summary>The type.</summary>
    public DescriptorType Type => Descriptor.Type(Low);

    /// <summary>The first doubleword's requester, of a descriptor for a device-TLB.</summary>
    public ushort DeviceTlbSource => (ushort)(Low >> (Type == DescriptorType.DeviceTlb ? Descriptor.SourceIdShift : Descriptor.LowSourceIdShift));

    /// <summary>Whether it asks a device.</summary>
    public bool IsForDevice => Type is DescriptorType.DeviceTlb or DescriptorType.PasidDeviceTlb;

    /// <summary>Whether it is about the IOMMU's own caches, so that an invalidation of everything does the same.</summary>
    public bool IsForCaches => Type is DescriptorType.ContextCache or DescriptorType.Iotlb or DescriptorType.PasidIotlb or DescriptorType.PasidCache;

    /// <summary>Whether it reports that all before it is done.</summary>
    public bool IsReporting => (Low & (0xful | Descriptor.WaitStatusBit)) == ((ulong)DescriptorType.Wait | Descriptor.WaitStatusBit);

    /// <summary>What a reporting one stores.</summary>
    public uint Stamp => (uint)(Low >> Descriptor.WaitDataShift);

    /// <summary>A wait that reports to nobody: what takes the place of a descriptor that is not wanted any more.</summary>
    public static QueueDescriptor Nothing => new((ulong)DescriptorType.Wait | Descriptor.WaitFenceBit, 0);

    /// <summary>Stores a number when all before it is done; nothing behind it begins before, so that numbers come in order.</summary>
    public static QueueDescriptor Report(uint stamp, PhysicalAddress address, bool drainsPageRequests = false) => new(
        (ulong)DescriptorType.Wait | Descriptor.WaitStatusBit | Descriptor.WaitFenceBit
            | (drainsPageRequests ? Descriptor.WaitDrainBit : 0) | ((ulong)stamp << Descriptor.WaitDataShift),
        address.Value);

    /// <summary>The context cache, all of it.</summary>
    public static QueueDescriptor AllContexts =>
        new((ulong)DescriptorType.ContextCache | ((ulong)InvalidationGranularity.Global << Descriptor.GranularityShift), 0);

    /// <summary>The PASID cache, all of it; in scalable mode.</summary>
    public static QueueDescriptor AllPasids =>
        new((ulong)DescriptorType.PasidCache | ((ulong)PasidCacheGranularity.Global << Descriptor.GranularityShift), 0);

    /// <summary>The context of one device.</summary>
    /// <param name="sourceId">The device.</param>
    /// <param name="domainId">In legacy mode the domain that the context named; in scalable mode it does not count.</param>
    public static QueueDescriptor Context(ushort sourceId, uint domainId) => new(
        (ulong)DescriptorType.ContextCache | ((ulong)InvalidationGranularity.Selective << Descriptor.GranularityShift)
            | ((ulong)domainId << Descriptor.DomainIdShift) | ((ulong)sourceId << Descriptor.SourceIdShift),
        0);

    /// <summary>A PASID of a domain, in the PASID cache.</summary>
    public static QueueDescriptor PasidEntry(uint domainId, uint pasid) => new(
        (ulong)DescriptorType.PasidCache | ((ulong)PasidCacheGranularity.Pasid << Descriptor.GranularityShift)
            | ((ulong)domainId << Descriptor.DomainIdShift) | ((ulong)pasid << Descriptor.PasidShift),
        0);

    /// <summary>Translations and paging structures: everything.</summary>
    /// <param name="drains">Which of <see cref="Descriptor.DrainReadsBit"/> and <see cref="Descriptor.DrainWritesBit"/> the hardware has.</param>
    public static QueueDescriptor AllTranslations(ulong drains) =>
        new((ulong)DescriptorType.Iotlb | ((ulong)InvalidationGranularity.Global << Descriptor.GranularityShift) | drains, 0);

    /// <summary>Translations and paging structures of a domain, whatever stage.</summary>
    public static QueueDescriptor Translations(uint domainId, ulong drains) => new(
        (ulong)DescriptorType.Iotlb | ((ulong)InvalidationGranularity.Domain << Descriptor.GranularityShift) | drains
            | ((ulong)domainId << Descriptor.DomainIdShift),
        0);

    /// <summary>A range of second-stage addresses of a domain.</summary>
    /// <param name="domainId">The domain.</param>
    /// <param name="address">First byte, aligned to the range.</param>
    /// <param name="mask">log2 of the 4 KiB pages.</param>
    /// <param name="leavesOnly">No entry that leads to a table was changed.</param>
    /// <param name="drains">As of <see cref="AllTranslations"/>.</param>
    public static QueueDescriptor Translations(uint domainId, ulong address, int mask, bool leavesOnly, ulong drains) => new(
        (ulong)DescriptorType.Iotlb | ((ulong)InvalidationGranularity.Selective << Descriptor.GranularityShift) | drains
            | ((ulong)domainId << Descriptor.DomainIdShift),
        AddressAndMask(address, mask, leavesOnly));

    /// <summary>First-stage translations and paging structures of a PASID of a domain.</summary>
    public static QueueDescriptor FirstStage(uint domainId, uint pasid) => new(
        (ulong)DescriptorType.PasidIotlb | ((ulong)PasidIotlbGranularity.Pasid << Descriptor.GranularityShift)
            | ((ulong)domainId << Descriptor.DomainIdShift) | ((ulong)pasid << Descriptor.PasidShift),
        0);

    /// <summary>A range of first-stage addresses of a PASID of a domain.</summary>
    public static QueueDescriptor FirstStage(uint domainId, uint pasid, ulong address, int mask, bool leavesOnly) => new(
        (ulong)DescriptorType.PasidIotlb | ((ulong)PasidIotlbGranularity.Pages << Descriptor.GranularityShift)
            | ((ulong)domainId << Descriptor.DomainIdShift) | ((ulong)pasid << Descriptor.PasidShift),
        AddressAndMask(address, mask, leavesOnly));

    /// <summary>What a device caches of requests without PASID.</summary>
    /// <param name="sourceId">The device.</param>
    /// <param name="payload">PCIe's body of the request, see <see cref="PcieInvalidation"/>.</param>
    /// <param name="throttles">Whether the hardware wants to know the physical function (<see cref="ExtendedCapability.InvalidationThrottleBit"/>).</param>
    public static QueueDescriptor DeviceTlb(ushort sourceId, ulong payload, bool throttles) => new(
        (ulong)DescriptorType.DeviceTlb | ((ulong)sourceId << Descriptor.SourceIdShift) | PhysicalFunctionOf(sourceId, throttles),
        (payload & ~0xffful) | ((payload & PcieInvalidation.RangeBit) != 0 ? Descriptor.HighDeviceTlbSizeBit : 0));

    /// <summary>What a device caches of requests with a PASID, or with any if the payload is <see cref="PcieInvalidation.GlobalBit"/>.</summary>
    public static QueueDescriptor DeviceTlb(ushort sourceId, uint pasid, ulong payload, bool throttles) => new(
        (ulong)DescriptorType.PasidDeviceTlb | ((ulong)sourceId << Descriptor.LowSourceIdShift)
            | ((ulong)pasid << Descriptor.PasidShift) | PhysicalFunctionOf(sourceId, throttles),
        payload);

    /// <summary>The answer to a group of page requests (section 7.6.1).</summary>
    public static QueueDescriptor PageResponse(ushort sourceId, Pasid pasid, uint group, PageResponseCode code) => new(
        (ulong)DescriptorType.PageGroupResponse | (pasid.IsPresent ? Descriptor.ResponsePasidBit | ((ulong)pasid.Value << Descriptor.PasidShift) : 0)
            | ((ulong)sourceId << Descriptor.LowSourceIdShift) | ((ulong)code << Descriptor.ResponseCodeShift),
        (ulong)group << Descriptor.HighResponseGroupShift);

    private static ulong AddressAndMask(ulong address, int mask, bool leavesOnly) =>
        (address & ~0xffful) | (uint)mask | (leavesOnly ? InvalidateAddress.HintBit : 0);

    // 15:12 and 63:52. The core knows no physical functions apart: each is taken for one.
    private static ulong PhysicalFunctionOf(ushort sourceId, bool throttles) =>
        throttles ? ((sourceId & 0xful) << 12) | ((ulong)sourceId >> 4 << 52) : 0;
}
