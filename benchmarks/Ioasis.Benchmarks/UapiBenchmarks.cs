using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Benchmarks;

/// <summary>The kernel's choice of an IOVA for 2 MiB when every hole is of that size and next to none is aligned.</summary>
[MemoryDiagnoser]
public class UapiAdversarialIovaBenchmarks
{
    private const ulong Large = 1ul << 21;
    private const int Batch = 256;

    private readonly Iova[] _mine = new Iova[Batch];
    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private IoAddressSpace _space = null!;

    [Params(4096, 1_000_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory() });
        _iommu = IommuFd.Open(_platform.Kernel);
        _space = _iommu.AllocateAddressSpace();

        // A page, then a hole of 2 MiB, again and again: each hole begins a page further off than the one before.
        ulong at = 4096;
        for (int i = 0; i < Live; i++)
        {
            _space.Map(new(0x1000, 4096), new(at), Access.Read);
            at += 4096 + Large;
        }

        // And nothing above.
        _space.Map(new(1ul << 22, ulong.MaxValue - 0x1_0000 - at), new(at), Access.Read);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _space.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public void Map_automatic_and_unmap_2MiB()
    {
        for (int i = 0; i < Batch; i++)
        {
            _ = _space.MapErrno(new(Large, Large), Access.Read, out _mine[i]);
        }

        for (int i = 0; i < Batch; i++)
        {
            _ = _space.UnmapErrno(_mine[i], Large, out _);
        }
    }
}

/// <summary>Copies between address spaces, which pin nothing, beside maps, which do; of this process's memory.</summary>
[MemoryDiagnoser]
public class UapiCopyBenchmarks
{
    private const int Pages = 1024;
    private const ulong Base = 1ul << 30;

    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private VfioDevice _device = null!;

    // Were it forgotten, the garbage collector would detach it, and the source would not be pinned any more.
    private VfioDevice _second = null!;
    private IoAddressSpace _source = null!;
    private IoAddressSpace _space = null!;
    private ulong _memory;

    [GlobalSetup]
    public unsafe void Setup()
    {
        _platform = new(new());
        EmbeddedEndpoint endpoint = _platform.AddEndpoint(new(8));
        EmbeddedEndpoint other = _platform.AddEndpoint(new(16));
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _source = _iommu.AllocateAddressSpace();
        _space = _iommu.AllocateAddressSpace();
        _second = VfioDevice.Open(_platform.Kernel, other.DevicePath);
        _ = _second.Bind(_iommu);
        _ = _second.Attach(_source);
        _ = _device.Attach(_space);
        _memory = (ulong)NativeMemory.AlignedAlloc(Pages * 4096, 4096);
        new Span<byte>((void*)_memory, Pages * 4096).Clear();
        for (ulong i = 0; i < Pages; i++)
        {
            _source.Map(new(_memory + (i << 12), 4096), new(Base + (i << 12)), Access.ReadWrite);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _second.Dispose();
        _device.Dispose();
        _platform.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Pages, Baseline = true)]
    public void Map_and_unmap_4KiB()
    {
        for (ulong i = 0; i < Pages; i++)
        {
            _ = _space.MapErrno(new(_memory + (i << 12), 4096), new(Base + (i << 12)), Access.ReadWrite);
        }

        _ = _space.UnmapErrno(new(Base), Pages * 4096, out _);
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public void Copy_and_unmap_4KiB()
    {
        for (ulong i = 0; i < Pages; i++)
        {
            IommuIoasCopy argument = new()
            {
                Size = 40,
                Flags = IoasMapFlags.FixedIova | IoasMapFlags.Readable | IoasMapFlags.Writable,
                DestinationIoasId = _space.Id,
                SourceIoasId = _source.Id,
                Length = 4096,
                DestinationIova = Base + (i << 12),
                SourceIova = Base + (i << 12),
            };
            _ = _platform.Kernel.Ioctl(
                _iommu.Descriptor.Number, IommuIoasCopy.Request, MemoryMarshal.AsBytes(new Span<IommuIoasCopy>(ref argument)));
        }

        _ = _space.UnmapErrno(new(Base), Pages * 4096, out _);
    }
}

/// <summary>An attach of a device with many reserved regions, and the ranges that are left.</summary>
public class UapiRangesBenchmarks
{
    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private VfioDevice _device = null!;
    private IoAddressSpace _space = null!;

    [Params(1_000, 10_000)]
    public int Regions { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory() });
        Random random = new(1);
        Core.ReservedRegion[] regions =
        [
            .. Enumerable.Range(0, Regions).Select(
                i => new Core.ReservedRegion(new((ulong)i << 16, ((ulong)i << 16) + 0xfff), Core.ReservedRegionKind.Reserved)),
        ];
        random.Shuffle(regions);
        EmbeddedEndpoint endpoint = _platform.AddEndpoint(new(8), new() { ReservedRegions = regions });
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _ = _device.Attach(_space);
    }

    [GlobalCleanup]
    public void Cleanup() => _platform.Dispose();

    [Benchmark]
    public int Ranges()
    {
        _ = _space.GetIovaRangesErrno(out IReadOnlyList<AddressRange> ranges, out _);
        return ranges.Count;
    }

    /// <summary>Sixteen pages, when between any two regions there are fifteen: the lowest place is behind them all.</summary>
    [Benchmark]
    public void Map_automatic_and_unmap_behind_all_ranges()
    {
        _ = _space.MapErrno(new(1ul << 21, 1ul << 16), Access.Read, out Iova iova);
        _ = _space.UnmapErrno(iova, 1ul << 16, out _);
    }

    [Benchmark]
    public void Detach_and_attach()
    {
        _device.Detach();
        _ = _device.Attach(_space);
    }
}

/// <summary>
/// Calls that name one of many objects of a descriptor (S1.2): what finding it costs must not rise with their number as a list walk
/// would. Objects are taken in an order by chance, so with many of them the machine's caches show too.
/// </summary>
[MemoryDiagnoser]
public class UapiLookUpBenchmarks
{
    private const int Batch = 4096;

    private readonly int[] _order = new int[Batch];
    private EmbeddedPlatform _platform = null!;
    private IommuFd _iommu = null!;
    private PasidFd _pasids = null!;
    private IoAddressSpace[] _spaces = null!;
    private PasidHandle[] _handles = null!;

    /// <summary>Objects that the descriptor has.</summary>
    [Params(16, 1_000, 60_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _platform = new(new() { UserMemory = new IdentityUserMemory() });
        _iommu = IommuFd.Open(_platform.Kernel);
        _pasids = PasidFd.Open(_platform.Kernel);
        PasidSet set = _pasids.CreateSet((uint)Live);
        _spaces = [.. Enumerable.Range(0, Live).Select(_ => _iommu.AllocateAddressSpace())];
        _handles = [.. Enumerable.Range(0, Live).Select(_ => set.Allocate())];
        Random random = new(1);
        for (int i = 0; i < Batch; i++)
        {
            _order[i] = random.Next(Live);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _pasids.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public ulong Option_of_an_address_space()
    {
        ulong sum = 0;
        foreach (int place in _order)
        {
            _ = _spaces[place].GetOptionErrno(IommuOptionId.HugePages, out ulong value);
            sum += value;
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public uint State_of_an_IOASID()
    {
        uint sum = 0;
        foreach (int place in _order)
        {
            _ = _handles[place].GetInfoErrno(out PasidInfo info);
            sum += info.Users;
        }

        return sum;
    }
}
