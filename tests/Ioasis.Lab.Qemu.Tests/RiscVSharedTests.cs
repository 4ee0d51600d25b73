using Ioasis.Lab.Qemu.Tests.Shared;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>What every IOMMU is held to, on RISC-V's.</summary>
public sealed class RiscVDmaPathTests : DmaPathTests
{
    private protected override LabRig NewRig(LabNeeds needs) => QemuRig.For(needs);
}

/// <inheritdoc cref="RiscVDmaPathTests"/>
public sealed class RiscVDriverDmaTests : DriverDmaTests
{
    private protected override LabRig NewRig(LabNeeds needs) => QemuRig.For(needs);
}

/// <inheritdoc cref="RiscVDmaPathTests"/>
public sealed class RiscVConcurrencyTests : ConcurrencyTests
{
    private protected override LabRig NewRig(LabNeeds needs) => QemuRig.For(needs);
}
