using BenchmarkDotNet.Attributes;
using Ioasis.Platform;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Translations of one thread: hits, and walks of every request with warm directory caches.</summary>
[MemoryDiagnoser]
public class TranslationBenchmarks
{
    private HardwareBed _bed = null!;
    private RiscVIommu _iommu = null!;
    private DmaRequest[] _requests = [];

    /// <summary>The tables.</summary>
    [Params(Stages.Sv39, Stages.Sv39OverSv39x4, Stages.Sv48OverSv48x4)]
    public Stages Stages { get; set; }

    /// <summary>Entries of the IOTLB; 0: every request walks.</summary>
    [Params(1024, 0)]
    public int IotlbEntries { get; set; }

    /// <summary>Builds the tables.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _bed = new(Stages, new() { IotlbEntries = IotlbEntries });
        _iommu = _bed.Iommu;
        _requests = HardwareBed.RequestsFor(_bed.Pages);
        HardwareBed.Warm(_iommu, _bed.Pages);
    }

    /// <summary>Frees the memory.</summary>
    [GlobalCleanup]
    public void Cleanup() => _bed.Dispose();

    /// <summary>One page again and again.</summary>
    [Benchmark(Baseline = true)]
    public ulong OnePage()
    {
        DmaRequest request = _requests[7];
        _iommu.Translate(request, out DmaTranslation translation);
        return translation.Address.Value;
    }

    /// <summary>512 pages in random order.</summary>
    [Benchmark(OperationsPerInvoke = HardwareBed.PageCount)]
    public ulong RandomPages()
    {
        ulong sum = 0;
        foreach (ref readonly DmaRequest request in _requests.AsSpan())
        {
            _iommu.Translate(request, out DmaTranslation translation);
            sum += translation.Address.Value;
        }

        return sum;
    }
}
