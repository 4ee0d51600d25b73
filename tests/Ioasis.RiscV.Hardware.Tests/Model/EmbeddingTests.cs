using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.RiscV.Hardware.Tests.Model;

public sealed class EmbeddingTests
{
    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void The_documented_example_translates_and_writes(CachingMode caching)
    {
        using var memory = new SparsePhysicalMemory();
        var iommu = new RiscVIommu(new RiscVIommuOptions { Caching = caching }, memory);

        ulong context = 0x1000 + (8 * 64);
        memory.Write64(new(context + DeviceContextOffset.FirstStageContext), (8ul << TablePointer.ModeShift) | 0x2);
        memory.Write64(new(context + DeviceContextOffset.TranslationControl), DeviceTranslationControl.ValidBit);
        memory.Write64(new(0x2008), (0x8000_0000ul >> 2) | 0xd7);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, (0x1000 >> 2) | (ulong)IommuMode.OneLevel);

        var request = new DmaRequest(new DeviceId(8), new Iova(0x4000_1234));
        for (int i = 0; i < 3; i++)
        {
            iommu.Translate(request, out DmaTranslation translation);
            translation.Status.ShouldBe(DmaStatus.Success);
            translation.Address.ShouldBe(new PhysicalAddress(0x8000_1234));
            translation.SizeLog2.ShouldBe((byte)30);
        }

        iommu.Write(request, "hello"u8).ShouldBe(DmaStatus.Success);
        Span<byte> bytes = stackalloc byte[5];
        memory.Read(new(0x8000_1234), bytes);
        bytes.ToArray().ShouldBe("hello"u8.ToArray());
    }
}
