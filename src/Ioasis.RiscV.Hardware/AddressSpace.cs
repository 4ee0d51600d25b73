using Ioasis.Hardware;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// What tags a cached translation (section 2.8, "Identifiers used to tag IOATC entries"): a GSCID or the host, and a PSCID or no first stage.
/// </summary>
internal readonly record struct SpaceKey(bool HasGscid, uint Gscid, bool HasPscid, uint Pscid);

/// <summary>Which guest pages a device context takes for virtual interrupt files, and its table for them; all 0 without one (section 2.1.3.6).</summary>
internal readonly record struct InterruptFiles(ulong Table, ulong Mask, ulong Pattern)
{
    /// <summary>Those of a device context.</summary>
    public static InterruptFiles Of(in DeviceContextData device) =>
        Architecture.TablePointer.Mode(device.Msiptp) == Architecture.Msiptp.ModeOff
            ? default
            : new(device.Msiptp, device.MsiAddressMask, device.MsiAddressPattern);
}

/// <summary>The IOTLB's view of an address space.</summary>
internal sealed class AddressSpace(SpaceKey key, InterruptFiles files = default) : TranslationSpace
{
    public SpaceKey Key { get; } = key;

    /// <summary>Where the interrupt files of its devices are. Devices of one VM may differ in that, and then so do their translations.</summary>
    public InterruptFiles Files { get; } = files;

    /// <summary>The next space of the same <see cref="Key"/>, with other <see cref="Files"/>.</summary>
    public AddressSpace? Sibling { get; set; }
}
