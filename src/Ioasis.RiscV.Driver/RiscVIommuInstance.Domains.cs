using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>Domains: which are made, what they need of the hardware, and the numbers that it caches them under.</content>
internal sealed partial class RiscVIommuInstance
{
    /// <inheritdoc/>
    public override Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        Errno error = TryAllocatePagingDomain(device, options, interruptFiles: null, out RiscVPagingDomain? made);
        domain = made;
        return error;
    }

    /// <summary>Whether second stages can have MSI page tables.</summary>
    public bool SupportsMsiPageTables => _capabilities.MsiFlat && _capabilities.Has(AnySecondStage);

    /// <summary>Whether MSIs can go to memory-resident interrupt files.</summary>
    public bool SupportsResidentInterruptFiles => _capabilities.MsiMrif && _capabilities.Has(AnySecondStage);

    /// <summary>As <see cref="TryAllocatePagingDomain(IommuDevice, in PagingDomainOptions, out PagingDomain?)"/>, with an MSI page table.</summary>
    /// <param name="device">The device that the domain is for.</param>
    /// <param name="options">With <see cref="PagingDomainOptions.NestParent"/>.</param>
    /// <param name="interruptFiles">Where the devices of the domain send MSIs; null for no MSI page table.</param>
    /// <param name="domain">The domain.</param>
    public Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, InterruptFileAddresses? interruptFiles, out RiscVPagingDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        domain = null;
        bool isSupported = (!options.DirtyTracking || _capabilities.AmoHwad)
            && (interruptFiles is null || (options.NestParent && _capabilities.MsiFlat))
            && !(options.NestParent && options.Pasid);
        if (!isSupported || !TryChooseMode(options.NestParent, out PagingMode mode))
        {
            return Errno.NotSupported;
        }

        return RiscVPagingDomain.TryCreate(this, _pages, mode, device.Node, options, interruptFiles, out domain);
    }

    /// <inheritdoc/>
    public override Errno TryAllocateNestedDomain(
        IommuDevice device, PagingDomain parent, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain)
    {
        domain = null;
        if (!Capabilities.Nesting || dataType != NestedTranslation.Type)
        {
            return Errno.NotSupported;
        }

        if (parent is not RiscVPagingDomain { IsSecondStage: true } second)
        {
            return Errno.InvalidArgument;
        }

        Errno error = RiscVNestedDomain.TryCreate(this, second, data, out RiscVNestedDomain? made, out string? wrong);
        if (wrong is not null)
        {
            _options.Logger.LogWarning("{Name}: a nested domain is refused for {Wrong}", Name, wrong);
        }

        domain = made;
        return error;
    }

    /// <inheritdoc/>
    public override Errno TryAllocateVirtualIommu(
        IommuDevice device, PagingDomain parent, uint type, Span<byte> data, out VirtualIommu? made)
    {
        made = null;
        if (!Capabilities.Nesting || type != NestedTranslation.Type)
        {
            return Errno.NotSupported;
        }

        if (parent is not RiscVPagingDomain { IsSecondStage: true } second || data.ContainsAnyExcept((byte)0))
        {
            return Errno.InvalidArgument;
        }

        made = new RiscVVirtualIommu(this, second);
        return Errno.Success;
    }

    /// <inheritdoc/>
    /// <remarks>Of the capabilities, those that a guest's own IOMMU may have on this one.</remarks>
    public override Errno GetHardwareInfo(out uint type, Span<byte> data, out int needed)
    {
        const ulong guests = Architecture.Capabilities.VersionMask | AnyFirstStage | Architecture.Capabilities.Svrsw60t59bBit
            | Architecture.Capabilities.SvpbmtBit | Architecture.Capabilities.AmoHwadBit | Architecture.Capabilities.AtsBit
            | Architecture.Capabilities.EndBit | (0x3ful << Architecture.Capabilities.PasShift)
            | Architecture.Capabilities.Pd8Bit | Architecture.Capabilities.Pd17Bit | Architecture.Capabilities.Pd20Bit
            | Architecture.Capabilities.NonLeafInvalidationBit | Architecture.Capabilities.RangeInvalidationBit;
        type = NestedTranslation.Type;
        needed = NestedTranslation.HardwareSize;
        Span<byte> whole = stackalloc byte[NestedTranslation.HardwareSize];
        whole.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(whole[NestedTranslation.HardwareCapabilitiesOffset..], _capabilities.Value & guests);
        BinaryPrimitives.WriteUInt32LittleEndian(whole[NestedTranslation.HardwareFeaturesOffset..], _features);
        whole[..Math.Min(whole.Length, data.Length)].CopyTo(data);
        return Errno.Success;
    }

    /// <summary>Whether the IOMMU can walk tables of a mode, in one stage or the other.</summary>
    internal bool Supports(PagingMode mode, bool isSecondStage) => (mode, isSecondStage) switch
    {
        (PagingMode.Sv39, false) => _capabilities.Sv39,
        (PagingMode.Sv48, false) => _capabilities.Sv48,
        (_, false) => _capabilities.Sv57,
        (PagingMode.Sv39, true) => _capabilities.Sv39x4,
        (PagingMode.Sv48, true) => _capabilities.Sv48x4,
        (_, true) => _capabilities.Sv57x4,
    };

    /// <summary>Gives a PSCID or a GSCID that nothing is cached under.</summary>
    internal Errno TryAllocateTag(bool isSecondStage, out SpaceTag tag)
    {
        IdentifierAllocator allocator = isSecondStage ? _gscids : _pscids;
        Errno error = allocator.TryAllocate(out uint identifier, out bool isUnflushed);
        tag = new(isSecondStage, identifier);
        if (error != Errno.Success || !isUnflushed || !isSecondStage)
        {
            return error;
        }

        // No command reaches the first stages of all guests at once, as one does for the host's when an IOMMU is taken over.
        error = _commands!.SubmitAndWait([Command.InvalidateFirstStage(identifier, null, null), tag.InvalidateAll]);
        if (error != Errno.Success)
        {
            allocator.Free(identifier, isUnflushed: true);
        }

        return error;
    }

    /// <summary>Takes a PSCID or GSCID back, whose flush has completed.</summary>
    internal void FreeTag(SpaceTag tag) => (tag.IsSecondStage ? _gscids : _pscids).Free(tag.Identifier);

    private bool TryChooseMode(bool isSecondStage, out PagingMode mode)
    {
        ReadOnlySpan<PagingMode> byPreference = _options.PreferredMode switch
        {
            PagingMode.Sv39 => [PagingMode.Sv39, PagingMode.Sv48, PagingMode.Sv57],
            PagingMode.Sv48 => [PagingMode.Sv48, PagingMode.Sv39, PagingMode.Sv57],
            _ => [PagingMode.Sv57, PagingMode.Sv48, PagingMode.Sv39],
        };
        foreach (PagingMode candidate in byPreference)
        {
            if (Supports(candidate, isSecondStage))
            {
                mode = candidate;
                return true;
            }
        }

        mode = default;
        return false;
    }
}
