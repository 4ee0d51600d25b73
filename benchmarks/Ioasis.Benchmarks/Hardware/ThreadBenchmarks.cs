using BenchmarkDotNet.Attributes;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Translations of several threads at once over one IOMMU: time for the same number of translations in each thread.</summary>
public class ThreadBenchmarks
{
    private const int Rounds = 2000;

    private IDisposable _bed = null!;
    private IDmaPort _iommu = null!;
    private DmaRequest[] _requests = [];

    /// <summary>How many threads translate.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>Whether it is VT-d, with a second stage of four levels; else RISC-V, with Sv39.</summary>
    [Params(false, true)]
    public bool IsVtd { get; set; }

    /// <summary>Builds the tables and warms the IOTLB.</summary>
    [GlobalSetup]
    public void Setup()
    {
        Iova[] pages;
        if (IsVtd)
        {
            VtdBed bed = new(VtdStages.Second);
            (_bed, _iommu, pages) = (bed, bed.Iommu, bed.Pages);
        }
        else
        {
            HardwareBed bed = new(Stages.Sv39, new());
            (_bed, _iommu, pages) = (bed, bed.Iommu, bed.Pages);
        }

        _requests = HardwareBed.RequestsFor(pages);
        HardwareBed.Warm(_iommu, pages);
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
        IDmaPort iommu = _iommu;
        for (int round = 0; round < Rounds; round++)
        {
            foreach (ref readonly DmaRequest request in _requests.AsSpan())
            {
                iommu.Translate(request, out _);
            }
        }
    }
}
