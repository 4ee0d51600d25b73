using BenchmarkDotNet.Attributes;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks;

/// <summary>
/// PASIDs against Linux's identifiers (64-bit, in the kernel, one thread): IDA, free and allocate at random, the pair: 114, 157
/// and 181 ns at 1 thousand, 64 thousand and 1 million live; filling: 54, 78 and 92 ns; xarray look-up: 7.0, 11.4 and 47 ns, and
/// random erase and allocate, the pair: 159, 196 and 344 ns. The IDA has bare numbers; the xarray, like ours, something by number.
/// </summary>
/// <remarks>
/// Rows of two threads give the time in which each of the two does one operation: that of one thread if it scales wholly.
/// Look-ups go by a list of numbers; <see cref="PlainArray"/> and its kin read an array of as many numbers at the same places,
/// so that the ratio to it says what is ours and what is the machine's.
/// </remarks>
[MemoryDiagnoser]
public class PasidBenchmarks
{
    private const int Operations = 100_000;

    // So that the start of the second thread does not count where an operation is a nanosecond.
    private const int Rounds = 16;

    private readonly long[] _plain = new long[1 << 20];
    private PasidAllocator _allocator = null!;
    private PasidSet[] _sets = null!;
    private Ioasid[][] _live = null!;
    private int[] _order = null!;
    private uint[][] _numbers = null!;

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
            // Room for what the other thread has in flight, where two share a set.
            _ = _allocator.TryCreateSet(new() { Quota = (uint)(Live / 2) + 16 }, out PasidSet? set);
            _sets[thread] = set!;
            _live[thread] = new Ioasid[Live / 2];
            for (int i = 0; i < _live[thread].Length; i++)
            {
                _ = set!.TryAllocate(new(), out _live[thread][i]);
            }

            random.Shuffle(_live[thread]);
        }

        _order = [.. Enumerable.Range(0, Operations).Select(_ => random.Next(Live / 2))];
        _numbers = [.. _live.Select(live => _order.Select(index => live[index].Pasid.Value).ToArray())];
    }

    /// <summary>A random one is freed and another allocated: the pair, with sets, quotas, states and lives.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndAllocate() => Churn(0, 0, 0);

    /// <summary>The same by two threads in two sets.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndAllocateTwoThreads() => InTwoThreads(thread => Churn(thread, 0, 0));

    /// <summary>The same by two threads in one set, each with a half of its IOASIDs.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void FreeAndAllocateTwoThreadsOneSet() => InTwoThreads(thread => Churn(0, 1, thread));

    /// <summary>A random number is looked up.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public long LookUp() => LookUp(0);

    /// <summary>The same by two threads.</summary>
    [Benchmark(OperationsPerInvoke = Operations * Rounds)]
    public void LookUpTwoThreads() => InTwoThreads(Repeated(LookUp));

    /// <summary>An array of 8 bytes for each possible number is read at the same places.</summary>
    [Benchmark(OperationsPerInvoke = Operations, Baseline = true)]
    public long PlainArray() => ReadPlainArray(0);

    /// <summary>The same by two threads.</summary>
    [Benchmark(OperationsPerInvoke = Operations * Rounds)]
    public void PlainArrayTwoThreads() => InTwoThreads(Repeated(ReadPlainArray));

    /// <summary>The same few numbers are looked up again and again, as a page-request handler does.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public int LookUpHot()
    {
        int found = 0;
        Pasid pasid = _live[0][0].Pasid;
        for (int i = 0; i < Operations; i++)
        {
            found += _allocator.Find(new(pasid.Value + (uint)(i & 7))).IsNone ? 0 : 1;
        }

        return found;
    }

    /// <summary>A random one is looked up with a reference, which is dropped.</summary>
    [Benchmark(OperationsPerInvoke = Operations)]
    public void GetAndPut()
    {
        foreach (uint number in _numbers[0])
        {
            if (_allocator.TryGet(new(number), out Ioasid ioasid) == Errno.Success)
            {
                ioasid.Put();
            }
        }
    }

    private static void InTwoThreads(Action<int> body)
    {
        Thread other = new(() => body(1));
        other.Start();
        body(0);
        other.Join();
    }

    private static Action<int> Repeated(Func<int, long> body) => thread =>
    {
        for (int round = 0; round < Rounds; round++)
        {
            _ = body(thread);
        }
    };

    private long LookUp(int thread)
    {
        long sum = 0;
        foreach (uint number in _numbers[thread])
        {
            sum += _allocator.Find(new(number)).Pasid.Value;
        }

        return sum;
    }

    private long ReadPlainArray(int thread)
    {
        long sum = 0;
        long[] plain = _plain;
        foreach (uint number in _numbers[thread])
        {
            sum += plain[number];
        }

        return sum;
    }

    // Two threads in one set have every other place each, so that neither frees what is the other's.
    private void Churn(int set, int shared, int half)
    {
        PasidSet from = _sets[set];
        Ioasid[] live = _live[set];
        PasidRequest request = new();
        foreach (int any in _order)
        {
            int index = (any & ~shared) | half;
            _ = live[index].Free();
            _ = from.TryAllocate(request, out live[index]);
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
