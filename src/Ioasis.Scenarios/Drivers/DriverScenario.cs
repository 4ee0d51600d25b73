using System.Globalization;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Scenarios.Checks;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// Memory, hostile IOMMUs, their drivers and the core, put together anew for each run, with the oracle at every access. Its
/// threads are calls of the core that run against each other, and devices that do DMA all the while.
/// </summary>
internal abstract class DriverScenario : Scenario
{
    /// <summary>An IOVA in each of three tables of 4 KiB leaves.</summary>
    public const ulong X = 0x4020_0000;

    public const ulong Y = 0x4020_1000;

    public const ulong Z = 0x4060_0000;

    /// <summary>Pages that domains map.</summary>
    public const ulong P1 = 0x10_0000;

    public const ulong P2 = 0x10_1000;

    public const ulong P3 = 0x10_2000;

    private const ulong PoolStart = 1ul << 32;
    private const ulong PoolEnd = PoolStart + (1ul << 24);

    private readonly PagedMemory _memory = new();
    private readonly IPageAllocator _pages;
    private readonly WatchedMemory _driverMemory;
    private readonly List<ScenarioIommu> _iommus = [];
    private readonly RangePageAllocator _pool;

    // Without a schedule, an IOMMU may stop to confirm: its clock is the drivers' then.
    protected DriverScenario(int iommus = 1, bool ats = false, IommuKind kind = IommuKind.RiscV, UnconfirmedIommu? stopping = null)
    {
        Oracle = new(PoolStart, PoolEnd);
        _pool = new(_memory, new(PoolStart, PoolEnd - 1));
        _pages = new OraclePages(_pool, Oracle);
        _driverMemory = new(new OracleMemory(_memory, Oracle.DriverAccess));
        HardwareMemory = new(_memory, Oracle.HardwareAccess);
        TimeSpan timeout = stopping is null ? TimeSpan.FromSeconds(1) : TimeSpan.FromMilliseconds(50);
        ScenarioParts parts = new(
            HardwareMemory, _driverMemory, _pages, new Link(this), stopping?.Time ?? Time, Sink, Watch, timeout, ats);
        for (int i = 0; i < iommus; i++)
        {
            _iommus.Add(ScenarioIommu.Create(kind, string.Create(CultureInfo.InvariantCulture, $"iommu{i}"), parts));
        }

        Drivers = [.. _iommus.Select(static iommu => iommu.Driver)];

        IRegisterWindow Watch(IRegisterWindow model)
        {
            IRegisterWindow guarded = new GuardedRegisters(model, this);
            return new WatchedRegisters(stopping?.Registers(guarded) ?? guarded);
        }
    }

    public Oracle Oracle { get; }

    protected IommuSubsystem Core { get; } = new();

    protected IReadOnlyList<ScenarioIommu> Iommus => _iommus;

    protected IReadOnlyList<IommuInstance> Drivers { get; }

    protected Ioasis.Testing.ManualTime Time { get; } = new();

    protected OracleMemory HardwareMemory { get; }

    protected RecordingSink Sink { get; } = new();

    protected long AllocatedBytes => _pool.AllocatedBytes;

    public override void CheckAlways() => Oracle.Violation.ShouldBeNull();

    /// <summary>Nobody gets on: only the clock can help, for waits that have a limit.</summary>
    public override bool OnIdle()
    {
        Time.Advance(TimeSpan.FromMilliseconds(250));
        return true;
    }

    public override string? Describe(InjectionKind kind, ulong detail) => kind switch
    {
        InjectionKind.RegisterRead or InjectionKind.RegisterWrite => _iommus[0].NameOfRegister((uint)detail),
        _ => null,
    };

    /// <summary>An IOMMU asks a device to forget translations.</summary>
    protected virtual void OnInvalidationRequest(in PcieMessage message)
    {
    }

    protected IommuDevice AddDevice(uint id, int iommu = 0, int pasidBits = 0, bool ats = false)
    {
        Core.TryAddDevice(
            Drivers[iommu], new(id), string.Create(CultureInfo.InvariantCulture, $"device{id}"), null,
            new() { PasidBits = pasidBits, Ats = ats }, out IommuDevice? device).ShouldBe(Errno.Success);
        return device!;
    }

    protected static TablePagingDomain NewDomain(IommuDevice device, params ReadOnlySpan<(ulong Iova, ulong Page)> mappings)
    {
        device.Iommu.TryAllocatePagingDomain(device, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        foreach ((ulong iova, ulong page) in mappings)
        {
            domain!.Map(new(iova), new(page), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        return (TablePagingDomain)domain!;
    }

    protected static TablePagingDomain NewSecondStage(IommuDevice device, params ReadOnlySpan<(ulong Address, ulong Page)> mappings) =>
        NewDomainWith(device, new() { NestParent = true }, mappings);

    protected static TablePagingDomain NewDomainWith(
        IommuDevice device, PagingDomainOptions options, params ReadOnlySpan<(ulong Iova, ulong Page)> mappings)
    {
        device.Iommu.TryAllocatePagingDomain(device, options, out PagingDomain? domain).ShouldBe(Errno.Success);
        foreach ((ulong iova, ulong page) in mappings)
        {
            domain!.Map(new(iova), new(page), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        return (TablePagingDomain)domain!;
    }

    /// <summary>Memory as a CPU that nobody watches accesses it.</summary>
    protected IPhysicalMemory PlainMemory => _memory;

    /// <summary>Unmaps, synchronises, and takes the page from everybody.</summary>
    protected void UnmapAndRevoke(PagingDomain domain, ulong iova, ulong page, ulong length = 4096)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), length, ref gather).ShouldBe(4096ul);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
        Oracle.Revoke(page);
    }

    /// <summary>A DMA write of a device.</summary>
    protected DmaStatus Dma(IommuDevice device, ulong iova, Pasid pasid = default)
    {
        Oracle.Requester = device.Id.Value;
        IDmaPort model = _iommus.Find(iommu => iommu.Driver == device.Iommu)!.Port;
        DmaFlags flags = pasid.IsPresent ? DmaFlags.Write | DmaFlags.PasidValid : DmaFlags.Write;
        DmaStatus status = model.Write(new(device.Id, new(iova), flags, DmaKind.Untranslated, pasid), [1, 2, 3, 4]);
        Oracle.Requester = null;
        Note(string.Create(CultureInfo.InvariantCulture, $"DMA of {device.Name} to 0x{iova:x}: {status}"));
        return status;
    }

    /// <summary>A device that does DMA again and again until it is told to stop, and once more.</summary>
    protected static void DmaUntil(Func<bool> stop, Action access)
    {
        while (!stop())
        {
            access();
            _ = Injection.Hit(InjectionKind.Wait);
        }

        access();
    }

    /// <summary>The IOMMU was removed: nobody may touch its registers any more (S4.3).</summary>
    protected bool RegistersAreGone { get; set; }

    private sealed class GuardedRegisters(IRegisterWindow inner, DriverScenario scenario) : RegisterDecorator(inner)
    {
        public override uint Read32(uint offset)
        {
            Check(offset);
            return base.Read32(offset);
        }

        public override ulong Read64(uint offset)
        {
            Check(offset);
            return base.Read64(offset);
        }

        public override void Write32(uint offset, uint value)
        {
            Check(offset);
            base.Write32(offset, value);
        }

        public override void Write64(uint offset, ulong value)
        {
            Check(offset);
            base.Write64(offset, value);
        }

        private void Check(uint offset)
        {
            if (scenario.RegistersAreGone)
            {
                scenario.Oracle.Blame($"the driver touches register {offset} of an IOMMU that was removed");
            }
        }
    }

    private sealed class Link(DriverScenario scenario) : IPcieLink
    {
        public void SendInvalidationRequest(in PcieMessage message) => scenario.OnInvalidationRequest(message);

        public void SendPageRequestGroupResponse(in PcieMessage message)
        {
        }
    }
}
