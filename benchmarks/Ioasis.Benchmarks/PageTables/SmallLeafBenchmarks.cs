using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.PageTables;

/// <summary>Rows with 4 KiB leaves, over 1 GiB; figures are for one page.</summary>
[Config(typeof(FullyOptimised))]
public class SmallLeafBenchmarks
{
    private const int Pages = TableSetup.PagesPerGigabyte;

    private TableSetup _setup = null!;

    public static IEnumerable<PageTableFormat> Formats => TableSetup.Formats;

    [ParamsSource(nameof(Formats))]
    public PageTableFormat Format { get; set; } = null!;

    [GlobalSetup]
    public void Create()
    {
        _setup = new(Format, smallLeavesOnly: true);

        // The pages of all tables exist once, so that no benchmark pays for the first touch of host memory.
        _setup.Map(0, 0, TableSetup.Gigabyte);
        _setup.Unmap(0, TableSetup.Gigabyte);
    }

    [GlobalCleanup]
    public void Remove() => _setup.Dispose();

    [IterationSetup(Targets = [nameof(MapPagesCold), nameof(MapGigabyteCold)])]
    public void WithoutTables() => _setup.Unmap(0, TableSetup.Gigabyte);

    [IterationSetup(Targets = [nameof(MapPagesWarm), nameof(MapGigabyteWarm)])]
    public void WithTables()
    {
        _setup.Unmap(0, TableSetup.Gigabyte);
        _setup.Map(0, 0, TableSetup.Gigabyte);
        _setup.UnmapEachPage(Pages);
    }

    [IterationSetup(Targets = [nameof(UnmapPages), nameof(UnmapPagesOneGather), nameof(UnmapGigabyte)])]
    public void WithEverythingMapped()
    {
        _setup.Unmap(0, TableSetup.Gigabyte);
        _setup.Map(0, 0, TableSetup.Gigabyte);
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public void MapPagesCold() => _setup.MapEachPage(Pages);

    [Benchmark(OperationsPerInvoke = Pages)]
    public void MapPagesWarm() => _setup.MapEachPage(Pages);

    [Benchmark(OperationsPerInvoke = Pages)]
    public void MapGigabyteCold() => _setup.Map(0, 0, TableSetup.Gigabyte);

    [Benchmark(OperationsPerInvoke = Pages)]
    public void MapGigabyteWarm() => _setup.Map(0, 0, TableSetup.Gigabyte);

    [Benchmark(OperationsPerInvoke = Pages)]
    public void UnmapPages() => _setup.UnmapEachPage(Pages);

    [Benchmark(OperationsPerInvoke = Pages)]
    public void UnmapPagesOneGather()
    {
        InvalidationGather gather = default;
        for (ulong i = 0; i < Pages; i++)
        {
            TableSetup.Check(_setup.Table.Unmap(new(i << 12), TableSetup.Page, ref gather, out _));
        }

        _setup.Table.Release(ref gather);
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public void UnmapGigabyte() => _setup.Unmap(0, TableSetup.Gigabyte);
}

/// <summary>Rows with 2 MiB and 1 GiB leaves; figures are for one call over 1 GiB.</summary>
[Config(typeof(FullyOptimised))]
public class LargeLeafBenchmarks
{
    private const int Regions = 200;

    // 2 MiB off, so that 1 GiB leaves are impossible.
    private const ulong Shifted = 1ul << 21;

    private TableSetup _setup = null!;

    public static IEnumerable<PageTableFormat> Formats => TableSetup.Formats;

    [ParamsSource(nameof(Formats))]
    public PageTableFormat Format { get; set; } = null!;

    [GlobalSetup]
    public void Create()
    {
        _setup = new(Format, smallLeavesOnly: false);
        MapAll(Shifted);
        UnmapAll();
    }

    [GlobalCleanup]
    public void Remove() => _setup.Dispose();

    // With one page of every gigabyte mapped and unmapped, the tables of 2 MiB leaves stay.
    [IterationSetup(Target = nameof(Map2MLeaves))]
    public void WithTables()
    {
        UnmapAll();
        MapAll(Shifted);
        for (ulong i = 0; i < Regions * 512; i++)
        {
            _setup.Unmap(i << 21, 1ul << 21);
        }
    }

    [IterationSetup(Target = nameof(Unmap2MLeaves))]
    public void With2MLeaves()
    {
        UnmapAll();
        MapAll(Shifted);
    }

    [IterationSetup(Target = nameof(MapOneLeaf))]
    public void WithNothing() => UnmapAll();

    [Benchmark(OperationsPerInvoke = Regions)]
    public void Map2MLeaves() => MapAll(Shifted);

    [Benchmark(OperationsPerInvoke = Regions)]
    public void Unmap2MLeaves() => UnmapAll();

    [Benchmark(OperationsPerInvoke = Regions)]
    public void MapOneLeaf() => MapAll(0);

    private void MapAll(ulong shift)
    {
        for (ulong i = 0; i < Regions; i++)
        {
            _setup.Map(i << 30, (i << 30) + shift, TableSetup.Gigabyte);
        }
    }

    private void UnmapAll()
    {
        for (ulong i = 0; i < Regions; i++)
        {
            _setup.Unmap(i << 30, TableSetup.Gigabyte);
        }
    }
}

/// <summary>Look-ups, and a map with its unmap in one spot.</summary>
public class SteadyBenchmarks
{
    private readonly ulong[] _random = new ulong[1 << 16];
    private TableSetup _setup = null!;

    public static IEnumerable<PageTableFormat> Formats => TableSetup.Formats;

    [ParamsSource(nameof(Formats))]
    public PageTableFormat Format { get; set; } = null!;

    [GlobalSetup]
    public void Create()
    {
        _setup = new(Format, smallLeavesOnly: true);
        _setup.Map(0, 0, TableSetup.Gigabyte);
        Random random = new(1);
        for (int i = 0; i < _random.Length; i++)
        {
            _random[i] = (ulong)random.NextInt64((long)TableSetup.Gigabyte);
        }
    }

    [GlobalCleanup]
    public void Remove() => _setup.Dispose();

    [Benchmark(OperationsPerInvoke = 1 << 16)]
    public ulong TranslateRandom()
    {
        ulong sum = 0;
        foreach (ulong iova in _random)
        {
            _setup.Table.TryTranslate(new(iova), out PhysicalAddress address, out _, out _);
            sum += address.Value;
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = 1 << 16)]
    public ulong TranslateSequential()
    {
        ulong sum = 0;
        for (ulong i = 0; i < 1 << 16; i++)
        {
            _setup.Table.TryTranslate(new(i << 12), out PhysicalAddress address, out _, out _);
            sum += address.Value;
        }

        return sum;
    }

    [Benchmark]
    public void MapAndUnmapOnePage()
    {
        _setup.Map(1ul << 31, 1ul << 31, TableSetup.Page);
        _setup.Unmap(1ul << 31, TableSetup.Page);
    }
}

/// <summary>How a map and unmap of 4 KiB grows with what is mapped already, spread over the aperture.</summary>
public class GrowthBenchmarks
{
    private const int Batch = 1 << 12;

    private readonly ulong[] _free = new ulong[Batch];
    private TableSetup _setup = null!;

    public static IEnumerable<PageTableFormat> Formats => TableSetup.Formats;

    [ParamsSource(nameof(Formats))]
    public PageTableFormat Format { get; set; } = null!;

    [Params(1, 1_000, 64_000, 1_000_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void Create()
    {
        _setup = new(Format, smallLeavesOnly: true);
        for (int i = 0; i < Live; i++)
        {
            _setup.Map((ulong)i << 13, (ulong)i << 12, TableSetup.Page);
        }

        // Free pages between the live ones.
        Random random = new(1);
        for (int i = 0; i < Batch; i++)
        {
            _free[i] = ((ulong)random.Next(Live) << 13) + TableSetup.Page;
        }
    }

    [GlobalCleanup]
    public void Remove() => _setup.Dispose();

    [Benchmark(OperationsPerInvoke = Batch)]
    public void MapAndUnmap()
    {
        foreach (ulong iova in _free)
        {
            _setup.Map(iova, iova, TableSetup.Page);
            _setup.Unmap(iova, TableSetup.Page);
        }
    }
}
