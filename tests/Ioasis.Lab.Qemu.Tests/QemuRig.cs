using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>How a rig is put together.</summary>
internal sealed record QemuRigOptions
{
    /// <summary>Properties of <c>riscv-iommu-pci</c>, with a comma before each.</summary>
    public string Iommu { get; init; } = "";

    /// <summary>The IOMMU of the machine itself, in place of one on PCI.</summary>
    public bool IsSystemIommu { get; init; }

    /// <summary>Value of <c>-M</c>.</summary>
    public string Machine { get; init; } = "virt,aia=aplic-imsic";

    /// <summary>Devices beside the IOMMU.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [LabRig.Edu, "iommu-testdev"];

    /// <summary>Numbers for buses behind bridges.</summary>
    public Func<int, int>? ChooseBus { get; init; }

    /// <summary>How the driver runs the IOMMU.</summary>
    public RiscVDriverOptions Driver { get; init; } = new();

    /// <summary>What happens to the IOMMU before the driver sees it.</summary>
    public Action<QemuRig>? BeforeProbe { get; init; }

    /// <summary>What stands between the driver and the registers.</summary>
    public Func<IRegisterWindow, IRegisterWindow> Registers { get; init; } = static registers => registers;

    public Func<IPhysicalMemory, IPhysicalMemory> DriverMemory { get; init; } = static memory => memory;

    /// <summary>Whether the core is told of the devices.</summary>
    public bool AddDevices { get; init; } = true;

    /// <summary>PASID bits of each device.</summary>
    public int PasidBits { get; init; }

    /// <summary>What is able to lose invalidations; it stands between the driver and its queue.</summary>
    public CommandFilter? Filter { get; init; }
}

/// <summary>QEMU's RISC-V IOMMU, on PCI or of the machine itself.</summary>
internal sealed class QemuRig : LabRig
{
    public const ulong DataStart = 0x8800_0000;
    public const ulong DataLast = 0x8fff_ffff;

    private const ulong TablesStart = 0x8000_0000;
    private const ulong TablesLast = 0x83ff_ffff;
    private const ulong MessagesStart = 0x8400_0000;
    private const uint MessageData = 0x4d00;
    private const int Messages = 16;

    // From the machine's device tree: reg and interrupts of iommu@3010000.
    private const ulong SystemIommuStart = 0x0301_0000;
    private const int SystemFirstLine = 0x24;

    private readonly CommandFilter? _filter;
    private readonly RiscVIommuInstance? _driver;

    public QemuRig(QemuRigOptions? options = null)
        : base(Lab.QemuRiscV, MachineOf(options ?? new()), options?.ChooseBus)
    {
        options ??= new();
        _filter = options.Filter;
        if (_filter is not null)
        {
            LosesInvalidations = false;
        }

        try
        {
            if (options.IsSystemIommu)
            {
                InterceptWires();
                Registers = Machine.Registers(SystemIommuStart);
            }
            else
            {
                PciFunction function = Pci.Find(0x1b36, 0x0014)[0];
                function.EnableMsix();
                Registers = Machine.Registers(function.Bar(0));
            }

            Pages = new(Memory, new(TablesStart, TablesLast));
            DriverOptions = options.Driver with
            {
                FaultSink = this,
                Logger = this,
                CommandTimeout = TimeSpan.FromSeconds(30),
                MsiMessages =
                [
                    .. Enumerable.Range(0, Messages).Select(static vector => new MsiMessage(
                        new(MessagesStart + ((ulong)vector * 4)), MessageData + (uint)vector)),
                ],
            };
            options.BeforeProbe?.Invoke(this);
            IRegisterWindow registers = options.Registers(Registers);
            IPhysicalMemory memory = options.DriverMemory(Memory);
            ProbeResult = RiscVIommuInstance.TryProbe(
                _filter?.Registers(registers) ?? registers, _filter?.Memory(memory) ?? memory, Pages, DriverOptions, out _driver);
            if (_driver is not null)
            {
                FindDevices(options.AddDevices, options.PasidBits);
            }
        }
        catch
        {
            Machine.Dispose();
            throw;
        }
    }

    public QtestRegisters Registers { get; }

    public RangePageAllocator Pages { get; }

    public RiscVDriverOptions DriverOptions { get; } = new();

    public Errno ProbeResult { get; }

    public RiscVIommuInstance Driver =>
        _driver ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{LogText}");

    public override IommuInstance Iommu => Driver;

    public override AddressRange Data { get; } = new(DataStart, DataLast);

    public override long Flushes => Driver.Statistics.AddressSpaceFlushes;

    public override long Waits => Driver.Statistics.Fences;

    public override long QueueRecoveries => Driver.Statistics.QueueRecoveries;

    public override long QueueFailures => Driver.Statistics.QueueFailures;

    public override int InvalidationLimit => DriverOptions.InvalidationCommandLimit;

    public override int MostPagesWithoutFlush => DriverOptions.InvalidationCommandLimit;

    public override bool LosesInvalidations
    {
        set => _filter!.IsOn = value;
    }

    /// <summary>Those of the interrupts that came by wire; the others came as messages in memory.</summary>
    public int WireInterrupts { get; private set; }

    public static QemuRig For(LabNeeds needs) => new(new()
    {
        Devices = needs.Devices,
        Driver = new()
        {
            UseNapot = false,
            Quirks = RiscVQuirks.SuperpagesInPieces,
            PscidBits = needs.FewAddressSpaces ? 1 : new RiscVDriverOptions().PscidBits,
            CommandQueueSizeLog2 = needs.SmallQueue ? 4 : new RiscVDriverOptions().CommandQueueSizeLog2,
        },
        Filter = needs.CanLoseInvalidations ? CommandFilter.LosesInvalidations() : null,
    });

    public override RiscVPagingDomain NewDomain(IommuDevice device)
    {
        Driver.TryAllocatePagingDomain(device, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        return (RiscVPagingDomain)domain!;
    }

    public RiscVPagingDomain NewSecondStage(IommuDevice device, InterruptFileAddresses? interruptFiles = null)
    {
        Driver.TryAllocatePagingDomain(
            device, new() { NestParent = true }, interruptFiles, out RiscVPagingDomain? domain).ShouldBe(Errno.Success);
        return domain!;
    }

    public override RiscVPagingDomain NewAttachedDomain(EduDevice edu) => (RiscVPagingDomain)base.NewAttachedDomain(edu);

    public override void HandleInterrupts()
    {
        for (int round = 0; round < 64; round++)
        {
            bool any = false;
            byte[] messages = Memory.ReadBytes(new(MessagesStart), Messages * 4);
            for (int vector = 0; vector < Messages; vector++)
            {
                uint data = BitConverter.ToUInt32(messages, vector * 4);
                if (data == 0)
                {
                    continue;
                }

                data.ShouldBe(MessageData + (uint)vector);
                _ = Memory.Write32(new(MessagesStart + ((ulong)vector * 4)), 0);
                any = true;
                Deliver(vector);
            }

            while (Machine.Qtest.TryTakeInterrupt(out QtestInterrupt interrupt))
            {
                int vector = interrupt.Line - SystemFirstLine;
                if (interrupt.Raised && vector is >= 0 and < 4)
                {
                    any = true;
                    WireInterrupts++;
                    Deliver(vector);
                }
            }

            if (!any)
            {
                return;
            }
        }

        throw new InvalidOperationException("interrupts do not end");
    }

    /// <summary>Has the IOMMU translate an address for a process of a device, in its debug registers; null if it faults.</summary>
    public ulong? Translate(DeviceId device, Pasid pasid, ulong iova)
    {
        Registers.Write64(RegisterOffset.TranslationRequestIova, iova & ~(Page - 1));
        Registers.Write64(
            RegisterOffset.TranslationRequestControl,
            ((ulong)device.Value << TranslationRequestControl.DidShift) | TranslationRequestControl.PidValidBit
            | ((ulong)pasid.Value << TranslationRequestControl.PidShift) | TranslationRequestControl.GoBusyBit);
        (Registers.Read64(RegisterOffset.TranslationRequestControl) & TranslationRequestControl.GoBusyBit).ShouldBe(0ul);
        ulong response = Registers.Read64(RegisterOffset.TranslationResponse);
        HandleInterrupts();
        Faults.Clear();
        return (response & TranslationResponse.FaultBit) != 0 ? null : PpnField.ToAddress(response) | (iova & (Page - 1));
    }

    /// <summary>As the base's, by RISC-V's name of the cause.</summary>
    public IommuFault ShouldFault(EduDevice edu, ulong iova, FaultCause cause, bool write = false, int count = 4) =>
        ShouldFault(edu, iova, (int)cause, write, count);

    public override int CauseOf(Refusal refusal, bool write) => (int)(
        refusal == Refusal.NotAttached ? FaultCause.DdtEntryNotValid
        : write ? FaultCause.WritePageFault
        : FaultCause.ReadPageFault);

    protected override void DisposeDriver() => _driver?.Dispose();

    private static QemuMachineOptions MachineOf(QemuRigOptions options)
    {
        string[] iommu = options.IsSystemIommu ? [] : [$"riscv-iommu-pci,addr=1{options.Iommu}"];
        return new()
        {
            Machine = options.Machine + (options.IsSystemIommu ? ",iommu-sys=on" : ""),
            Devices = [.. iommu, .. options.Devices],
        };
    }

    // What reaches the interrupt controller that the wires of devices lead to; of two, the machine's own (M-level) is first.
    private void InterceptWires()
    {
        string controller = Machine.Qmp.TryFindDevice("riscv.sifive.plic") ?? Machine.Qmp.TryFindDevice("riscv.aplic")
            ?? throw new InvalidOperationException("the machine has no interrupt controller");
        _ = Machine.Qtest.Ask($"irq_intercept_in {controller}");
    }

    private void Deliver(int vector)
    {
        Interrupts++;
        Driver.HandleInterrupt(vector);
    }
}
