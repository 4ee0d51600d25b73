using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Sva.Tests;

/// <summary>Tests that hold on every kind of IOMMU: on RISC-V's where they stand, on VT-d in <c>SuitesOnVtd.cs</c>.</summary>
public abstract class SvaSuite
{
    /// <summary>The IOMMU of the machines; null for RISC-V's with what <see cref="NewRig"/> is told of it.</summary>
    private protected virtual IommuSlot? Slot => null;

    private protected SvaRig NewRig(
        uint quota = 1000, ulong capabilities = RiscVIommuOptions.FullCapabilities, PageRequestDispatch dispatch = PageRequestDispatch.Inline) =>
        new(quota, capabilities, dispatch, Slot);
}
