using System.Buffers.Binary;
using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Driver;

/// <summary>Second stages, what guests invalidate, and dirty pages, through the driver and the hardware model in this process.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
public class NestedBenchmarks
{
    private const ulong Iova = 1ul << 30;
    private const ulong Target = 1ul << 31;
    private const ulong Page = 4096;
    private const int TrackedPages = 1 << 15;

    private readonly ulong[] _bitmap = new ulong[TrackedPages / 64];
    private readonly byte[] _command = new byte[NestedTranslation.InvalidationSize];
    private SparsePhysicalMemory _memory = null!;
    private RiscVIommu _hardware = null!;
    private RiscVIommuInstance _driver = null!;
    private IommuDevice _device = null!;
    private PagingDomain _parent = null!;
    private PagingDomain _tracked = null!;
    private IommuDevice _trackedDevice = null!;
    private readonly NestedDomain[] _nested = new NestedDomain[2];
    private int _turn;

    [Params(CachingMode.Realistic, CachingMode.Hostile)]
    public CachingMode Caching { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _memory = new();
        RangePageAllocator pages = new(_memory, new(1ul << 33, (1ul << 34) - 1));
        _hardware = new(new() { Caching = Caching }, _memory);
        RiscVDriverOptions options = new() { DirtyTrackingLeafSizes = Page, UseNapot = false };
        if (RiscVIommuInstance.TryProbe(_hardware, _memory, pages, options, out RiscVIommuInstance? driver) != Errno.Success)
        {
            throw new InvalidOperationException("probe failed");
        }

        _driver = driver!;
        IommuSubsystem core = new();
        _ = core.TryAddDevice(_driver, new(8), "device", null, default, out IommuDevice? device);
        _ = core.TryAddDevice(_driver, new(9), "tracked", null, default, out IommuDevice? trackedDevice);
        _device = device!;
        _trackedDevice = trackedDevice!;
        _ = _driver.TryAllocatePagingDomain(_device, new() { NestParent = true }, out PagingDomain? parent);
        _parent = parent!;
        _ = _parent.Map(new(Iova + Page), new(Target + Page), Page, Access.ReadWrite);
        for (uint i = 0; i < 2; i++)
        {
            byte[] data = new byte[NestedTranslation.DataSize];
            ulong root = ((ulong)Iosatp.ModeSv39 << TablePointer.ModeShift) | ((Iova >> 12) + i);
            BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(NestedTranslation.FirstStageOffset), root);
            _ = _driver.TryAllocateNestedDomain(_device, _parent, NestedTranslation.Type, data, out NestedDomain? nested);
            _nested[i] = nested!;
        }

        _ = _device.Group.Attach(_nested[0]);
        Command command = Command.InvalidateFirstStage(null, 0, 0x1000);
        BinaryPrimitives.WriteUInt64LittleEndian(_command, command.Low);
        BinaryPrimitives.WriteUInt64LittleEndian(_command.AsSpan(8), command.High);

        _ = _driver.TryAllocatePagingDomain(
            _trackedDevice, new() { NestParent = true, DirtyTracking = true }, out PagingDomain? tracked);
        _tracked = tracked!;
        _ = _tracked.Map(new(Iova), new(Target), TrackedPages * Page, Access.ReadWrite);
        _ = _trackedDevice.Group.Attach(_tracked);
        _ = _tracked.SetDirtyTracking(true);
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        _driver.Dispose();
        _memory.Dispose();
    }

    /// <summary>A map and a strict unmap of a page of a second stage that carries a guest.</summary>
    [Benchmark(Baseline = true)]
    public Errno MapAndStrictUnmap4KSecondStage()
    {
        _ = _parent.Map(new(Iova), new(Target), Page, Access.ReadWrite);
        InvalidationGather gather = default;
        _ = _parent.Unmap(new(Iova), Page, ref gather, out _);
        return _parent.Sync(ref gather);
    }

    /// <summary>One IOTINVAL.VMA of a guest, checked, carried out and waited for.</summary>
    [Benchmark]
    public Errno GuestInvalidation()
    {
        uint count = 1;
        return _nested[_turn].Invalidate(NestedTranslation.Type, _command, NestedTranslation.InvalidationSize, ref count);
    }

    /// <summary>A guest changes the root of its first stage.</summary>
    [Benchmark]
    public Errno GuestChangesRoot()
    {
        _turn ^= 1;
        return _device.Group.Attach(_nested[_turn]);
    }

    /// <summary>Dirty pages of 128 MiB in pages of 4 KiB, none of which was written.</summary>
    [Benchmark]
    public Errno ReadDirtyOfCleanPages() =>
        _tracked.ReadDirtyWords(new(Iova), TrackedPages * Page, clear: true, _bitmap, new(Iova), 12);

    /// <summary>The same after one page in 64 was written: the writes, the read, and the invalidation.</summary>
    [Benchmark]
    public Errno WriteAndReadDirtyPages()
    {
        for (ulong page = 0; page < TrackedPages; page += 64)
        {
            _hardware.Translate(new(_trackedDevice.Id, new(Iova + (page * Page)), DmaFlags.Write), out _);
        }

        return _tracked.ReadDirtyWords(new(Iova), TrackedPages * Page, clear: true, _bitmap, new(Iova), 12);
    }
}
