using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Driver;

/// <summary>Who maps, and where.</summary>
public enum MapThreads
{
    One,
    OneDomain,
    TwoDomains,
    TwoIommus,
}

/// <summary>
/// A driver's map and unmap of 4 KiB in a steady state, on one thread and on two. A figure is the time in which every thread
/// makes one pair: with two threads, twice as much is done in it. Two threads share a domain, or have each a device and a domain
/// behind one IOMMU, which has one command queue, or behind two.
/// </summary>
[MemoryDiagnoser(displayGenColumns: false)]
public class DmaMapBenchmarks
{
    private const int Pairs = 200_000;
    private const ulong Buffer = 1ul << 36;

    private SparsePhysicalMemory _memory = null!;
    private readonly List<RiscVIommuInstance> _drivers = [];
    private readonly List<DmaDevice> _devices = [];
    private Worker? _worker;

    [Params(PagingMode.Sv39, PagingMode.Sv48)]
    public PagingMode Paging { get; set; }

    [Params(DmaMode.Strict, DmaMode.Lazy)]
    public DmaMode Mode { get; set; }

    [Params(MapThreads.One, MapThreads.OneDomain, MapThreads.TwoDomains, MapThreads.TwoIommus)]
    public MapThreads Threads { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _memory = new();
        RangePageAllocator pages = new(_memory, new(1ul << 33, (1ul << 34) - 1));
        IommuSubsystem core = new();
        for (int i = 0; i < (Threads == MapThreads.TwoIommus ? 2 : 1); i++)
        {
            RiscVIommu hardware = new(new(), _memory);
            Check(RiscVIommuInstance.TryProbe(
                hardware, _memory, pages, new() { PreferredMode = Paging }, out RiscVIommuInstance? driver));
            _drivers.Add(driver!);
        }

        for (int i = 0; i < (Threads >= MapThreads.TwoDomains ? 2 : 1); i++)
        {
            Check(core.TryAddDevice(_drivers[i % _drivers.Count], new((uint)(8 + i)), $"device{i}", null, default, out IommuDevice? device));
            Check(DmaDomain.TryCreate(device!, new() { Mode = Mode, UseTimer = false }, out DmaDomain? domain));
            Check(device!.Group.SetDefaultDomain(domain!));
            Check(DmaDevice.TryOpen(device, new(), out DmaDevice? dma));
            _devices.Add(dma!);
        }

        _worker = Threads == MapThreads.One ? null : new(() => MapAndUnmap(_devices[^1], Buffer + (1ul << 30)));
        Run4K();
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        _worker?.Stop();
        _devices.ForEach(static device => device.Dispose());
        _drivers.ForEach(static driver => driver.Dispose());
        _memory.Dispose();
    }

    [Benchmark(OperationsPerInvoke = Pairs)]
    public void Run4K()
    {
        _worker?.Start();
        MapAndUnmap(_devices[0], Buffer);
        _worker?.Wait();
    }

    private static void Check(Errno error)
    {
        if (error != Errno.Success)
        {
            throw new InvalidOperationException(error.ToString());
        }
    }

    private static void MapAndUnmap(DmaDevice dma, ulong buffer)
    {
        for (int i = 0; i < Pairs; i++)
        {
            Check(dma.Map(new(buffer + ((ulong)(i & 1023) << 12)), 4096, DmaDirection.Bidirectional, out Iova address));
            Check(dma.Unmap(address, 4096));
        }
    }

    /// <summary>A second thread that is there all the time, so that its start is not measured.</summary>
    private sealed class Worker
    {
        private readonly Thread _thread;
        private readonly Action _work;
        private int _asked;
        private int _done;
        private volatile bool _stop;

        public Worker(Action work)
        {
            _work = work;
            _thread = new(Loop) { IsBackground = true };
            _thread.Start();
        }

        public void Start() => Volatile.Write(ref _asked, _asked + 1);

        public void Wait()
        {
            while (Volatile.Read(ref _done) != _asked)
            {
                Thread.SpinWait(20);
            }
        }

        public void Stop()
        {
            _stop = true;
            _thread.Join();
        }

        private void Loop()
        {
            while (!_stop)
            {
                if (Volatile.Read(ref _asked) == _done)
                {
                    Thread.SpinWait(20);
                    continue;
                }

                _work();
                Volatile.Write(ref _done, _done + 1);
            }
        }
    }
}

/// <summary>What IOVAs cost, against the rows of Linux's allocator: a cache hit, and the tree alone among live ones.</summary>
[MemoryDiagnoser(displayGenColumns: false)]
public class IovaBenchmarks
{
    private const int Batch = 1024;

    private readonly Iova[] _held = new Iova[Batch];
    private IovaAllocator _cached = null!;
    private IovaAllocator _tree = null!;
    private Iova[] _live = [];
    private int _next;

    [Params(1_000, 64_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        AddressRange aperture = new(0, (1ul << 47) - 1);
        _cached = new(aperture, 12);
        _tree = new(aperture, 12, new() { CachedOrders = 0 });
        _live = new Iova[Live];
        for (int i = 0; i < Live; i++)
        {
            _ = _cached.TryAllocate(4096, new(ulong.MaxValue), out _);
            _ = _tree.TryAllocate(4096, new(ulong.MaxValue), out _live[i]);
        }

        Random.Shared.Shuffle(_live);
    }

    [Benchmark]
    public Iova CachedPair()
    {
        _ = _cached.TryAllocate(4096, new(ulong.MaxValue), out Iova iova);
        _ = _cached.Free(iova, 4096);
        return iova;
    }

    /// <summary>More at once than a magazine holds.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void CachedPairsInBatches()
    {
        for (int i = 0; i < Batch; i++)
        {
            _ = _cached.TryAllocate(4096, new(ulong.MaxValue), out _held[i]);
        }

        for (int i = 0; i < Batch; i++)
        {
            _ = _cached.Free(_held[i], 4096);
        }
    }

    /// <summary>One of the live ones goes, another comes.</summary>
    [Benchmark]
    public void TreePair()
    {
        int at = _next++ % _live.Length;
        _ = _tree.Free(_live[at], 4096);
        _ = _tree.TryAllocate(4096, new(ulong.MaxValue), out _live[at]);
    }
}
