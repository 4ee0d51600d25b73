using Ioasis.Embedded;
using Ioasis.Intel.Driver;

namespace Ioasis.Client.Tests;

/// <summary>What holds of managed memory on the RISC-V IOMMU, on VT-d in scalable mode.</summary>
public sealed class MemoryOnVtdTests : MemoryTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of managed memory on the RISC-V IOMMU, on VT-d in legacy mode.</summary>
public sealed class MemoryOnLegacyVtdTests : MemoryTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot { Driver = new() { Mode = VtdMode.Legacy } };
}
