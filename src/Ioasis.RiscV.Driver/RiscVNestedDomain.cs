using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A guest's first stage on a second stage of the host: a page table or a process directory in the guest's memory, which the
/// hardware reaches through the parent. The guest chooses its own PSCIDs; the GSCID of the parent keeps them apart from others.
/// </summary>
internal sealed partial class RiscVNestedDomain : NestedDomain
{
    private const ulong AllowedControl = DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.FirstStageAdUpdateBit
        | DeviceTranslationControl.DefaultProcessBit | DeviceTranslationControl.FirstStageBigEndianBit;

    private const ulong PscidInPlace = DeviceTranslationAttributes.PscidMask << DeviceTranslationAttributes.PscidShift;

    private readonly RiscVPagingDomain _parent;
    private readonly IoLock _lock = new();

    private readonly List<GuestAttachment> _attached = [];

    // Replaced, never changed: invalidators read it without a lock.
    private GuestDevice[] _devices = [];

    private RiscVNestedDomain(RiscVPagingDomain parent, ulong control, uint pscid, ulong firstStage)
    {
        _parent = parent;
        Control = control;
        Pscid = pscid;
        FirstStage = firstStage;
    }

    /// <inheritdoc/>
    public override PagingDomain Parent => _parent;

    internal RiscVPagingDomain SecondStage => _parent;

    /// <summary>The guest's bits of <c>tc</c>.</summary>
    internal ulong Control { get; }

    /// <summary>The guest's PSCID for requests without a process; 0 with a process directory.</summary>
    internal uint Pscid { get; }

    /// <summary>The <c>fsc</c> field: a guest-physical address with a mode.</summary>
    internal ulong FirstStage { get; }

    /// <summary>
    /// Makes a domain from what the guest wants: <c>tc</c>, <c>ta</c>, <c>fsc</c> and a doubleword that is 0, little-endian.
    /// </summary>
    /// <param name="iommu">The IOMMU that it is made for.</param>
    /// <param name="parent">The second stage.</param>
    /// <param name="data">The doublewords.</param>
    /// <param name="domain">The domain.</param>
    /// <param name="wrong">What is wrong with the data, in words.</param>
    internal static Errno TryCreate(
        RiscVIommuInstance iommu,
        RiscVPagingDomain parent,
        ReadOnlySpan<byte> data,
        out RiscVNestedDomain? domain,
        out string? wrong)
    {
        domain = null;
        if (data.Length < NestedTranslation.DataSize || data[NestedTranslation.DataSize..].ContainsAnyExcept((byte)0))
        {
            wrong = "the length of the data";
            return Errno.InvalidArgument;
        }

        ulong control = BinaryPrimitives.ReadUInt64LittleEndian(data[NestedTranslation.ControlOffset..]);
        ulong attributes = BinaryPrimitives.ReadUInt64LittleEndian(data[NestedTranslation.AttributesOffset..]);
        ulong firstStage = BinaryPrimitives.ReadUInt64LittleEndian(data[NestedTranslation.FirstStageOffset..]);
        ulong reserved = BinaryPrimitives.ReadUInt64LittleEndian(data[NestedTranslation.ReservedOffset..]);
        bool hasDirectory = (control & DeviceTranslationControl.PdtValidBit) != 0;
        wrong = (control & ~AllowedControl) != 0 ? "tc: a bit that is not the guest's"
            : !hasDirectory && (control & DeviceTranslationControl.DefaultProcessBit) != 0 ? "tc: DPE without PDTV"
            : (attributes & ~(hasDirectory ? 0 : PscidInPlace)) != 0 ? "ta: something else than a PSCID, or one with PDTV"
            : (firstStage & TablePointer.ReservedMask) != 0 ? "fsc: reserved bits"
            : reserved != 0 ? "the reserved doubleword"
            : null;
        if (wrong is not null)
        {
            return Errno.InvalidArgument;
        }

        domain = new(
            parent, control, (uint)((attributes & PscidInPlace) >> DeviceTranslationAttributes.PscidShift), firstStage);
        wrong = domain.MissingFrom(iommu.Hardware);
        domain = wrong is null ? domain : null;
        return wrong is null ? Errno.Success : Errno.InvalidArgument;
    }

    /// <summary>What an IOMMU lacks to walk the guest's tables, in words; null if nothing.</summary>
    internal string? MissingFrom(Capabilities capabilities)
    {
        int mode = TablePointer.Mode(FirstStage);
        bool isSupported = (Control & DeviceTranslationControl.PdtValidBit) != 0
            ? mode switch
            {
                Pdtp.ModeBare => true,
                Pdtp.ModePd8 => capabilities.Pd8,
                Pdtp.ModePd17 => capabilities.Pd17,
                Pdtp.ModePd20 => capabilities.Pd20,
                _ => false,
            }
            : mode switch
            {
                Iosatp.ModeBare => true,
                Iosatp.ModeSv39 => capabilities.Sv39,
                Iosatp.ModeSv48 => capabilities.Sv48,
                Iosatp.ModeSv57 => capabilities.Sv57,
                _ => false,
            };
        return !isSupported ? "fsc: a mode that the hardware does not have"
            : (Control & DeviceTranslationControl.FirstStageAdUpdateBit) != 0 && !capabilities.AmoHwad
                ? "tc: SADE, which the hardware does not have"
            : (Control & DeviceTranslationControl.FirstStageBigEndianBit) != 0 && !capabilities.End
                ? "tc: SBE, which the hardware does not have"
            : null;
    }

    /// <summary>A device will use the domain: what the guest invalidates concerns it from now on.</summary>
    internal void Add(GuestAttachment attachment)
    {
        using (_lock.Acquire())
        {
            _attached.Add(attachment);
            Publish();
        }

        Interlocked.MemoryBarrier();
    }

    /// <summary>The device uses it no more, and nothing of it is cached.</summary>
    internal void Remove(GuestAttachment attachment)
    {
        using (_lock.Acquire())
        {
            _ = _attached.Remove(attachment);
            Publish();
        }
    }

    private void Publish() => Volatile.Write(
        ref _devices, [.. _attached.Select(static attachment => new GuestDevice(attachment.Iommu, attachment.DeviceId, null))]);
}
