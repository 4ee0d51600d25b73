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
/// The requester of a DMA: PCI domain (32), bus (8), device (5), function (3). What a bus carries is the requester ID, the lower
/// 16 bits; firmware tells its buses apart by segments of 16 bits (PCI Firmware Specification, "PCI Segment Group"), and operating
/// systems number the buses behind some controllers above these: <c>10000:01:00.0</c>. An IOMMU that tells fewer apart refuses the
/// device.
/// </summary>
public readonly record struct DeviceId
{
    /// <summary>How many bits a device ID has.</summary>
    public const int Bits = 48;

    /// <summary>The largest device ID.</summary>
    public const ulong MaxValue = (1ul << Bits) - 1;

    /// <summary>Makes a device ID from its number.</summary>
    /// <param name="value">0 to 2^48-1: the domain from bit 16 on, the requester ID below.</param>
    /// <exception cref="ArgumentOutOfRangeException">It has more bits.</exception>
    public DeviceId(ulong value)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, MaxValue);
        Value = value;
    }

    /// <summary>The domain from bit 16 on, the requester ID below.</summary>
    public ulong Value { get; }

    /// <summary>PCI domain number, 32 bits, as the operating system numbers it.</summary>
    public uint Domain => (uint)(Value >> 16);

    /// <summary>Whether the domain is a segment, of 16 bits, which hardware can tell apart from others.</summary>
    public bool HasSegment => Domain <= ushort.MaxValue;

    /// <summary>PCI segment: the lower 16 bits of the domain.</summary>
    public ushort Segment => (ushort)(Value >> 16);

    /// <summary>Bus, device and function, as PCIe carries them.</summary>
    public ushort RequesterId => (ushort)Value;

    /// <summary>PCI bus number.</summary>
    public int Bus => (int)(Value >> 8) & 0xff;

    /// <summary>PCI device number on its bus.</summary>
    public int Device => (int)(Value >> 3) & 0x1f;

    /// <summary>PCI function number in its device.</summary>
    public int Function => (int)Value & 7;

    /// <summary>Makes a device ID from PCI coordinates.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A coordinate does not fit its field.</exception>
    public static DeviceId FromPci(long domain, int bus, int device, int function)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)domain, uint.MaxValue, nameof(domain));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)bus, 0xffu, nameof(bus));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)device, 0x1fu, nameof(device));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)function, 7u, nameof(function));
        return new(((ulong)domain << 16) | (uint)((bus << 8) | (device << 3) | function));
    }

    /// <summary>
    /// Reads <c>0000:00:02.0</c>, <c>00:02.0</c>, domains of up to 32 bits (<c>10000:01:00.0</c>), the two-digit function that
    /// some tools print (<c>00:02.00</c>), and <c>0000:02.0</c> where the first part is the bus.
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
        uint domain = 0;
        colon = text.LastIndexOf(':');
        if (colon >= 0)
        {
            if (!TryHex(text[..colon], uint.MaxValue, out domain))
            {
                return false;
            }

            text = text[(colon + 1)..];
        }

        if (!TryHex(text, 0xff, out uint bus))
        {
            return false;
        }

        deviceId = FromPci(domain, (int)bus, (int)device, (int)function);
        return true;
    }

    /// <summary>The name that Linux gives a PCI function: <c>0000:00:02.0</c>; a larger domain has more digits.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Domain:x4}:{Bus:x2}:{Device:x2}.{Function:x}");

    private static bool TryHex(ReadOnlySpan<char> text, uint max, out uint value) =>
        uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value <= max;
}
