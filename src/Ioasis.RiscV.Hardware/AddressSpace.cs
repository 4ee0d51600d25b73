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

/// <summary>
/// The IOTLB's view of an address space. Its entries carry a short tag; to invalidate them all is to take the tag away, in
/// constant time. Changed under the cache lock, read without.
/// </summary>
internal sealed class AddressSpace(SpaceKey key, InterruptFiles files = default)
{
    private ulong _identity;

    public SpaceKey Key { get; } = key;

    /// <summary>Where the interrupt files of its devices are. Devices of one VM may differ in that, and then so do their translations.</summary>
    public InterruptFiles Files { get; } = files;

    /// <summary>The next space of the same <see cref="Key"/>, with other <see cref="Files"/>.</summary>
    public AddressSpace? Sibling { get; set; }

    /// <summary><see cref="Tag"/> in 31:0 and <see cref="Classes"/> in 63:32, to be read at once.</summary>
    public ulong Identity => Volatile.Read(ref _identity);

    /// <summary>The tag of its entries, from 1; 0 while there are none.</summary>
    public int Tag
    {
        get => (int)(uint)Identity;
        set => Volatile.Write(ref _identity, (_identity & ~(ulong)uint.MaxValue) | (uint)value);
    }

    /// <summary>A bit for each size class that has, or had, entries since the tag was taken.</summary>
    public uint Classes
    {
        get => (uint)(Identity >> 32);
        set => Volatile.Write(ref _identity, (uint)_identity | ((ulong)value << 32));
    }

    /// <summary>How many entries carry the tag.</summary>
    public int Live { get; set; }

    /// <summary>Some entry is smaller than the first-stage page that it comes from: an address alone does not find it.</summary>
    public bool IsFractured { get; set; }
}
