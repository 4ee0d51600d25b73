using System.Globalization;

namespace Ioasis.Primitives;

/// <summary>
/// A process address space identifier as PCIe carries it: 20 bits, unsigned everywhere (S2.4). PASID 0 stands for
/// requests without a PASID and is never allocated (S2.6). An allocated PASID is an IOASID.
/// </summary>
/// <param name="Value">0 to 2^20-1, or <see cref="uint.MaxValue"/> for <see cref="Invalid"/>.</param>
public readonly record struct Pasid(uint Value)
{
    /// <summary>How many bits a PASID has.</summary>
    public const int Bits = 20;

    /// <summary>The largest PASID.</summary>
    public const uint MaxValue = (1u << Bits) - 1;

    /// <summary>Requests without PASID (S2.6).</summary>
    public static Pasid None => default;

    /// <summary>The one value that is no PASID (S2.4).</summary>
    public static Pasid Invalid => new(uint.MaxValue);

    /// <summary>Whether the value fits 20 bits.</summary>
    public bool IsValid => Value <= MaxValue;

    /// <summary>Whether requests that carry it have a PASID prefix: valid and not 0.</summary>
    public bool IsPresent => Value - 1 < MaxValue;

    /// <summary>Decimal, or <c>invalid</c>.</summary>
    public override string ToString() => IsValid ? Value.ToString(CultureInfo.InvariantCulture) : "invalid";
}

/// <summary>The identity of a set of PASIDs: a type of its own, so that it cannot be taken for a PASID (S0.6).</summary>
/// <param name="Value">1 to the static capacity of the system (S0.5); 0 is no set.</param>
public readonly record struct PasidSetId(uint Value)
{
    /// <summary>Decimal.</summary>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>
/// A PASID as a guest, or another private name space, numbers it: means nothing outside of its set or virtual machine, and
/// cannot be taken for a <see cref="Pasid"/> of the system (S0.9, S1.13).
/// </summary>
/// <param name="Value">0 to 2^20-1.</param>
public readonly record struct GuestPasid(uint Value)
{
    /// <summary>Whether the value fits 20 bits.</summary>
    public bool IsValid => Value <= Pasid.MaxValue;

    /// <summary>Decimal.</summary>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>
/// The requester of a DMA as the RISC-V IOMMU sees it: up to 24 bits, PCI segment (8), bus (8), device (5), function (3)
/// (RISC-V IOMMU specification, section 2.1, "Device-Directory-Table").
/// </summary>
/// <param name="Value">0 to 2^24-1.</param>
public readonly record struct DeviceId(uint Value)
{
    /// <summary>The largest device ID.</summary>
    public const uint MaxValue = (1u << 24) - 1;

    /// <summary>PCI segment (domain) number.</summary>
    public int Segment => (int)(Value >> 16) & 0xff;

    /// <summary>PCI bus number.</summary>
    public int Bus => (int)(Value >> 8) & 0xff;

    /// <summary>PCI device number on its bus.</summary>
    public int Device => (int)(Value >> 3) & 0x1f;

    /// <summary>PCI function number in its device.</summary>
    public int Function => (int)Value & 7;

    /// <summary>Makes a device ID from PCI coordinates.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A coordinate does not fit its field.</exception>
    public static DeviceId FromPci(int segment, int bus, int device, int function)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)segment, 0xffu, nameof(segment));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)bus, 0xffu, nameof(bus));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)device, 0x1fu, nameof(device));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)function, 7u, nameof(function));
        return new((uint)((segment << 16) | (bus << 8) | (device << 3) | function));
    }

    /// <summary>
    /// Reads <c>0000:00:02.0</c>, <c>00:02.0</c>, and the two-digit function that some tools print (<c>00:02.00</c>),
    /// and <c>0000:02.0</c> where the first part is the bus.
    /// </summary>
    /// <returns>Whether <paramref name="text"/> is such a name with every part in range.</returns>
    public static bool TryParse(ReadOnlySpan<char> text, out DeviceId deviceId)
    {
        deviceId = default;
        int dot = text.LastIndexOf('.');
        if (dot < 0 || !TryHex(text[(dot + 1)..], 7, out uint function))
        {
            return false;
        }

        text = text[..dot];
        int colon = text.LastIndexOf(':');
        if (colon < 0 || !TryHex(text[(colon + 1)..], 0x1f, out uint device))
        {
            return false;
        }

        text = text[..colon];
        uint segment = 0;
        colon = text.LastIndexOf(':');
        if (colon >= 0)
        {
            if (!TryHex(text[..colon], 0xff, out segment))
            {
                return false;
            }

            text = text[(colon + 1)..];
        }

        if (!TryHex(text, 0xff, out uint bus))
        {
            return false;
        }

        deviceId = FromPci((int)segment, (int)bus, (int)device, (int)function);
        return true;
    }

    /// <summary>The name that Linux gives a PCI function: <c>0000:00:02.0</c>.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Segment:x4}:{Bus:x2}:{Device:x2}.{Function:x}");

    private static bool TryHex(ReadOnlySpan<char> text, uint max, out uint value) =>
        uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value <= max;
}
