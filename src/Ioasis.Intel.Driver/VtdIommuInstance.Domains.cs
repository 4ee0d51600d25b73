using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <content>Domains: which are made, and what they need of the hardware.</content>
internal sealed partial class VtdIommuInstance
{
    // struct iommu_hw_info_vtd, IOMMU_HW_INFO_TYPE_INTEL_VTD (include/uapi/linux/iommufd.h).
    private const uint HardwareInfoType = 1;
    private const int HardwareInfoSize = 24;

    private const ulong Leaf4KiB = 1ul << 12;
    private const ulong Leaf2MiB = 1ul << 21;
    private const ulong Leaf1GiB = 1ul << 30;

    /// <inheritdoc/>
    public override Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        domain = null;

        // Every table can be a PASID's; whether a device has PASIDs turns out when it is attached.
        bool isSupported = (!options.DirtyTracking || Capabilities.DirtyTracking) && (!options.NestParent || Capabilities.Nesting);
        if (!isSupported || !TryChooseShape(options, out DomainShape shape))
        {
            return Errno.NotSupported;
        }

        Errno error = VtdPagingDomain.TryCreate(this, _pages, shape, device.Node, options.DirtyTracking, out VtdPagingDomain? made);
        domain = made;
        return error;
    }

    /// <inheritdoc/>
    public override Errno TryAllocateSvaDomain(IommuDevice device, ProcessAddressSpace addressSpace, out SvaDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(addressSpace);
        domain = null;
        if (Capabilities.ProcessFormats.Count == 0)
        {
            return Errno.NotSupported;
        }

        Errno error = Platform.Injection.Hit(Platform.InjectionKind.Allocate);
        VtdSvaDomain? made = null;
        if (error == Errno.Success)
        {
            error = VtdSvaDomain.TryCreate(this, addressSpace, out made);
        }

        domain = made;
        return error;
    }

    /// <inheritdoc/>
    public override Errno TryAllocateNestedDomain(
        IommuDevice device, PagingDomain parent, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain)
    {
        domain = null;
        if (!Capabilities.Nesting || dataType != VtdNestedDomain.DataType)
        {
            return Errno.NotSupported;
        }

        if (parent is not VtdPagingDomain { IsNestParent: true } second)
        {
            return Errno.InvalidArgument;
        }

        Errno error = VtdNestedDomain.TryCreate(second, data, out VtdNestedDomain? made, out string? wrong);
        if (wrong is not null)
        {
            _options.Logger.LogWarning("{Name}: a nested domain is refused for {Wrong}", Name, wrong);
        }

        domain = made;
        return error;
    }

    /// <inheritdoc/>
    /// <remarks>Linux's <c>struct iommu_hw_info_vtd</c>: flags, 0, <c>CAP_REG</c>, <c>ECAP_REG</c>.</remarks>
    public override Errno GetHardwareInfo(out uint type, Span<byte> data, out int needed)
    {
        type = HardwareInfoType;
        needed = HardwareInfoSize;
        Span<byte> whole = stackalloc byte[HardwareInfoSize];
        whole.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(whole[8..], _capability.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(whole[16..], _extended.Value);
        whole[..Math.Min(whole.Length, data.Length)].CopyTo(data);
        return Errno.Success;
    }

    /// <summary>What stands in the way of walking a table, in words; null if nothing does.</summary>
    internal string? WhyNot(DomainShape shape) =>
        shape.IsFirstStage
            ? !HasFirstStage ? "a first stage (ECAP_REG.FSTS, in scalable mode)"
            : shape.Levels == 5 && !_capability.FirstStage5Level ? "first-stage tables of 5 levels (CAP_REG.FS5LP)"
            : (shape.LeafSizes & ~LeafSizesOf(isFirstStage: true)) != 0 ? "the sizes of pages"
            : shape.ForcesSnoop && !_extended.Has(ExtendedCapability.SnoopControlBit) ? "snoop control (ECAP_REG.SC)"
            : null
        : !HasSecondStage ? "a second stage (ECAP_REG.SSTS)"
        : !_capability.SupportsLevels(shape.Levels) ? "second-stage tables of so many levels (CAP_REG.SAGAW)"
        : (shape.LeafSizes & ~LeafSizesOf(isFirstStage: false)) != 0 ? "the sizes of pages"
        : shape.ForcesSnoop && !_extended.Has(ExtendedCapability.SnoopControlBit) ? "snoop control (ECAP_REG.SC)"
        : shape.IsNestParent && !Capabilities.Nesting ? "nested translation (ECAP_REG.NEST)"
        : null;

    private bool HasFirstStage => IsScalable && _extended.Has(ExtendedCapability.FirstStageBit);

    private bool HasSecondStage => (!IsScalable || _extended.Has(ExtendedCapability.SecondStageBit)) && _capability.LargestAddressWidth != 0;

    private ulong LeafSizesOf(bool isFirstStage) => isFirstStage
        ? Leaf4KiB | Leaf2MiB | (_capability.FirstStage1GiB ? Leaf1GiB : 0)
        : Leaf4KiB | (_capability.SecondStage2MiB ? Leaf2MiB : 0) | (_capability.SecondStage1GiB ? Leaf1GiB : 0);

    private bool TryChooseShape(in PagingDomainOptions options, out DomainShape shape)
    {
        bool needsSecond = options.NestParent || options.DirtyTracking;
        bool isFirst = HasFirstStage && !needsSecond && (_options.FirstStageDomains || !HasSecondStage);
        shape = default;
        if (!isFirst && !HasSecondStage)
        {
            return false;
        }

        ReadOnlySpan<int> byPreference = _options.PreferredLevels switch
        {
            3 => [3, 4, 5],
            4 => [4, 3, 5],
            _ => [5, 4, 3],
        };
        foreach (int levels in byPreference)
        {
            DomainShape candidate = new(isFirst, levels, ForcesSnoop, options.NestParent, LeafSizesOf(isFirst));
            if ((!isFirst || levels > 3) && WhyNot(candidate) is null)
            {
                shape = candidate;
                return true;
            }
        }

        return false;
    }

    private IommuCapabilities DescribeCapabilities()
    {
        int pasidBits = IsScalable && _extended.Has(ExtendedCapability.PasidBit) ? Math.Min(_extended.PasidBits, Pasid.Bits) : 0;
        bool hasAts = _extended.Has(ExtendedCapability.DeviceTlbBit);
        bool nests = IsScalable && HasSecondStage && _extended.Has(ExtendedCapability.NestedBit);
        return new()
        {
            PasidBits = pasidBits,
            Ats = hasAts,
            PageRequests = IsScalable && hasAts && _extended.Has(ExtendedCapability.PageRequestBit),
            DirtyTracking = TracksDirty && HasSecondStage,
            Nesting = nests,
            NestedPasids = nests && pasidBits > 0,
            ProcessFormats = pasidBits == 0 || !HasFirstStage ? []
                : _capability.FirstStage5Level ? [PageTableFormat.Of<X64Level4>(), PageTableFormat.Of<X64Level5>()]
                : [PageTableFormat.Of<X64Level4>()],
        };
    }
}
