using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.RiscV.Architecture;

namespace Ioasis.Embedded;

// The RISC-V IOMMU's options in text.
public sealed partial record RiscVIommuSlot
{
    private static readonly PageTableFormat[] s_formats = [PageTableFormat.Of<Sv48>(), PageTableFormat.Of<Sv39>(), PageTableFormat.Of<Sv57>()];

    private static readonly IommuSlotOption[] s_options =
    [
        .. IommuSlotOption.Common(s_formats),
        Feature("ats", Capabilities.AtsBit | Capabilities.T2gpaBit),
        Feature("dirty", Capabilities.AmoHwadBit),
        Feature("nested", Capabilities.Sv32x4Bit | Capabilities.Sv39x4Bit | Capabilities.Sv48x4Bit | Capabilities.Sv57x4Bit),
        Feature("pasid", Capabilities.Pd8Bit | Capabilities.Pd17Bit | Capabilities.Pd20Bit),
        IommuSlotOption.Switch<RiscVIommuSlot>("napot", static (slot, on) => slot with { Driver = slot.Driver with { UseNapot = on } }),
    ];

    /// <inheritdoc/>
    internal override IReadOnlyList<IommuSlotOption> Options => s_options;

    // Bits of the capabilities register (section 5.3). The fresh model has them all.
    private static IommuSlotOption Feature(string name, ulong bits) => IommuSlotOption.Switch<RiscVIommuSlot>(
        name,
        (slot, on) => slot with
        {
            Hardware = slot.Hardware with { Capabilities = on ? slot.Hardware.Capabilities | bits : slot.Hardware.Capabilities & ~bits },
        });
}
