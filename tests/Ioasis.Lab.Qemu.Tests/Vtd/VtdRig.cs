using System.Globalization;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>How QEMU's <c>intel-iommu</c> is built, and what our driver does with it: QEMU has one stage in scalable mode, either or.</summary>
public enum VtdTables
{
    /// <summary>Legacy mode, 39 bits of address: tables of 3 levels.</summary>
    Legacy3,

    /// <summary>Legacy mode, 48 bits of address: tables of 4 levels.</summary>
    Legacy4,

    /// <summary>Scalable mode with second stages.</summary>
    SecondStage,

    /// <summary>Scalable mode with first stages.</summary>
    FirstStage,
}

/// <summary>How a rig is put together.</summary>
internal sealed record VtdRigOptions
{
    public VtdTables Tables { get; init; } = VtdTables.Legacy4;

    /// <summary>Further properties of <c>intel-iommu</c>, with a comma before each.</summary>
    public string Iommu { get; init; } = "";

    /// <summary>Devices beside the IOMMU.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [LabRig.Edu, "iommu-testdev"];

    /// <summary>Numbers for buses behind bridges.</summary>
    public Func<int, int>? ChooseBus { get; init; }

    /// <summary>How the driver runs the IOMMU; its mode follows <see cref="Tables"/>.</summary>
    public VtdDriverOptions Driver { get; init; } = new() { Quirks = VtdRig.Quirks };

    /// <summary>What stands between the driver and the registers.</summary>
    public Func<IRegisterWindow, IRegisterWindow> Registers { get; init; } = static registers => registers;

    public Func<IPhysicalMemory, IPhysicalMemory> DriverMemory { get; init; } = static memory => memory;

    /// <summary>What happens to the IOMMU before the driver sees it.</summary>
    public Action<VtdRig>? BeforeProbe { get; init; }

    /// <summary>What is able to lose invalidations.</summary>
    public CommandFilter? Filter { get; init; }
}

/// <summary>QEMU's VT-d in a PC of the Q35 chipset.</summary>
/// <remarks>
/// QEMU hands its messages to the interrupt controller of a processor that does not run, whatever their address. So the rig reads of them in
/// QEMU's trace.
/// </remarks>
internal sealed class VtdRig : LabRig
{
    /// <summary>What QEMU does other than the specification asks (docs/conformance.md, "QEMU's VT-d").</summary>
    public const VtdQuirks Quirks = VtdQuirks.FirstStageHasWidth | VtdQuirks.PassThroughStays;

    public const ulong DataStart = 0x0800_0000;
    public const ulong DataLast = 0x0fff_ffff;

    // Where the chipset has the registers of its first IOMMU (QEMU: ACPI table DMAR).
    private const ulong RegistersStart = 0xfed9_0000;
    private const ulong TablesStart = 0x0100_0000;
    private const ulong TablesLast = 0x03ff_ffff;
    private const string MessageEvent = "vtd_irq_generate";
    private const uint FirstMessage = 0x21;

    private readonly CommandFilter? _filter;
    private readonly VtdIommuInstance? _driver;

    public VtdRig(VtdRigOptions? options = null)
        : base(Lab.QemuX86, MachineOf(options ?? new()), options?.ChooseBus)
    {
        options ??= new();
        Tables = options.Tables;
        _filter = options.Filter;
        if (_filter is not null)
        {
            LosesInvalidations = false;
        }

        try
        {
            Registers = Machine.Registers(RegistersStart);
            Pages = new(Memory, new(TablesStart, TablesLast));
            DriverOptions = options.Driver with
            {
                Mode = Tables is VtdTables.Legacy3 or VtdTables.Legacy4 ? VtdMode.Legacy : VtdMode.Scalable,
                HostAddressWidth = HostAddressWidth,
                FaultSink = this,
                Logger = this,
                CommandTimeout = options.Driver.TimeProvider == TimeProvider.System ? TimeSpan.FromSeconds(30) : options.Driver.CommandTimeout,
            };
            options.BeforeProbe?.Invoke(this);
            IRegisterWindow registers = options.Registers(Registers);
            IPhysicalMemory memory = options.DriverMemory(Memory);
            ProbeResult = VtdIommuInstance.TryProbe(
                _filter?.Registers(registers) ?? registers, _filter?.Memory(memory) ?? memory, Pages, DriverOptions, out _driver);
            if (_driver is not null)
            {
                FindDevices(addDevices: true);
            }
        }
        catch
        {
            Machine.Dispose();
            throw;
        }
    }

    public VtdTables Tables { get; }

    public bool IsLegacy => Tables is VtdTables.Legacy3 or VtdTables.Legacy4;

    /// <summary>As QEMU's ACPI table has it.</summary>
    public int HostAddressWidth => Tables == VtdTables.Legacy3 ? 39 : 48;

    public QtestRegisters Registers { get; }

    public RangePageAllocator Pages { get; }

    public VtdDriverOptions DriverOptions { get; } = new();

    public Errno ProbeResult { get; }

    public VtdIommuInstance Driver => _driver ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{LogText}");

    public override IommuInstance Iommu => Driver;

    public override AddressRange Data { get; } = new(DataStart, DataLast);

    public override long Flushes => Driver.Statistics.Flushes;

    public override long Waits => Driver.Statistics.Waits;

    public override long QueueRecoveries => Driver.Statistics.QueueRecoveries;

    public override long QueueFailures => Driver.Statistics.QueueFailures;

    public override int InvalidationLimit => DriverOptions.InvalidationLimit;

    // A descriptor is for a power of two.
    public override int MostPagesWithoutFlush => int.MaxValue;

    public override bool LosesInvalidations
    {
        set => _filter!.IsOn = value;
    }

    public static VtdRig For(VtdTables tables, LabNeeds needs) => new(new()
    {
        Tables = tables,
        Devices = needs.Devices,
        Driver = new()
        {
            Quirks = Quirks,
            DomainIdBits = needs.FewAddressSpaces ? 2 : 16,
            QueueSizeLog2 = needs.SmallQueue && tables is VtdTables.SecondStage or VtdTables.FirstStage ? 7 : 8,
        },
        Filter = needs.CanLoseInvalidations ? CommandFilter.LosesVtdInvalidations() : null,
    });

    public override VtdPagingDomain NewDomain(IommuDevice device)
    {
        Driver.TryAllocatePagingDomain(device, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        return (VtdPagingDomain)domain!;
    }

    public override VtdPagingDomain NewAttachedDomain(EduDevice edu) => (VtdPagingDomain)base.NewAttachedDomain(edu);

    public override void HandleInterrupts()
    {
        for (int round = 0; round < 64; round++)
        {
            IReadOnlyList<string> events = Machine.TakeEvents();
            if (events.Count == 0)
            {
                return;
            }

            foreach (string line in events)
            {
                // "vtd_irq_generate addr 0xfee00000 data 0x21"
                string[] words = line.Split(' ');
                (words[2], words[4]).ShouldBe(("0xfee00000", words[4]));
                Interrupts++;
                Driver.HandleInterrupt((int)(uint.Parse(words[4].AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) - FirstMessage));
            }
        }

        throw new InvalidOperationException("interrupts do not end");
    }

    /// <summary>As the base's, by VT-d's name of the reason.</summary>
    public IommuFault ShouldFault(EduDevice edu, ulong iova, FaultReason reason, bool write = false, int count = 4) =>
        ShouldFault(edu, iova, (int)reason, write, count);

    // QEMU's second stage has the reasons of legacy mode in scalable mode too, and it looks at the type of a PASID-table entry that is not
    // present (docs/conformance.md, "QEMU's VT-d").
    public override int CauseOf(Refusal refusal, bool write) => (int)(
        refusal == Refusal.NotAttached ? IsLegacy ? FaultReason.ContextNotPresent : FaultReason.PasidEntryInvalid
        : Tables != VtdTables.FirstStage ? write ? FaultReason.WriteDenied : FaultReason.ReadDenied
        : refusal == Refusal.ReadOnly ? FaultReason.ScalableWriteDenied
        : FaultReason.FirstStageNotPresent);

    // Section 11.4.7.6, "FI": the page.
    protected override ulong ReportedAddress(ulong iova) => iova & FaultRecord.AddressMask;

    protected override void DisposeDriver() => _driver?.Dispose();

    /// <summary>The <c>-device</c> of an IOMMU.</summary>
    public static string DeviceOf(VtdTables tables) => "intel-iommu" + tables switch
    {
        VtdTables.Legacy3 => ",aw-bits=39",
        VtdTables.Legacy4 => "",
        VtdTables.SecondStage => ",scalable-mode=on",
        _ => ",scalable-mode=on,fsts=on",
    };

    private static QemuMachineOptions MachineOf(VtdRigOptions options) => new()
    {
        Board = QemuBoard.Q35,
        Machine = "q35",
        Devices = [DeviceOf(options.Tables) + options.Iommu, .. options.Devices],
        Events = [MessageEvent],
    };
}
