using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Testing;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>What a request costs in managed memory: nothing, once its context is known.</summary>
public sealed class AllocationTests
{
    [Theory]
    [InlineData(PasidTranslationType.FirstStage, 1024)]
    [InlineData(PasidTranslationType.FirstStage, 0)]
    [InlineData(PasidTranslationType.SecondStage, 1024)]
    [InlineData(PasidTranslationType.SecondStage, 0)]
    [InlineData(PasidTranslationType.Nested, 1024)]
    [InlineData(PasidTranslationType.Nested, 0)]
    [InlineData(PasidTranslationType.PassThrough, 0)]
    internal void Hits_walks_and_faults_allocate_nothing(PasidTranslationType type, int entries)
    {
        using VtdBench bench = new(new VtdIommuOptions { IotlbEntries = entries });
        const ushort Rid = 0x10;
        ulong first = bench.Page();
        ulong second = bench.Page();
        bench.SetScalable(Rid, ScalableContextEntry.PasidBit);
        bench.SetPasid(Rid, 5, type, 9, type == PasidTranslationType.PassThrough ? 0 : first, 4, second, 4);
        for (ulong page = 0; page < 64; page++)
        {
            bench.MapFirst(first, 4, 0x4000_0000 + (page << 12), 0x8000_0000 + (page << 12));
        }

        bench.MapSecond(second, 4, 0, 0, 30);
        bench.MapSecond(second, 4, 0x4000_0000, 0x1_4000_0000, 30);
        bench.MapSecond(second, 4, 0x8000_0000, 0x1_8000_0000, 30);
        bench.Enable();
        DmaStatus last = DmaStatus.Success;
        SteadyState.AllocatedBytes(() => last = Run(bench, Rid)).ShouldBe(0);
        last.ShouldBe(type == PasidTranslationType.PassThrough ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
    }

    private static DmaStatus Run(VtdBench bench, ushort rid)
    {
        DmaTranslation translation = default;
        for (int i = 0; i < 2_000; i++)
        {
            bench.Iommu.Translate(VtdBench.Dma(0x4000_0000 + ((ulong)(i % 64) << 12), rid, i % 2 == 0, 5), out translation);
            if (translation.Status != DmaStatus.Success)
            {
                throw new InvalidOperationException($"{translation}");
            }
        }

        // Nothing is mapped here; the second request finds the recording registers as the first left them.
        for (int i = 0; i < 20; i++)
        {
            bench.Iommu.Translate(VtdBench.Dma(0x70_0000_0000 + (ulong)i, rid, pasid: 5), out translation);
        }

        return translation.Status;
    }
}
