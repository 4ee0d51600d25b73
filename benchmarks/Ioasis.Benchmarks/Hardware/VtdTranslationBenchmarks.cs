using BenchmarkDotNet.Attributes;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>As <see cref="TranslationBenchmarks"/>, for VT-d; a class of its own, so that the call that is measured is a direct one.</summary>
[MemoryDiagnoser]
public class VtdTranslationBenchmarks
{
    private VtdBed _bed = null!;
    private VtdIommu _iommu = null!;
    private DmaRequest[] _requests = [];

    /// <summary>The tables.</summary>
    [Params(VtdStages.Second, VtdStages.First, VtdStages.Nested)]
    public VtdStages Stages { get; set; }

    /// <summary>Entries of the IOTLB; 0: every request walks.</summary>
    [Params(1024, 0)]
    public int IotlbEntries { get; set; }

    /// <summary>Builds the tables.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _bed = new(Stages, IotlbEntries);
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
