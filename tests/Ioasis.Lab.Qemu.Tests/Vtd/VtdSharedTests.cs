using Ioasis.Lab.Qemu.Tests.Shared;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>What every IOMMU is held to, on VT-d in legacy mode with tables of 3 levels.</summary>
public sealed class VtdLegacy3DmaPathTests : DmaPathTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.Legacy3, needs);
}

/// <summary>What every IOMMU is held to, on VT-d in legacy mode with tables of 4 levels.</summary>
public sealed class VtdLegacy4DmaPathTests : DmaPathTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.Legacy4, needs);
}

/// <summary>What every IOMMU is held to, on VT-d in scalable mode with second stages.</summary>
public sealed class VtdSecondStageDmaPathTests : DmaPathTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.SecondStage, needs);
}

/// <summary>What every IOMMU is held to, on VT-d in scalable mode with first stages.</summary>
public sealed class VtdFirstStageDmaPathTests : DmaPathTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.FirstStage, needs);
}

/// <inheritdoc cref="VtdLegacy4DmaPathTests"/>
public sealed class VtdLegacy4InvalidationTests : InvalidationTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.Legacy4, needs);
}

/// <inheritdoc cref="VtdSecondStageDmaPathTests"/>
public sealed class VtdSecondStageInvalidationTests : InvalidationTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.SecondStage, needs);
}

/// <inheritdoc cref="VtdFirstStageDmaPathTests"/>
public sealed class VtdFirstStageInvalidationTests : InvalidationTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.FirstStage, needs);
}

/// <inheritdoc cref="VtdLegacy4DmaPathTests"/>
public sealed class VtdLegacy4DriverDmaTests : DriverDmaTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.Legacy4, needs);
}

/// <inheritdoc cref="VtdSecondStageDmaPathTests"/>
public sealed class VtdSecondStageDriverDmaTests : DriverDmaTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.SecondStage, needs);
}

/// <inheritdoc cref="VtdFirstStageDmaPathTests"/>
public sealed class VtdFirstStageDriverDmaTests : DriverDmaTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.FirstStage, needs);
}

/// <inheritdoc cref="VtdLegacy4DmaPathTests"/>
public sealed class VtdLegacy4ConcurrencyTests : ConcurrencyTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.Legacy4, needs);
}

/// <inheritdoc cref="VtdSecondStageDmaPathTests"/>
public sealed class VtdSecondStageConcurrencyTests : ConcurrencyTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.SecondStage, needs);
}

/// <inheritdoc cref="VtdFirstStageDmaPathTests"/>
public sealed class VtdFirstStageConcurrencyTests : ConcurrencyTests
{
    private protected override LabRig NewRig(LabNeeds needs) => VtdRig.For(VtdTables.FirstStage, needs);
}
