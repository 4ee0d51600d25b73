using System.Globalization;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>What a DMA that is refused met, in terms that every IOMMU has a cause for.</summary>
internal enum Refusal
{
    /// <summary>The device is attached to nothing.</summary>
    NotAttached,

    /// <summary>The page is not mapped.</summary>
    NotMapped,

    /// <summary>The page is mapped for reading only.</summary>
    ReadOnly,
}

/// <summary>What a test that runs on every IOMMU needs of it.</summary>
internal sealed record LabNeeds
{
    /// <summary>Devices beside the IOMMU.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [LabRig.Edu, "iommu-testdev"];

    /// <summary>As few address spaces as the driver can be told to use.</summary>
    public bool FewAddressSpaces { get; init; }

    /// <summary>The smallest queue that the driver can be told to use.</summary>
    public bool SmallQueue { get; init; }

    /// <summary>That <see cref="LabRig.LosesInvalidations"/> can be set.</summary>
    public bool CanLoseInvalidations { get; init; }
}

/// <summary>One of QEMU's IOMMUs with devices behind it, our driver over its registers and memory, and the core on top.</summary>
internal abstract class LabRig : IIommuFaultSink, ILogger, IDisposable
{
    public const ulong Page = 4096;
    public const string Edu = "edu,dma_mask=0xffffffffffffffff";

    private readonly List<string> _log = [];

    protected LabRig(string program, QemuMachineOptions machine, Func<int, int>? chooseBus = null)
    {
        Machine = QemuMachine.Start(program, machine);
        try
        {
            Pci = PciHost.Enumerate(Machine, chooseBus);
        }
        catch
        {
            Machine.Dispose();
            throw;
        }
    }

    public QemuMachine Machine { get; }

    public PciHost Pci { get; }

    public QtestMemory Memory => Machine.Memory;

    public IommuSubsystem Core { get; } = new();

    /// <summary>The IOMMU, with our driver.</summary>
    public abstract IommuInstance Iommu { get; }

    /// <summary>Memory for data, which no driver allocates from: 128 MiB.</summary>
    public abstract AddressRange Data { get; }

    public IReadOnlyList<EduDevice> Edus { get; private set; } = [];

    public IReadOnlyList<IommuTestDevice> TestDevices { get; private set; } = [];

    public Dictionary<DeviceId, IommuDevice> Devices { get; } = [];

    public List<IommuFault> Faults { get; } = [];

    public int Lost { get; private set; }

    /// <summary>Interrupts of the IOMMU that arrived.</summary>
    public int Interrupts { get; protected set; }

    /// <summary>Invalidations of a whole address space so far.</summary>
    public abstract long Flushes { get; }

    /// <summary>Times so far that the driver had the IOMMU confirm what was before.</summary>
    public abstract long Waits { get; }

    /// <summary>Times so far that the driver's queue was started again after an error.</summary>
    public abstract long QueueRecoveries { get; }

    /// <summary>Times so far that the driver's queue was given up.</summary>
    public abstract long QueueFailures { get; }

    /// <summary>Most commands for one unmap.</summary>
    public abstract int InvalidationLimit { get; }

    /// <summary>Most neighbouring pages that are unmapped without an invalidation of the whole address space.</summary>
    public abstract int MostPagesWithoutFlush { get; }

    /// <summary>Whether invalidations of translations get lost on their way to the IOMMU.</summary>
    public abstract bool LosesInvalidations { set; }

    public string LogText => string.Join('\n', _log);

    public abstract PagingDomain NewDomain(IommuDevice device);

    public IommuDevice AddDevice(DeviceId id, int pasidBits = 0)
    {
        Core.TryAddDevice(Iommu, id, id.ToString(), null, new() { PasidBits = pasidBits }, out IommuDevice? device)
            .ShouldBe(Errno.Success, LogText);
        return device!;
    }

    /// <summary>A domain that a device is attached to.</summary>
    public virtual PagingDomain NewAttachedDomain(EduDevice edu)
    {
        PagingDomain domain = NewDomain(Devices[edu.Id]);
        Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success, LogText);
        return domain;
    }

    /// <summary>Gives the driver the interrupts that came.</summary>
    public abstract void HandleInterrupts();

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
    public IommuFault ShouldFault(EduDevice edu, ulong iova, Refusal refusal, bool write = false, int count = 4) =>
        ShouldFault(edu, iova, CauseOf(refusal, write), write, count);

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
            DisposeDriver();
        }
        finally
        {
            Machine.Dispose();
        }
    }

    /// <summary>The IOMMU's own number for why a DMA is refused.</summary>
    public abstract int CauseOf(Refusal refusal, bool write);

    /// <summary>The address that a fault at an IOVA is reported with.</summary>
    protected virtual ulong ReportedAddress(ulong iova) => iova;

    protected abstract void DisposeDriver();

    protected IommuFault ShouldFault(EduDevice edu, ulong iova, int cause, bool write, int count)
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
        fault.Cause.ShouldBe(cause);
        fault.DeviceId.ShouldBe(edu.Id);
        fault.Device.ShouldBe(Devices.GetValueOrDefault(edu.Id));
        fault.Iova.ShouldBe(new Iova(ReportedAddress(iova)));
        fault.Access.ShouldBe(write ? Access.Write : Access.Read);
        Faults.Clear();
        return fault;
    }

    // Once the driver has the IOMMU.
    protected void FindDevices(bool addDevices, int pasidBits = 0)
    {
        Edus = [.. Pci.Find(EduDevice.Vendor, EduDevice.Product).Select(f => new EduDevice(Machine, f))];
        TestDevices = [.. Pci.Find(IommuTestDevice.Vendor, IommuTestDevice.Product).Select(f => new IommuTestDevice(Machine, f))];
        foreach (DeviceId id in addDevices ? Edus.Select(static e => e.Id).Concat(TestDevices.Select(static t => t.Id)) : [])
        {
            Devices.Add(id, AddDevice(id, pasidBits));
        }
    }
}
