using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Driver.Tests;

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
