using BenchmarkDotNet.Attributes;
using Ioasis.Platform;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Translations of several threads at once over one IOMMU: time for the same number of translations in each thread.</summary>
public class ThreadBenchmarks
{
    private const int Rounds = 2000;

    private HardwareBed _bed = null!;
    private DmaRequest[] _requests = [];

    /// <summary>How many threads translate.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>Builds the tables and warms the IOTLB.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _bed = new(Stages.Sv39, new());
        Random random = new(2);
        _requests = new DmaRequest[HardwareBed.PageCount];
        for (int i = 0; i < _requests.Length; i++)
        {
            _requests[i] = new(new(HardwareBed.Device), _bed.Pages[random.Next(HardwareBed.PageCount)]);
        }
    }

    /// <summary>Frees the memory.</summary>
    [GlobalCleanup]
    public void Cleanup() => _bed.Dispose();

    /// <summary>A million hits in each thread; the figure is per translation of one thread, so equal figures mean perfect scaling.</summary>
    [Benchmark(OperationsPerInvoke = Rounds * HardwareBed.PageCount)]
    public void Hits()
    {
        Thread[] others = new Thread[Threads - 1];
        for (int i = 0; i < others.Length; i++)
        {
            others[i] = new(Work);
            others[i].Start();
        }

        Work();
        foreach (Thread other in others)
        {
            other.Join();
        }
    }

    private void Work()
    {
        RiscVIommu iommu = _bed.Iommu;
        for (int round = 0; round < Rounds; round++)
        {
            foreach (ref readonly DmaRequest request in _requests.AsSpan())
            {
                iommu.Translate(request, out _);
            }
        }
    }
}
