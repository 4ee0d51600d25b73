using System.Globalization;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Microsoft.Extensions.Logging;

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
    public IReadOnlyList<string> Devices { get; init; } = [QemuRig.Edu, "iommu-testdev"];

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
}

/// <summary>QEMU's IOMMU with devices behind it, our driver over its registers and memory, and the core on top.</summary>
internal sealed class QemuRig : IIommuFaultSink, ILogger, IDisposable
{
    public const ulong Page = 4096;
    public const string Edu = "edu,dma_mask=0xffffffffffffffff";

    /// <summary>Memory for data, beyond what the driver allocates from: 128 MiB.</summary>
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

    private readonly List<string> _log = [];
    private readonly RiscVIommuInstance? _driver;

    public QemuRig(QemuRigOptions? options = null)
    {
        options ??= new();
        string machine = options.Machine + (options.IsSystemIommu ? ",iommu-sys=on" : "");
        string[] iommu = options.IsSystemIommu ? [] : [$"riscv-iommu-pci,addr=1{options.Iommu}"];
        Machine = QemuMachine.Start(Lab.QemuRiscV, new() { Machine = machine, Devices = [.. iommu, .. options.Devices] });
        try
        {
            Pci = PciHost.Enumerate(Machine, options.ChooseBus);
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
            ProbeResult = RiscVIommuInstance.TryProbe(
                options.Registers(Registers), options.DriverMemory(Memory), Pages, DriverOptions, out _driver);
            if (_driver is not null)
            {
                Edus = [.. Pci.Find(EduDevice.Vendor, EduDevice.Product).Select(f => new EduDevice(Machine, f))];
                TestDevices = [.. Pci.Find(IommuTestDevice.Vendor, IommuTestDevice.Product).Select(f => new IommuTestDevice(Machine, f))];
                Devices = Edus.Select(static e => e.Id).Concat(TestDevices.Select(static t => t.Id))
                    .Where(_ => options.AddDevices)
                    .ToDictionary(static id => id, id => AddDevice(id, options.PasidBits));
            }
        }
        catch
        {
            Machine.Dispose();
            throw;
        }
    }

    public QemuMachine Machine { get; }

    public PciHost Pci { get; }

    public QtestRegisters Registers { get; }

    public QtestMemory Memory => Machine.Memory;

    public RangePageAllocator Pages { get; }

    public IommuSubsystem Core { get; } = new();

    public RiscVDriverOptions DriverOptions { get; } = new();

    public Errno ProbeResult { get; }

    public RiscVIommuInstance Driver =>
        _driver ?? throw new InvalidOperationException($"probe failed: {ProbeResult}\n{LogText}");

    public IReadOnlyList<EduDevice> Edus { get; } = [];

    public IReadOnlyList<IommuTestDevice> TestDevices { get; } = [];

    public Dictionary<DeviceId, IommuDevice> Devices { get; } = [];

    public List<IommuFault> Faults { get; } = [];

    public int Lost { get; private set; }

    /// <summary>Interrupts that arrived, as messages in memory or as a change of a wire.</summary>
    public int Interrupts { get; private set; }

    /// <summary>Those of them that came by wire.</summary>
    public int WireInterrupts { get; private set; }

    public string LogText => string.Join('\n', _log);

    public IommuDevice AddDevice(DeviceId id, int pasidBits = 0)
    {
        Core.TryAddDevice(Driver, id, id.ToString(), null, new() { PasidBits = pasidBits }, out IommuDevice? device)
            .ShouldBe(Errno.Success);
        return device!;
    }

    public RiscVPagingDomain NewDomain(IommuDevice device)
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

    public RiscVPagingDomain NewAttachedDomain(EduDevice edu)
    {
        RiscVPagingDomain domain = NewDomain(Devices[edu.Id]);
        Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        return domain;
    }

    /// <summary>Gives the driver the interrupts that came.</summary>
    public void HandleInterrupts()
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

    /// <summary>Asserts that edu's DMA, both ways, reaches exactly these bytes.</summary>
    public void ShouldReach(EduDevice edu, ulong iova, ulong address, int count = 64)
    {
        byte[] there = Noise((int)iova ^ count, count);
        Memory.Write(new(address), there).ShouldBe(MemoryStatus.Success);
        edu.ReadMemory(new(iova), count);
        _ = Memory.Write(new(address), new byte[count]);
        edu.WriteMemory(new(iova), count);
        HandleInterrupts();
        Faults.ShouldBeEmpty($"IOVA {iova:x}");
        Memory.ReadBytes(new(address), count).ShouldBe(there, $"IOVA {iova:x}");
    }

    /// <summary>Asserts that a DMA of edu is refused, changes nothing, and is reported with its cause.</summary>
    public IommuFault ShouldFault(EduDevice edu, ulong iova, FaultCause cause, bool write = false, int count = 4)
    {
        Faults.Clear();
        if (write)
        {
            edu.WriteMemory(new(iova), count);
        }
        else
        {
            edu.ReadMemory(new(iova), count);
        }

        HandleInterrupts();
        IommuFault fault = Faults.ShouldHaveSingleItem();
        ((FaultCause)fault.Cause).ShouldBe(cause);
        fault.DeviceId.ShouldBe(edu.Id);
        fault.Device.ShouldBe(Devices.GetValueOrDefault(edu.Id));
        fault.Iova.ShouldBe(new Iova(iova));
        fault.Access.ShouldBe(write ? Access.Write : Access.Read);
        Faults.Clear();
        return fault;
    }

    public static byte[] Noise(int seed, int count)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public void OnFault(in IommuFault fault) => Faults.Add(fault);

    public void OnFaultsLost() => Lost++;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _log.Add(string.Create(CultureInfo.InvariantCulture, $"{logLevel}: {formatter(state, exception)}"));

    public void Dispose()
    {
        try
        {
            _driver?.Dispose();
        }
        finally
        {
            Machine.Dispose();
        }
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

/// <summary>Shortcuts that tests read well with.</summary>
internal static class DomainExtensions
{
    public static void ShouldMap(
        this PagingDomain domain, ulong iova, ulong address, ulong length = QemuRig.Page, Access access = Access.ReadWrite) =>
        domain.Map(new(iova), new(address), length, access).ShouldBe(Errno.Success);

    /// <summary>Unmaps and synchronises.</summary>
    public static void ShouldUnmap(this PagingDomain domain, ulong iova, ulong length = QemuRig.Page)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        unmapped.ShouldBe(length);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
    }
}
