using System.Globalization;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Microsoft.Extensions.Logging;

namespace Ioasis.Embedded;

/// <summary>A RISC-V IOMMU.</summary>
public sealed record RiscVIommuSlot : IommuSlot
{
    /// <summary>The kind.</summary>
    public const string KindName = "riscv";

    /// <inheritdoc/>
    public override string Kind => KindName;

    /// <inheritdoc/>
    public override IReadOnlyList<PageTableFormat> Formats { get; } =
        [PageTableFormat.Of<Sv48>(), PageTableFormat.Of<Sv39>(), PageTableFormat.Of<Sv57>()];

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
public sealed class EmbeddedRiscVIommu : EmbeddedIommu
{
    private readonly RiscVIommuInstance _driver;
    private readonly PagingMode _mode;

    internal EmbeddedRiscVIommu(RiscVIommuSlot slot, in IommuSite site)
    {
        EmbeddedPlatformOptions options = site.Options;
        Interrupts = new();
        Link = new(Interrupts);
        Hardware = new(
            slot.Hardware with
            {
                Caching = options.Caching,
                IotlbEntries = options.IotlbEntries,
                IotlbWays = options.IotlbWays,
                CollectStatistics = options.CollectStatistics,
            },
            site.Memory,
            Interrupts,
            link: options.Link?.Invoke(Link) ?? Link);
        Link.Iommu = Hardware;
        string name = slot.Name ?? (site.Index == 0 ? slot.Driver.Name : string.Create(CultureInfo.InvariantCulture, $"{slot.Driver.Name}{site.Index}"));
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
        _driver = error == Errno.Success ? driver! : throw IommuSlot.Refused(name, error);
        Interrupts.Handler = _driver.HandleInterrupt;
        DevicePort = new(Hardware, Interrupts);
    }

    /// <inheritdoc/>
    public override string Kind => RiscVIommuSlot.KindName;

    /// <summary>The hardware.</summary>
    public RiscVIommu Hardware { get; }

    /// <summary>The driver.</summary>
    public RiscVIommuInstance Instance => _driver;

    /// <inheritdoc/>
    public override IommuInstance Driver => _driver;

    /// <inheritdoc/>
    public override IDmaPort Port => Hardware;

    /// <inheritdoc/>
    public override IPcieAtsPort Messages => Hardware;

    /// <inheritdoc/>
    public override IRegisterWindow Registers => Hardware;

    /// <inheritdoc/>
    public override IommuActivity GetActivity()
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
    public override IommuActivityTotals GetTotals()
    {
        IommuTotals totals = Hardware.GetTotals();
        return new(totals.Hits, totals.Misses, totals.Invalidations, totals.RemovedEntries);
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Describe() => new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["mode"] = _mode.ToString().ToLowerInvariant(),
        ["directory-levels"] = _driver.DirectoryLevels.ToString(CultureInfo.InvariantCulture),
        ["pasid-bits"] = _driver.Capabilities.PasidBits.ToString(CultureInfo.InvariantCulture),
        ["capabilities"] = string.Create(CultureInfo.InvariantCulture, $"0x{_driver.CapabilitiesRegister:x}"),
    };

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _driver.Dispose();
        }
    }

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
