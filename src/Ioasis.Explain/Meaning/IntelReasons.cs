using Ioasis.Intel.Architecture;

namespace Ioasis.Explain.Meaning;

/// <summary>What a fault reason of VT-d means.</summary>
/// <param name="Kind">The rule.</param>
/// <param name="Section">Where the specification defines it.</param>
/// <param name="Text">In words.</param>
internal readonly record struct IntelReason(FaultKind Kind, string Section, string Text);

/// <summary>Fault reasons of VT-d (section 7.1.3, Table 30; interrupts: section 5.1.4.1, Table 15).</summary>
internal static class IntelReasons
{
    private const string Translation = "VT-d specification, 7.1.3, Table 30";
    private const string Interrupts = "VT-d specification, 5.1.4.1, Table 15";

    /// <summary>Finds a reason.</summary>
    public static IntelReason Of(FaultReason reason) => reason switch
    {
        FaultReason.RootNotPresent or FaultReason.ScalableRootNotPresent => new(
            FaultKind.DeviceUnknown, Translation, "The IOMMU has no table for the device's bus."),
        FaultReason.ContextNotPresent or FaultReason.ScalableContextNotPresent => new(
            FaultKind.DeviceUnknown, Translation,
            "The IOMMU has no entry for this requester ID: no driver has given the device a domain, or the device uses another function's ID."),
        FaultReason.ContextInvalid or FaultReason.ScalableContextInvalid => new(
            FaultKind.TableError, Translation, "The device's context entry is programmed in a way that the IOMMU does not have."),
        FaultReason.AddressBeyondWidth or FaultReason.FirstStageAddressBeyondWidth or FaultReason.AddressBeyondHost
            or FaultReason.AddressBeyondSecondStage => new(
            FaultKind.AddressTooWide, Translation, "The address has more bits than the IOMMU's tables translate (MGAW, AGAW)."),
        FaultReason.NotCanonical => new(
            FaultKind.AddressTooWide, Translation, "The upper bits of the address are not copies of the highest bit that is translated."),
        FaultReason.WriteDenied or FaultReason.ScalableWriteDenied => new(
            FaultKind.NotMappedOrDenied, Translation,
            "The entry of the page does not allow writes. An entry that is not there allows nothing, so the page may be mapped for reading only, or not at all."),
        FaultReason.ReadDenied or FaultReason.ScalableReadDenied => new(
            FaultKind.NotMappedOrDenied, Translation,
            "The entry of the page does not allow reads. An entry that is not there allows nothing, so the page may be mapped for writing only, or not at all."),
        FaultReason.FirstStageNotPresent => new(
            FaultKind.NotMapped, Translation, "The first-stage tables map nothing at the address."),
        FaultReason.SecondStageNotPresent => new(
            FaultKind.NotMapped, Translation, "The second-stage tables map nothing at the address."),
        FaultReason.UserDenied => new(
            FaultKind.Denied, Translation, "The page is the kernel's, and the device asked for it with a user's privilege."),
        FaultReason.ContextBlocksDeviceTlb or FaultReason.DeviceTlbDisabled or FaultReason.PageRequestDisabled
            or FaultReason.TranslatedPasidDisabled or FaultReason.PageRequestInLegacyMode or FaultReason.SupervisorDisabled
            or FaultReason.ExecuteRequested or FaultReason.ExecuteUnsupported or FaultReason.AbortDma => new(
            FaultKind.RequestRefused, Translation, "The device may not make this type of request as it is set up."),
        FaultReason.PasidInLegacyMode or FaultReason.PasidDisabled or FaultReason.PasidBeyondDirectory or FaultReason.PasidIsRidPasid
            or FaultReason.PasidDirectoryNotPresent or FaultReason.PasidEntryNotPresent or FaultReason.PasidBeyondSize => new(
            FaultKind.PasidUnknown, Translation, "The request's PASID is not one that the device has been given."),
        FaultReason.OutputInInterruptRange or FaultReason.ScalableOutputInInterruptRange => new(
            FaultKind.TableError, Translation, "The page is mapped to 0xfee00000-0xfeefffff, where no memory is."),
        >= FaultReason.InterruptRequestReserved and <= FaultReason.InterruptRemappingRequired => OfInterrupt(reason),
        FaultReason.None => new(FaultKind.Unknown, Translation, "The line does not say why."),
        _ when Enum.IsDefined(reason) => new(
            FaultKind.TableError, Translation, "A table of the IOMMU cannot be read, or has bits that must be 0: a damaged table or a fault of the kernel."),
        _ => new(FaultKind.Unknown, Translation, "The specification has no such reason."),
    };

    private static IntelReason OfInterrupt(FaultReason reason) => reason switch
    {
        FaultReason.CompatibilityInterruptBlocked => new(
            FaultKind.Interrupt, Interrupts,
            "The interrupt message has the old format, which is not remapped and is blocked: something wrote the device's MSI registers that knows nothing of remapping."),
        FaultReason.InterruptEntryNotPresent => new(
            FaultKind.Interrupt, Interrupts, "The interrupt message names an entry that is not in use (any more)."),
        FaultReason.InterruptSourceDenied => new(
            FaultKind.Interrupt, Interrupts, "The interrupt message names an entry that belongs to another device."),
        FaultReason.InterruptIndexBeyondTable => new(
            FaultKind.Interrupt, Interrupts, "The interrupt message names an entry beyond the table's end."),
        FaultReason.InterruptRequestInvalid => new(
            FaultKind.Interrupt, Interrupts, "The device accessed 0xfee00000-0xfeefffff in a way that is no interrupt."),
        _ => new(FaultKind.Interrupt, Interrupts, "The interrupt message, or the entry that it names, is malformed or cannot be read."),
    };
}
