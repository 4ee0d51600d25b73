using BenchmarkDotNet.Attributes;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.Dma;

/// <summary>
/// A device's access to memory of this process through the IOMMU, beside a plain copy of the same bytes. The ranges follow each other through
/// 16 MiB, so that long ones come from memory and not from a cache.
/// </summary>
[MemoryDiagnoser]
public unsafe class ProgramMemoryBenchmarks
{
    private const int Bytes = 16 << 20;
    private static readonly Iova s_base = new(1ul << 30);

    private EmbeddedPlatform _platform = null!;
    private EmbeddedEndpoint _endpoint = null!;
    private IommuFd _iommu = null!;
    private VfioDevice _device = null!;
    private IoAddressSpace _space = null!;
    private byte* _allocated;
    private byte* _memory;
    private byte[] _buffer = [];
    private int _offset;

    /// <summary>Bytes of an access.</summary>
    [Params(8, 64, 4096, 65536, 1 << 20)]
    public int Length { get; set; }

    /// <summary>log2 of the bytes of a page of the IOMMU.</summary>
    [Params(12, 21)]
    public int PageShift { get; set; } = 12;

    /// <summary>The kind of IOMMU.</summary>
    [Params("riscv", "vtd")]
    public string Iommu { get; set; } = "riscv";

    /// <summary>Maps the memory.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _platform = new(Iommu == "vtd" ? new() { Iommus = [new VtdIommuSlot()] } : new());
        _endpoint = _platform.AddEndpoint(DeviceId.FromPci(0, 0, 1, 0));
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, _endpoint.DevicePath);
        _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _device.Attach(_space);

        // One page beside its alignment, memory cannot have large pages.
        _allocated = (byte*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(Bytes + 4096, 2 << 20);
        _memory = _allocated + (PageShift == 12 ? 4096 : 0);
        new Span<byte>(_memory, Bytes).Fill(1);
        _space.Map(new((ulong)_memory, Bytes), s_base, Access.ReadWrite);
        _buffer = GC.AllocateArray<byte>(Length, pinned: true);
    }

    /// <summary>Frees it.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        _space.Dispose();
        _device.Dispose();
        _iommu.Dispose();
        _platform.Dispose();
        System.Runtime.InteropServices.NativeMemory.AlignedFree(_allocated);
    }

    /// <summary>A plain copy from the memory.</summary>
    [Benchmark(Baseline = true)]
    public void CopyFrom() => new ReadOnlySpan<byte>(_memory + Next(), Length).CopyTo(_buffer);

    /// <summary>A plain copy to the memory.</summary>
    [Benchmark]
    public void CopyTo() => _buffer.CopyTo(new Span<byte>(_memory + Next(), Length));

    /// <summary>The device reads.</summary>
    [Benchmark]
    public DmaStatus Read() => _endpoint.Read(s_base + (ulong)Next(), _buffer);

    /// <summary>The device writes.</summary>
    [Benchmark]
    public DmaStatus Write() => _endpoint.Write(s_base + (ulong)Next(), _buffer);

    private int Next()
    {
        int offset = _offset;
        _offset = (offset + Length) & (Bytes - 1);
        return offset;
    }
}
