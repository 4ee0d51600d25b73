using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Embedded;

/// <summary>A RISC-V IOMMU.</summary>
public sealed partial record RiscVIommuSlot : IommuSlot
{
    /// <summary>The kind.</summary>
    public const string KindName = "riscv";

    /// <inheritdoc/>
    public override string Kind => KindName;

    /// <inheritdoc/>
    public override int PhysicalBits => SparsePhysicalMemory.MaxPhysicalBits;

    /// <inheritdoc/>
    public override IReadOnlyList<PageTableFormat> Formats => s_formats;

    /// <summary>
    /// The hardware; what the platform's options say of caches replaces its own (<see cref="EmbeddedPlatformOptions.Caching"/> and
    /// those after it).
    /// </summary>
    public RiscVIommuOptions Hardware { get; init; } = new();

    /// <summary>The driver; name, mode, clock, log and fault sink are the slot's and the platform's.</summary>
    public RiscVDriverOptions Driver { get; init; } = new();

    /// <inheritdoc/>
    internal override EmbeddedIommu Build(in IommuSite site) => new EmbeddedRiscVIommu(this, site);
}

/// <summary>A RISC-V IOMMU of a platform, with its driver.</summary>
internal sealed class EmbeddedRiscVIommu : EmbeddedIommu<RiscVIommu, RiscVIommuInstance>
{
    private const int PageShift = 12;

    private readonly PagingMode _mode;
    private readonly IPhysicalMemory _memory;

    internal EmbeddedRiscVIommu(RiscVIommuSlot slot, in IommuSite site)
    {
        EmbeddedPlatformOptions options = site.Options;
        _memory = site.Memory;
        Interrupts = new();
        Link = new(Interrupts);
        Hardware = new(
            slot.Hardware with
            {
                Caching = slot.Caching ?? options.Caching,
                IotlbEntries = options.IotlbEntries,
                IotlbWays = options.IotlbWays,
                CollectStatistics = options.CollectStatistics,
            },
            site.Memory,
            Interrupts,
            link: options.Link?.Invoke(Link) ?? Link);
        Link.Iommu = Hardware;
        string name = slot.NameAt(site, slot.Driver.Name);
        _mode = ModeOf(slot.Format) ?? slot.Driver.PreferredMode;
        Errno error = RiscVIommuInstance.TryProbe(
            options.DriverRegisters?.Invoke(Hardware) ?? Hardware,
            site.DriverMemory,
            site.Pages,
            slot.Driver with
            {
                Name = name,
                PreferredMode = _mode,
                MsiWindow = slot.MsiWindow ?? slot.Driver.MsiWindow,
                FaultSink = site.Faults,
                TimeProvider = options.TimeProvider,
                Logger = options.LoggerFactory.CreateLogger<RiscVIommuInstance>(),
            },
            out RiscVIommuInstance? driver);
        Instance = error == Errno.Success ? driver! : throw IommuSlot.Refused(name, error);
        Interrupts.Handler = Instance.HandleInterrupt;
        DevicePort = new(Hardware, Interrupts);
    }

    /// <inheritdoc/>
    public override string Kind => RiscVIommuSlot.KindName;

    /// <inheritdoc/>
    internal override IommuActivity GetActivity()
    {
        IommuStatistics statistics = Hardware.GetStatistics();
        return new(
            [.. statistics.Devices.Select(static d => new DeviceActivity(d.Device, d.Hits, d.Misses, d.Evictions, d.WalkReads))],
            [
                .. statistics.Commands.Select(static c => new CommandActivity(
                    NameOf(c.Kind), c.Executed, c.RemovedEntries, c.Kind is not (CommandKind.Fence or CommandKind.AtsPageResponse))),
            ],
            [.. statistics.Faults.OrderBy(static f => f.Key).Select(static f => new FaultActivity((int)f.Key, f.Value))]);
    }

    /// <inheritdoc/>
    internal override DriverWork GetDriverWork()
    {
        RiscVDriverStatistics work = Instance.Statistics;
        return new(work.Invalidations, work.QueuedCommands, work.QueueRecoveries, work.PageRequests);
    }

    /// <inheritdoc/>
    internal override UncachedModel CreateUncached()
    {
        RiscVIommu model = new(Hardware.Options with { Caching = CachingMode.None, CollectStatistics = false }, new UnchangedMemory(_memory));
        ulong adopted = 0;
        return new(model, () =>
        {
            ulong directory = Hardware.Read64(RegisterOffset.DeviceDirectoryTablePointer) & ~DeviceDirectoryTablePointer.BusyBit;
            if (directory != adopted)
            {
                // Features change while the directory is off.
                model.Write64(RegisterOffset.DeviceDirectoryTablePointer, (ulong)IommuMode.Off);
                model.Write32(RegisterOffset.FeaturesControl, Hardware.Read32(RegisterOffset.FeaturesControl));
                model.Write64(RegisterOffset.DeviceDirectoryTablePointer, directory);
                adopted = directory;
            }
        });
    }

    /// <inheritdoc/>
    internal override bool Invalidates(uint dataType, ReadOnlySpan<byte> entry, ulong iova)
    {
        if (dataType != RiscVUapi.InvalidateDataType || entry.Length < Marshal.SizeOf<IommuInvalidateRiscV>())
        {
            return true;
        }

        var command = MemoryMarshal.Read<IommuInvalidateRiscV>(entry);
        if ((command.Word0 & CommandBits.OpcodeMask) != (ulong)CommandOpcode.Iotinval || (command.Word0 & CommandBits.AddressValidBit) == 0)
        {
            return true;
        }

        // Of a range, the page number ends in a 0 and as many ones as its size has doublings (section 8.3).
        ulong page = command.Word1 >> CommandBits.HighAddressShift;
        ulong within = (command.Word1 & CommandBits.HighRangeBit) != 0 ? page ^ (page + 1) : 0;
        return ((iova >> PageShift) & ~within) == (page & ~within);
    }

    /// <inheritdoc/>
    internal override IommuActivityTotals GetTotals()
    {
        IommuTotals totals = Hardware.GetTotals();
        return new(totals.Hits, totals.Misses, totals.Invalidations, totals.RemovedEntries);
    }

    /// <inheritdoc/>
    /// <remarks>Section 4.2, table of CAUSE encodings.</remarks>
    public override string NameOfFault(int cause) => FaultCauses.NameOf((FaultCause)cause) ?? "other";

    /// <inheritdoc/>
    public override bool IsPageFault(int cause, bool write) => cause == (write ? 15 : 13);

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Describe() => new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["mode"] = _mode.ToString().ToLowerInvariant(),
        ["directory-levels"] = Instance.DirectoryLevels.ToString(CultureInfo.InvariantCulture),
        ["pasid-bits"] = Instance.Capabilities.PasidBits.ToString(CultureInfo.InvariantCulture),
        ["capabilities"] = string.Create(CultureInfo.InvariantCulture, $"0x{Instance.CapabilitiesRegister:x}"),
    };

    private static PagingMode? ModeOf(PageTableFormat? format) =>
        format is null ? null
        : format == PageTableFormat.Of<Sv39>() ? PagingMode.Sv39
        : format == PageTableFormat.Of<Sv48>() ? PagingMode.Sv48
        : format == PageTableFormat.Of<Sv57>() ? PagingMode.Sv57
        : throw new ArgumentException($"A RISC-V IOMMU has no paging domains of format {format}.", nameof(format));

    private static string NameOf(CommandKind kind) => kind switch
    {
        CommandKind.InvalidateFirstStage => "IOTINVAL.VMA",
        CommandKind.InvalidateFirstStageAddress => "IOTINVAL.VMA address",
        CommandKind.InvalidateSecondStage => "IOTINVAL.GVMA",
        CommandKind.InvalidateSecondStageAddress => "IOTINVAL.GVMA address",
        CommandKind.InvalidateDeviceDirectory => "IODIR.INVAL_DDT",
        CommandKind.InvalidateProcessDirectory => "IODIR.INVAL_PDT",
        CommandKind.Fence => "IOFENCE.C",
        CommandKind.AtsInvalidate => "ATS.INVAL",
        _ => "ATS.PRGR",
    };
}
