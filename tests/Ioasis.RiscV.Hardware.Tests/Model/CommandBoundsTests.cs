using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware.Tests.Model;

/// <summary>Operands of commands, at the edge of what the capabilities have.</summary>
public sealed class CommandBoundsTests
{
    private const ulong Queue = 0x1_0000;

    /// <summary>IODIR.INVAL_PDT takes every process of the widest directory that there is, and none more (section 3.1.3).</summary>
    [Theory]
    [InlineData(Capabilities.Pd8Bit, 8)]
    [InlineData(Capabilities.Pd8Bit | Capabilities.Pd17Bit, 17)]
    [InlineData(Capabilities.Pd17Bit, 17)]
    [InlineData(Capabilities.Pd8Bit | Capabilities.Pd17Bit | Capabilities.Pd20Bit, 20)]
    public void A_process_is_legal_if_the_widest_directory_has_it(ulong directories, int bits)
    {
        const ulong All = Capabilities.Pd8Bit | Capabilities.Pd17Bit | Capabilities.Pd20Bit;
        ulong capabilities = (RiscVIommuOptions.FullCapabilities & ~All) | directories;
        IsLegal(capabilities, 0).ShouldBeTrue();
        IsLegal(capabilities, (1u << bits) - 1).ShouldBeTrue();
        for (int above = bits; above < 20; above++)
        {
            IsLegal(capabilities, 1u << above).ShouldBeFalse();
        }
    }

    private static bool IsLegal(ulong capabilities, uint process)
    {
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new() { Capabilities = capabilities }, memory);
        iommu.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(Queue) | 4);
        iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        Command command = Command.InvalidateProcessDirectory(1, process);
        memory.Write64(new(Queue), command.Low).ShouldBe(MemoryStatus.Success);
        memory.Write64(new(Queue + 8), command.High).ShouldBe(MemoryStatus.Success);
        iommu.Write32(RegisterOffset.CommandQueueTail, 1);
        bool isIllegal = (iommu.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.CommandIllegalBit) != 0;
        iommu.Read32(RegisterOffset.CommandQueueHead).ShouldBe(isIllegal ? 0u : 1u);
        return !isIllegal;
    }
}
