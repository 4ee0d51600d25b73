using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Driver;
using Ioasis.Intel.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Driver;

/// <summary>What a map and a strict unmap cost through the domain, the driver and the hardware model in this process.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
public class DriverBenchmarks
{
    private const ulong Iova = 1ul << 30;
    private const ulong Target = 1ul << 31;
    private const ulong Page = 4096;
    private const ulong Gib = 1ul << 30;

    private SparsePhysicalMemory _memory = null!;
    private IommuInstance _driver = null!;
    private PagingDomain _domain = null!;
    private LazyInvalidation _lazy = null!;
    private readonly Releases _releases = new();

    /// <summary>RISC-V's formats, or a stage of VT-d of four levels, in scalable mode.</summary>
    [Params("Sv39", "Sv48", "VT-d second stage", "VT-d first stage")]
    public string Tables { get; set; } = "";

    [Params(CachingMode.Realistic, CachingMode.Hostile)]
    public CachingMode Caching { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _memory = new();
        RangePageAllocator pages = new(_memory, new(1ul << 33, (1ul << 34) - 1));
        _driver = Tables.StartsWith("VT-d", StringComparison.Ordinal) ? ProbeVtd(pages) : ProbeRiscV(pages);
        IommuSubsystem core = new();
        _ = core.TryAddDevice(_driver, new(8), "device", null, default, out IommuDevice? device);
        _ = _driver.TryAllocatePagingDomain(device!, default, out PagingDomain? domain);
        _domain = domain!;
        _ = device!.Group.Attach(_domain);
        _lazy = new(_domain, new());

        // A neighbour keeps the tables, so that the page alone is measured.
        _ = _domain.Map(new(Iova + Page), new(Target + Page), Page, Access.ReadWrite);
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        ((IDisposable)_driver).Dispose();
        _memory.Dispose();
    }

    /// <summary>The unmap with its invalidation and fence, and the map that makes it repeatable.</summary>
    [Benchmark(Baseline = true)]
    public Errno MapAndStrictUnmap4K()
    {
        _ = _domain.Map(new(Iova), new(Target), Page, Access.ReadWrite);
        InvalidationGather gather = default;
        _ = _domain.Unmap(new(Iova), Page, ref gather, out _);
        return _domain.Sync(ref gather);
    }

    /// <summary>The same without invalidation: the difference is its price. The entry was never cached.</summary>
    [Benchmark]
    public ulong MapAndUnmap4KWithoutInvalidation()
    {
        _ = _domain.Map(new(Iova), new(Target), Page, Access.ReadWrite);
        InvalidationGather gather = default;
        _ = _domain.Unmap(new(Iova), Page, ref gather, out ulong unmapped);
        gather.Clear();
        return unmapped;
    }

    /// <summary>Map and unmap with a deferred invalidation; one flush in 256.</summary>
    [Benchmark]
    public Errno MapAndLazyUnmap4K()
    {
        _ = _domain.Map(new(Iova), new(Target), Page, Access.ReadWrite);
        InvalidationGather gather = default;
        _ = _domain.Unmap(new(Iova), Page, ref gather, out _);
        return _lazy.Defer(ref gather, new(Iova, Iova + Page - 1), _releases, 0, 0);
    }

    /// <summary>A strict map and unmap of a gibibyte that is one leaf, and of one that is 262,144.</summary>
    [Benchmark]
    [Arguments(false)]
    [Arguments(true)]
    public Errno MapAndGatheredUnmap1G(bool smallPages)
    {
        // An offset of one page between the two sides leaves no room for larger leaves.
        ulong target = smallPages ? (4 * Gib) + Page : 4 * Gib;
        _ = _domain.Map(new(4 * Gib), new(target), Gib, Access.ReadWrite);
        InvalidationGather gather = default;
        _ = _domain.Unmap(new(4 * Gib), Gib, ref gather, out _);
        return _domain.Sync(ref gather);
    }

    private RiscVIommuInstance ProbeRiscV(RangePageAllocator pages)
    {
        RiscVIommu hardware = new(new() { Caching = Caching }, _memory);
        _ = RiscVIommuInstance.TryProbe(
            hardware, _memory, pages, new() { PreferredMode = Enum.Parse<PagingMode>(Tables) }, out RiscVIommuInstance? driver);
        return driver ?? throw new InvalidOperationException("probe failed");
    }

    private VtdIommuInstance ProbeVtd(RangePageAllocator pages)
    {
        VtdIommu hardware = new(new() { Caching = Caching }, _memory, null, null);
        _ = VtdIommuInstance.TryProbe(
            hardware, _memory, pages, new() { FirstStageDomains = Tables.Contains("first", StringComparison.Ordinal) }, out VtdIommuInstance? driver);
        return driver ?? throw new InvalidOperationException("probe failed");
    }

    private sealed class Releases : ILazyRelease
    {
        public ulong Count { get; private set; }

        public void Release(AddressRange range, ulong cookie0, ulong cookie1) => Count++;
    }
}
