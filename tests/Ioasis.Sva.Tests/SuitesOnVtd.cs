using Ioasis.Core;
using Ioasis.Embedded;

namespace Ioasis.Sva.Tests;

/// <summary>What holds of bindings on the RISC-V IOMMU, on VT-d in scalable mode.</summary>
public sealed class BindOnVtdTests : BindTests
{
    private protected override SvaRig NewRig(uint quota = 1000, PageRequestDispatch dispatch = PageRequestDispatch.Inline) =>
        new(quota, dispatch: dispatch, slot: new VtdIommuSlot());
}

/// <summary>What holds of processes' memory under the RISC-V IOMMU, under VT-d in scalable mode.</summary>
public sealed class AddressSpaceOnVtdTests : AddressSpaceTests
{
    private protected override SvaRig NewRig(uint quota = 1000, PageRequestDispatch dispatch = PageRequestDispatch.Inline) =>
        new(quota, dispatch: dispatch, slot: new VtdIommuSlot());
}
