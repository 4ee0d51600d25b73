using BenchmarkDotNet.Attributes;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Commands: an invalidation that finds nothing to do among many entries, one that does, and a fence.</summary>
[MemoryDiagnoser]
public class CommandBenchmarks
{
    private const uint OtherDevice = 9;
    private const uint OtherPscid = 2;
    private const int Entries = 4096;

    private HardwareBed _bed = null!;

    /// <summary>Fills an IOTLB of 4,096 entries with translations of another process.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _bed = new(Stages.Sv39, new() { IotlbEntries = Entries, IotlbWays = 16 });
        _bed.AddDevice(OtherDevice, OtherPscid, Entries);
        for (int i = 0; i < Entries; i++)
        {
            Translate(OtherDevice, (ulong)i << 12);
        }

        Translate(HardwareBed.Device, _bed.Pages[0].Value);
    }

    /// <summary>Frees the memory.</summary>
    [GlobalCleanup]
    public void Cleanup() => _bed.Dispose();

    /// <summary>A fence with a store.</summary>
    [Benchmark(Baseline = true)]
    public void Fence() => _bed.Submit(HardwareBed.Fence);

    /// <summary>IOTINVAL.VMA of one process; its one entry is fetched again.</summary>
    [Benchmark]
    public void InvalidateOneProcess()
    {
        _bed.Submit(Command.InvalidateFirstStage(null, HardwareBed.Pscid, null));
        Translate(HardwareBed.Device, _bed.Pages[0].Value);
    }

    /// <summary>IOTINVAL.VMA of one page of one process, with a fence, as a driver does after an unmap.</summary>
    [Benchmark]
    public void InvalidateOnePageAndFence()
    {
        _bed.Submit(Command.InvalidateFirstStage(null, HardwareBed.Pscid, _bed.Pages[0].Value), HardwareBed.Fence);
        Translate(HardwareBed.Device, _bed.Pages[0].Value);
    }

    /// <summary>What the two above do besides: a walk that fills one entry is part of them.</summary>
    private void Translate(uint device, ulong iova)
    {
        _bed.Iommu.Translate(new(new(device), new(iova)), out DmaTranslation translation);
        if (translation.Status != DmaStatus.Success)
        {
            throw new InvalidOperationException($"0x{iova:x}: {translation}");
        }
    }
}
