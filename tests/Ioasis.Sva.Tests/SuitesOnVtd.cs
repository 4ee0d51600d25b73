using Ioasis.Embedded;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;

namespace Ioasis.Sva.Tests;

/// <summary>What holds of bindings with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class BindOnVtdTests : BindTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of processes' memory with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class AddressSpaceOnVtdTests : AddressSpaceTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of page requests with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class PageRequestOnVtdTests : PageRequestTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();

    private protected override bool HardwareAnswersForUnattached => true;
}

/// <summary>What holds of random operations of several threads with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class LoadOnVtdTests : LoadTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of ENQCMD and shared work queues with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class SharedWorkQueueOnVtdTests : SharedWorkQueueTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of ends that fail with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class FailureOnVtdTests : FailureTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();
}

/// <summary>What holds of the order in which devices are stopped with the RISC-V IOMMU, with VT-d in scalable mode.</summary>
public sealed class StopOrderOnVtdTests : StopOrderTests
{
    private protected override IommuSlot Slot => new VtdIommuSlot();

    // ECAP_REG.PSS is one less than the number of bits (section 11.4.3).
    private protected override IommuSlot NarrowSlot(int bits) => new VtdIommuSlot
    {
        Hardware = new()
        {
            ExtendedCapabilities = new(
                (VtdIommuOptions.AllExtendedCapabilities.Value & ~(0x1ful << ExtendedCapability.PasidSizeShift))
                | ((ulong)(bits - 1) << ExtendedCapability.PasidSizeShift)),
        },
    };
}
