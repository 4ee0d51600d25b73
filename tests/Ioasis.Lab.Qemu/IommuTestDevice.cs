using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>How a DMA of the test device ended.</summary>
/// <param name="Code">Its result register.</param>
public readonly record struct TestDeviceResult(uint Code)
{
    /// <summary>It wrote its pattern, and found it at the physical address that it was told.</summary>
    public bool IsSuccess => Code == 0;
}

/// <summary>
/// QEMU's <c>iommu-testdev</c> (QEMU documentation, "iommu-testdev"): writes a pattern by DMA to an IOVA, then compares what
/// is at a physical address, past every IOMMU. Its DMA runs inside the read that triggers it.
/// </summary>
public sealed class IommuTestDevice(QemuMachine machine, PciFunction function)
{
    /// <summary>Its vendor.</summary>
    public const ushort Vendor = 0x1b36;

    /// <summary>Its product.</summary>
    public const ushort Product = 0x0005;

    /// <summary>What it writes, again and again.</summary>
    public const uint Pattern = 0x1234_5678;

    private readonly QtestRegisters _registers = machine.Registers(function.Bar(0));

    /// <summary>Where it is.</summary>
    public PciFunction Function => function;

    /// <summary>The requester ID of its DMA.</summary>
    public DeviceId Id => function.Id;

    /// <summary>Writes the pattern to an IOVA and looks for it at a physical address.</summary>
    public TestDeviceResult Write(Iova iova, PhysicalAddress expected, int count)
    {
        _registers.Write32(0x04, (uint)iova.Value);
        _registers.Write32(0x08, (uint)(iova.Value >> 32));
        _registers.Write32(0x1c, (uint)expected.Value);
        _registers.Write32(0x20, (uint)(expected.Value >> 32));
        _registers.Write32(0x0c, (uint)count);
        _registers.Write32(0x18, 0);
        _registers.Write32(0x14, 1);
        _ = _registers.Read32(0);
        return new(_registers.Read32(0x10));
    }
}
