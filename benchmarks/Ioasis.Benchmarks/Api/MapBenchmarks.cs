using BenchmarkDotNet.Attributes;
using Ioasis.Benchmarks.PageTables;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.Api;

/// <summary>
/// One 4 KiB page in and out through everything: client, ABI, kernel, pinning, page table, invalidation in the model.
/// Linux inside the kernel, without the hardware and the system call: 1,650 and 1,193 ns.
/// </summary>
[MemoryDiagnoser]
public class MapBenchmarks
{
    private const int Pages = 4096;
    private const ulong Base = 1ul << 30;

    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private VfioDevice _device = null!;
    private IoAddressSpace _space = null!;
    private ulong _memory;

    /// <summary>Whose memory: recorded physical addresses, or this process's, which is asked for page by page.</summary>
    [Params(false, true)]
    public bool ProcessMemory { get; set; }

    [Params(false, true)]
    public bool Lazy { get; set; }

    [GlobalSetup]
    public unsafe void Setup()
    {
        _platform = new(new() { UserMemory = ProcessMemory ? null : new IdentityUserMemory() });
        EmbeddedEndpoint endpoint = _platform.AddEndpoint(new(8));
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _ = _device.Attach(_space);
        _space.SetLazyInvalidation(Lazy);
        _memory = ProcessMemory
            ? (ulong)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(Pages * 2 * 4096, 4096)
            : Base;

        // Every other page of the space stays mapped: 4,096 entries live.
        for (ulong i = 0; i < Pages; i++)
        {
            _space.Map(new(_memory + (i << 13), 4096), new(Base + (i << 13)), Access.ReadWrite);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _device.Dispose();
        _space.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public void Map_and_unmap_4KiB_fixed()
    {
        for (ulong i = 0; i < Pages; i++)
        {
            _ = _space.MapErrno(new(_memory + (i << 13) + 4096, 4096), new(Base + (i << 13) + 4096), Access.ReadWrite);
        }

        for (ulong i = 0; i < Pages; i++)
        {
            _ = _space.UnmapErrno(new(Base + (i << 13) + 4096), 4096, out _);
        }
    }
}

/// <summary>
/// A gibibyte in one call, through everything, beside the page table alone: of recorded addresses, and of this process's memory,
/// which the system is asked about.
/// </summary>
public class LargeMapBenchmarks
{
    private const ulong Gibibyte = 1ul << 30;

    private TableSetup _table = null!;
    private ulong _memory;
    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private VfioDevice _device = null!;
    private IoAddressSpace _space = null!;

    /// <summary>Whether leaves may be large; without, 262,144 leaves of 4 KiB.</summary>
    [Params(true, false)]
    public bool LargePages { get; set; }

    [Params(false, true)]
    public bool ProcessMemory { get; set; }

    [GlobalSetup]
    public unsafe void Setup()
    {
        _table = new(PageTableFormat.Of<Sv48>(), !LargePages);
        _platform = new(new() { UserMemory = ProcessMemory ? null : new IdentityUserMemory() });
        _memory = ProcessMemory
            ? (ulong)System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)Gibibyte, (nuint)Gibibyte)
            : Gibibyte;
        EmbeddedEndpoint endpoint = _platform.AddEndpoint(new(8));
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _space.SetHugePages(LargePages);
        _ = _device.Attach(_space);
    }

    [GlobalCleanup]
    public unsafe void Cleanup()
    {
        _device.Dispose();
        _space.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
        _table.Dispose();
        if (ProcessMemory)
        {
            System.Runtime.InteropServices.NativeMemory.AlignedFree((void*)_memory);
        }
    }

    /// <summary>What cannot be less: the leaves, in and out, without kernel, domain and hardware.</summary>
    [Benchmark(Baseline = true)]
    public void Page_table_alone()
    {
        _table.Map(Gibibyte, Gibibyte, Gibibyte);
        _table.Unmap(Gibibyte, Gibibyte);
    }

    [Benchmark]
    public void Map_and_unmap_1GiB()
    {
        _space.Map(new(_memory, Gibibyte), new(Gibibyte), Access.ReadWrite);
        _ = _space.Unmap(new(Gibibyte), Gibibyte);
    }
}

/// <summary>The kernel's choice of an IOVA among many live mappings. Linux: 21,100 ns at 4,096.</summary>
[MemoryDiagnoser]
public class AutomaticIovaBenchmarks
{
    private const int Batch = 1024;

    private readonly Iova[] _mine = new Iova[Batch];
    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private IoAddressSpace _space = null!;
    private Iova[] _live = [];

    [Params(4096, 1_000_000)]
    public int Live { get; set; }

    /// <summary>Holes of one page everywhere, found in random places, or none.</summary>
    [Params(false, true)]
    public bool Fragmented { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory() });
        _iommu = IommuFd.Open(_platform.Kernel);
        _space = _iommu.AllocateAddressSpace();
        _live = new Iova[Live];
        for (int i = 0; i < Live; i++)
        {
            _live[i] = _space.Map(new(0x1000, 4096), Access.Read);
        }

        new Random(1).Shuffle(_live);
        if (Fragmented)
        {
            for (int i = 0; i < Live / 3; i++)
            {
                _ = _space.Unmap(_live[i], 4096);
            }

            // As many live as was asked for, the rest in the holes of twice the size that no page-sized hole can serve.
            for (int i = 0; i < Live / 3; i++)
            {
                _live[i] = _space.Map(new(0x10000, 8192), Access.Read);
            }
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _space.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public void Map_automatic_and_unmap_4KiB()
    {
        for (int i = 0; i < Batch; i++)
        {
            _ = _space.MapErrno(new(0x1000, 4096), Access.Read, out _mine[i]);
        }

        for (int i = 0; i < Batch; i++)
        {
            _ = _space.UnmapErrno(_mine[i], 4096, out _);
        }
    }
}
