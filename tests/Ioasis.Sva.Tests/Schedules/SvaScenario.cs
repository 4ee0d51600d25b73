using System.Globalization;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.PageTables.Formats;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;
using ManualTime = Ioasis.Testing.ManualTime;

namespace Ioasis.Sva.Tests.Schedules;

/// <summary>
/// A hostile IOMMU, its driver, PASIDs, and devices with caches and page requests, put together anew for each run. Every page
/// (tables, queues, memory of processes) comes from one pool, and the hardware is held to it: it touches no page that was
/// given back.
/// </summary>
internal abstract class SvaScenario : Scenario
{
    public const ulong Base = 0x40_0000;
    public const ulong Size = 4096;
    private const ulong PoolStart = 1ul << 32;
    private const ulong PoolEnd = PoolStart + (1ul << 24);

    private readonly RangePageAllocator _pool;
    private readonly long _idleBytes;
    private readonly RiscVIommu _model;
    private readonly InterruptController _interrupts = new();
    private readonly EmbeddedPcieLink _link;

    protected SvaScenario(PageRequestDispatch dispatch = PageRequestDispatch.Inline)
    {
        PagedMemory memory = new();
        _pool = new(memory, new(PoolStart, PoolEnd - 1));
        Oracle = new(_pool, PoolStart, PoolEnd);
        _link = new(_interrupts);
        _model = new(
            new()
            {
                Capabilities = RiscVIommuOptions.FullCapabilities & ~(Capabilities.MsiFlatBit | Capabilities.MsiMrifBit),
                Caching = CachingMode.Hostile,
                MaxMode = IommuMode.OneLevel,
            },
            new CheckedMemory(memory, Oracle),
            _interrupts,
            link: _link);
        _link.Iommu = _model;
        WatchedMemory watched = new(memory);
        RiscVIommuInstance.TryProbe(
            new WatchedRegisters(_model),
            watched,
            Oracle,
            new()
            {
                PreferredMode = PagingMode.Sv39,
                CommandQueueSizeLog2 = 5,
                FaultQueueSizeLog2 = 5,
                PageRequestQueueSizeLog2 = 4,
                TimeProvider = Time,
            },
            out RiscVIommuInstance? driver).ShouldBe(Errno.Success);
        Driver = driver!;
        Driver.PageRequests.Options = new() { Dispatch = dispatch };
        _interrupts.Handler = Driver.HandleInterrupt;
        Frames = new(watched, Oracle);
        Allocator = new(new() { TimeProvider = Time });
        Allocator.TryCreateSet(new() { Quota = 8 }, out PasidSet? set).ShouldBe(Errno.Success);
        Manager = new(set!);
        _idleBytes = _pool.AllocatedBytes;
    }

    protected PoolOracle Oracle { get; }

    protected ManualTime Time { get; } = new();

    protected RiscVIommuInstance Driver { get; }

    protected PageFrames Frames { get; }

    protected PasidAllocator Allocator { get; }

    protected SvaManager Manager { get; }

    protected IommuSubsystem Core { get; } = new();

    public override void CheckAlways() => Oracle.Violation.ShouldBeNull();

    public override bool MaySwitch(InjectionKind kind, ulong detail) =>
        kind is not (InjectionKind.LockRelease or InjectionKind.RegisterRead or InjectionKind.MemoryRead);

    protected (EndpointAts Ats, IommuDevice Device) AddDevice(uint id)
    {
        Core.TryAddDevice(
            Driver, new(id), id.ToString(CultureInfo.InvariantCulture), null,
            new() { PasidBits = 8, Ats = true, PageRequests = true }, out IommuDevice? device).ShouldBe(Errno.Success);
        EndpointAts ats = new(_link, new InterruptingPort(_model, _interrupts), new(id), pageRequests: true);
        _link.Add(new(id), ats);
        return (ats, device!);
    }

    /// <summary>An accelerator on a device of its own.</summary>
    protected (DsaDevice Accelerator, IommuDevice Device) AddAccelerator(uint id)
    {
        (EndpointAts ats, IommuDevice device) = AddDevice(id);
        DsaDevice accelerator = new(new() { IsStepped = true });
        accelerator.Assign(new ulong[2]);
        accelerator.Connect(new(device.Id, new InterruptingPort(_model, _interrupts)) { Ats = ats });
        device.PasidDevice = new DevicePasids(accelerator);
        DsaSetup.Enable(accelerator, new DsaQueueSetup { IsShared = true, BlockOnFault = true });
        return (accelerator, device);
    }

    protected DemandPagedAddressSpace NewProcess(ulong pages = 2)
    {
        DemandPagedAddressSpace.TryCreate(Frames, PageTableFormat.Of<Sv39>(), out DemandPagedAddressSpace? mm).ShouldBe(Errno.Success);
        mm!.Map(Base, pages * Size, Access.ReadWrite).ShouldBe(Errno.Success);
        return mm;
    }

    protected SvaBinding Bind(IommuDevice device, ProcessAddressSpace mm)
    {
        Manager.Bind(device, mm, null, out SvaBinding? binding).ShouldBe(Errno.Success);
        return binding!;
    }

    /// <summary>A device's write; it asks for the page once if it is missing.</summary>
    protected static bool Dma(EndpointAts ats, Pasid pasid, ulong address, byte value = 1)
    {
        AtsStatus status = ats.Write(pasid, address, [value], out _);
        if (status == AtsStatus.PageMissing
            && ats.RequestPage(pasid, address, Access.Write, out PageTicket? ticket) == Errno.Success)
        {
            while (!ticket!.IsAnswered)
            {
                _ = Injection.Hit(InjectionKind.Wait);
            }

            status = ticket.IsSuccess ? ats.Write(pasid, address, [value], out _) : AtsStatus.PageMissing;
        }

        Note(string.Create(CultureInfo.InvariantCulture, $"DMA to 0x{address:x} with PASID {pasid}: {status}"));
        return status == AtsStatus.Success;
    }

    /// <summary>A device that goes on until it is told, and once more.</summary>
    protected static void Until(Func<bool> stop, Action access)
    {
        while (!stop())
        {
            access();
            _ = Injection.Hit(InjectionKind.Wait);
        }

        access();
    }

    /// <summary>Nothing is left but what the driver itself needs.</summary>
    protected void ShouldBeEmpty(int devices)
    {
        Allocator.Audit.Live.ShouldBe(0);
        Allocator.Audit.Parked.ShouldBe(0);
        Driver.Statistics.PscidsInUse.ShouldBe(0);
        Driver.PageRequests.Statistics.Waiting.ShouldBe(0);
        Frames.Count.ShouldBe(0);

        // Each device has a directory of processes, of one page for 8 bits, and the device directory is the driver's.
        (_pool.AllocatedBytes - _idleBytes).ShouldBe(devices * 4096L);
        CheckAlways();
    }
}

/// <summary>Knows which pages are in use.</summary>
internal sealed class PoolOracle(IPageAllocator inner, ulong start, ulong end) : IPageAllocator
{
    private readonly HashSet<ulong> _inUse = [];

    public string? Violation { get; private set; }

    public bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address)
    {
        bool done = inner.TryAllocate(sizeLog2, node, out address);
        for (ulong page = 0; done && page < 1ul << sizeLog2; page += 4096)
        {
            _ = _inUse.Add(address.Value + page);
        }

        return done;
    }

    public void Free(PhysicalAddress address, int sizeLog2)
    {
        for (ulong page = 0; page < 1ul << sizeLog2; page += 4096)
        {
            if (!_inUse.Remove(address.Value + page))
            {
                Report($"page 0x{address.Value + page:x} is freed twice");
            }
        }

        inner.Free(address, sizeLog2);
    }

    public void Touch(ulong address, string what)
    {
        if (address >= start && address < end && !_inUse.Contains(address & ~0xffful))
        {
            Report($"the hardware {what} 0x{address:x}, in a page that was freed");
        }
    }

    private void Report(FormattableString what)
    {
        string text = what.ToString(CultureInfo.InvariantCulture);
        Scenario.Note("VIOLATION: " + text);
        Violation ??= text;
    }
}

/// <summary>Memory as the hardware reaches it, held against the oracle.</summary>
internal sealed class CheckedMemory(IPhysicalMemory inner, PoolOracle oracle) : IPhysicalMemory
{
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        oracle.Touch(address.Value, "reads");
        return inner.Read(address, destination);
    }

    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        oracle.Touch(address.Value, "writes");
        return inner.Write(address, source);
    }

    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        oracle.Touch(address.Value, "reads");
        return inner.Read64(address, out value);
    }

    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        oracle.Touch(address.Value, "writes");
        return inner.Write64(address, value);
    }

    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        oracle.Touch(address.Value, "reads");
        return inner.Read32(address, out value);
    }

    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        oracle.Touch(address.Value, "writes");
        return inner.Write32(address, value);
    }

    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        oracle.Touch(address.Value, "updates");
        return inner.CompareExchange64(address, expected, desired, out observed);
    }

    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
}
