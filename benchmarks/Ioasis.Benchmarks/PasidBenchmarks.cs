using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks;

/// <summary>
/// PASIDs against Linux's identifiers (64-bit, in the kernel, one thread): IDA, free and allocate at random, the pair: 114, 157
/// and 181 ns at 1 thousand, 64 thousand and 1 million live; filling: 54, 78 and 92 ns; xarray look-up: 7.0, 11.4 and 47 ns, and
/// random erase and allocate, the pair: 159, 196 and 344 ns. The IDA has bare numbers; the xarray, like ours, objects by number.
/// </summary>
[MemoryDiagnoser]
public class PasidBenchmarks
{
    private const int Operations = 100_000;

    private PasidAllocator _allocator = null!;
    private PasidSet[] _sets = null!;
    private Ioasid[][] _live = null!;
    private int[] _order = null!;

    /// <summary>IOASIDs that are live all the time.</summary>
    [Params(1_000, 64_000, 1_000_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _allocator = new();
        _sets = new PasidSet[2];
        _live = new Ioasid[2][];
        Random random = new(1);
        for (int thread = 0; thread < 2; thread++)
        {
            _ = _allocator.TryCreateSet(new() { Quota = (uint)(Live / 2) + 16 }, out PasidSet? set);
            _sets[thread] = set!;
            _live[thread] = new Ioasid[Live / 2];
            for (int i = 0; i < _live[thread].Length; i++)
            {
                _ = set!.TryAllocate(new(), out Ioasid? ioasid);
                _live[thread][i] = ioasid!;
            }

            random.Shuffle(_live[thread]);
        }

        _order = [.. Enumerable.Range(0, Operations).Select(_ => random.Next(Live / 2))];
    }

    /// <summary>A random one is freed and another allocated: the pair, with sets, quotas, states and objects.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndAllocate() => Churn(0);

    /// <summary>The same by two threads in two sets: the time for a pair of each.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndAllocateTwoThreads()
    {
        Thread other = new(() => Churn(1));
        other.Start();
        Churn(0);
        other.Join();
    }

    /// <summary>A random number is looked up.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public uint LookUp()
    {
        uint sum = 0;
        Ioasid[] live = _live[0];
        foreach (int index in _order)
        {
            sum += _allocator.Find(live[index].Pasid)!.Pasid.Value;
        }

        return sum;
    }

    /// <summary>The same few numbers are looked up again and again, as a page-request handler does.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public int LookUpHot()
    {
        int found = 0;
        Pasid pasid = _live[0][0].Pasid;
        for (int i = 0; i < Operations; i++)
        {
            found += _allocator.Find(new(pasid.Value + (uint)(i & 7))) is null ? 0 : 1;
        }

        return found;
    }

    /// <summary>A random one is looked up with a reference, which is dropped.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void GetAndPut()
    {
        Ioasid[] live = _live[0];
        foreach (int index in _order)
        {
            if (_allocator.TryGet(live[index].Pasid, out Ioasid? ioasid) == Errno.Success)
            {
                ioasid!.Put();
            }
        }
    }

    private void Churn(int thread)
    {
        PasidSet set = _sets[thread];
        Ioasid[] live = _live[thread];
        PasidRequest request = new();
        foreach (int index in _order)
        {
            _ = live[index].Free();
            _ = set.TryAllocate(request, out Ioasid? ioasid);
            live[index] = ioasid!;
        }
    }
}

/// <summary>An empty allocator is filled. Linux's IDA: 54, 78 and 92 ns for each number.</summary>
[MemoryDiagnoser]
public class PasidFillBenchmarks
{
    private const int Most = 1_000_000;

    private PasidAllocator _allocator = null!;
    private PasidSet _set = null!;

    [IterationSetup]
    public void Setup()
    {
        _allocator = new();
        _ = _allocator.TryCreateSet(new() { Quota = Most }, out PasidSet? set);
        _set = set!;
    }

    [Benchmark(OperationsPerInvoke = 64_000)]
    public void Fill64K() => Fill(64_000);

    [Benchmark(OperationsPerInvoke = Most)]
    public void Fill1M() => Fill(Most);

    private void Fill(int count)
    {
        PasidRequest request = new();
        for (int i = 0; i < count; i++)
        {
            _ = _set.TryAllocate(request, out _);
        }
    }
}

/// <summary>The numbers alone, as the IDA has them: no objects, no quotas.</summary>
public class PasidNumberBenchmarks
{
    private const int Operations = 100_000;

    private PasidNumbers _numbers = null!;
    private uint[] _live = null!;
    private int[] _order = null!;

    [Params(1_000, 64_000, 1_000_000)]
    public int Live { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _numbers = new(1 << 20, 2);
        Random random = new(1);
        _live = [.. Enumerable.Range(0, Live).Select(_ => _numbers.TakeCyclic())];
        random.Shuffle(_live);
        _order = [.. Enumerable.Range(0, Operations).Select(_ => random.Next(Live))];
    }

    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndTake()
    {
        foreach (int index in _order)
        {
            _numbers.Release(_live[index]);
            _live[index] = _numbers.TakeCyclic();
        }
    }

    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndTakeLowest()
    {
        foreach (int index in _order)
        {
            _numbers.Release(_live[index]);
            _live[index] = _numbers.TakeLowest(0, uint.MaxValue);
        }
    }
}
