using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Intel.Hardware;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Embedded;

/// <summary>A remapping unit of Intel's Virtualization Technology for Directed I/O.</summary>
public sealed partial record VtdIommuSlot : IommuSlot
{
    /// <summary>The kind.</summary>
    public const string KindName = "vtd";

    /// <inheritdoc/>
    public override string Kind => KindName;

    /// <inheritdoc/>
    public override int PhysicalBits => Hardware.HostAddressWidth;

    /// <summary>Second stages of 4, 3 and 5 levels, and first stages of 4 and 5 levels, which only scalable mode has.</summary>
    public override IReadOnlyList<PageTableFormat> Formats => Driver.Mode == VtdMode.Legacy ? s_secondStages : s_formats;

    /// <summary>
    /// The hardware; what the platform's options say of caches and of the width of addresses replaces its own
    /// (<see cref="EmbeddedPlatformOptions.Caching"/> and those after it).
    /// </summary>
    public VtdIommuOptions Hardware { get; init; } = new();

    /// <summary>
    /// The driver; name, format, segment, clock, log, messages and fault sink are the slot's and the platform's.
    /// <see cref="VtdDriverOptions.Mode"/> chooses between legacy and scalable mode.
    /// </summary>
    public VtdDriverOptions Driver { get; init; } = new();

    /// <inheritdoc/>
    internal override EmbeddedIommu Build(in IommuSite site) => new EmbeddedVtdIommu(this, site);
}

/// <summary>A remapping unit of a platform, with its driver.</summary>
internal sealed class EmbeddedVtdIommu : EmbeddedIommu<VtdIommu, VtdIommuInstance>
{
    // The driver's vectors: faults, page requests, completed invalidations.
    private const int Vectors = 3;
    private const int PageShift = 12;
    private const uint FirstMessage = 0x21;
    private static readonly PhysicalAddress s_messageAddress = new(InterruptAddress.First);

    private readonly IPhysicalMemory _memory;

    internal EmbeddedVtdIommu(VtdIommuSlot slot, in IommuSite site)
    {
        EmbeddedPlatformOptions options = site.Options;
        _memory = site.Memory;
        if (slot.FindConflict() is { } conflict)
        {
            throw new ArgumentException(conflict, nameof(slot));
        }

        int width = Math.Min(slot.Hardware.HostAddressWidth, options.PhysicalBits);
        Interrupts = new() { Vectors = Vectors - 1 };
        Link = new(Interrupts);
        Hardware = new(
            slot.Hardware with
            {
                Caching = slot.Caching ?? options.Caching,
                HostAddressWidth = width,
                IotlbEntries = options.IotlbEntries,
                IotlbWays = options.IotlbWays,
                CollectStatistics = options.CollectStatistics,
            },
            site.Memory,
            new MessageSink(Interrupts),
            options.Link?.Invoke(Link) ?? Link);
        Link.Iommu = Hardware;
        string name = slot.NameAt(site, slot.Driver.Name);
        (int levels, bool isFirstStage) = ShapeOf(slot.Format) ?? (slot.Driver.PreferredLevels, slot.Driver.FirstStageDomains);
        Errno error = VtdIommuInstance.TryProbe(
            options.DriverRegisters?.Invoke(Hardware) ?? Hardware,
            site.DriverMemory,
            site.Pages,
            slot.Driver with
            {
                Name = name,
                Segment = slot.Hardware.Segment,
                PreferredLevels = levels,
                FirstStageDomains = isFirstStage,
                HostAddressWidth = width,
                FaultMessage = Message(0),
                PageRequestMessage = Message(1),
                InvalidationMessage = Message(2),
                FaultSink = site.Faults,
                TimeProvider = options.TimeProvider,
                Logger = options.LoggerFactory.CreateLogger<VtdIommuInstance>(),
            },
            out VtdIommuInstance? driver);
        Instance = error == Errno.Success ? driver! : throw IommuSlot.Refused(name, error);
        Interrupts.Handler = Instance.HandleInterrupt;
        DevicePort = new(Hardware, Interrupts);
    }

    /// <inheritdoc/>
    public override string Kind => VtdIommuSlot.KindName;

    /// <inheritdoc/>
    internal override IommuActivity GetActivity()
    {
        VtdStatistics statistics = Hardware.GetStatistics();
        return new(
            [.. statistics.Devices.Select(static d => new DeviceActivity(d.Device, d.Hits, d.Misses, d.Evictions, d.WalkReads))],
            [.. statistics.Descriptors.Select(static d => new CommandActivity(NameOf(d.Type), d.Executed, d.RemovedEntries, Invalidates(d.Type)))],
            [.. statistics.Faults.OrderBy(static f => f.Key).Select(static f => new FaultActivity((int)f.Key, f.Value))]);
    }

    /// <inheritdoc/>
    internal override DriverWork GetDriverWork()
    {
        VtdDriverStatistics work = Instance.Statistics;
        return new(work.Invalidations, work.QueuedDescriptors, work.QueueRecoveries, work.PageRequests);
    }

    /// <inheritdoc/>
    internal override UncachedModel CreateUncached()
    {
        VtdIommu model = new(Hardware.Options with { Caching = CachingMode.None, CollectStatistics = false }, new UnchangedMemory(_memory));
        ulong adopted = 0;
        return new(model, () =>
        {
            ulong root = Hardware.Read64(RegisterOffset.RootTableAddress);
            if (root != adopted)
            {
                model.Write64(RegisterOffset.RootTableAddress, root);
                model.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
                model.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
                adopted = root;
            }
        });
    }

    /// <inheritdoc/>
    internal override bool Invalidates(uint dataType, ReadOnlySpan<byte> entry, ulong iova)
    {
        if (dataType != VtdUapi.InvalidateDataType || entry.Length < Marshal.SizeOf<IommuHwptVtdS1Invalidate>())
        {
            return true;
        }

        var range = MemoryMarshal.Read<IommuHwptVtdS1Invalidate>(entry);
        return range.PageCount == ulong.MaxValue || (iova >= range.Address && (iova - range.Address) >> PageShift < range.PageCount);
    }

    /// <inheritdoc/>
    internal override IommuActivityTotals GetTotals()
    {
        IommuActivityTotals totals = default;
        VtdStatistics statistics = Hardware.GetStatistics();
        foreach (Hardware.DeviceStatistics device in statistics.Devices)
        {
            totals = totals with { Hits = totals.Hits + device.Hits, Misses = totals.Misses + device.Misses };
        }

        foreach (DescriptorStatistics descriptor in statistics.Descriptors)
        {
            totals = totals with
            {
                Invalidations = totals.Invalidations + (Invalidates(descriptor.Type) ? descriptor.Executed : 0),
                RemovedEntries = totals.RemovedEntries + descriptor.RemovedEntries,
            };
        }

        return totals;
    }

    /// <inheritdoc/>
    public override string NameOfFault(int cause) => FaultReasons.NameOf((FaultReason)cause) ?? "other";

    /// <inheritdoc/>
    public override bool IsPageFault(int cause, bool write) => (FaultReason)cause switch
    {
        FaultReason.FirstStageNotPresent or FaultReason.SecondStageNotPresent => true,
        FaultReason.WriteDenied or FaultReason.ScalableWriteDenied => write,
        FaultReason.ReadDenied or FaultReason.ScalableReadDenied => !write,
        _ => false,
    };

    /// <inheritdoc/>
    /// <remarks>Section 11.4.14: fault information is the page.</remarks>
    public override ulong FaultAddressMask => ~0xffful;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Describe() => new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["mode"] = Instance.IsScalable ? "scalable" : "legacy",
        ["pasid-bits"] = Instance.Capabilities.PasidBits.ToString(CultureInfo.InvariantCulture),
        ["capabilities"] = string.Create(CultureInfo.InvariantCulture, $"0x{Instance.CapabilityRegister:x}"),
        ["extended-capabilities"] = string.Create(CultureInfo.InvariantCulture, $"0x{Instance.ExtendedCapabilityRegister:x}"),
    };

    private static VtdMessage Message(int vector) => new(s_messageAddress, FirstMessage + (uint)vector);

    private static (int Levels, bool IsFirstStage)? ShapeOf(PageTableFormat? format) =>
        format is null ? null
        : format == PageTableFormat.Of<VtdStage2Level3>() ? (3, false)
        : format == PageTableFormat.Of<VtdStage2Level4>() ? (4, false)
        : format == PageTableFormat.Of<VtdStage2Level5>() ? (5, false)
        : format == PageTableFormat.Of<X64Level4>() ? (4, true)
        : format == PageTableFormat.Of<X64Level5>() ? (5, true)
        : throw new ArgumentException($"VT-d has no paging domains of format {format}.", nameof(format));

    private static bool Invalidates(DescriptorType type) => type is not (DescriptorType.Wait or DescriptorType.PageGroupResponse);

    private static string NameOf(DescriptorType type) => type switch
    {
        DescriptorType.ContextCache => "cc_inv_dsc",
        DescriptorType.Iotlb => "iotlb_inv_dsc",
        DescriptorType.DeviceTlb => "dev_tlb_inv_dsc",
        DescriptorType.InterruptEntryCache => "iec_inv_dsc",
        DescriptorType.Wait => "inv_wait_dsc",
        DescriptorType.PasidIotlb => "p_iotlb_inv_dsc",
        DescriptorType.PasidCache => "pc_inv_dsc",
        DescriptorType.PasidDeviceTlb => "p_dev_tlb_inv_dsc",
        DescriptorType.PageGroupResponse => "page_grp_resp_dsc",
        _ => "hpt_inv_dsc",
    };

    // The unit's own messages are interrupts of the driver; what a device stores into the range belongs to nobody here.
    private sealed class MessageSink(InterruptController interrupts) : IMsiSink
    {
        public MemoryStatus Send(PhysicalAddress address, uint data)
        {
            if (address == s_messageAddress && data - FirstMessage < Vectors)
            {
                interrupts.Signal((int)(data - FirstMessage));
            }

            return MemoryStatus.Success;
        }
    }
}
