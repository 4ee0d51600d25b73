using Ioasis.Uapi;

namespace Ioasis.Devices;

/// <summary>What an <see cref="PciDevice"/> says of itself in its configuration space.</summary>
public sealed record PciDeviceDescription
{
    /// <summary>Vendor ID.</summary>
    public required ushort VendorId { get; init; }

    /// <summary>Device ID.</summary>
    public required ushort DeviceId { get; init; }

    /// <summary>Revision ID.</summary>
    public byte Revision { get; init; }

    /// <summary>Class in 23:16, subclass in 15:8, interface in 7:0.</summary>
    public uint ClassCode { get; init; }

    /// <summary>Subsystem vendor ID.</summary>
    public ushort SubsystemVendorId { get; init; }

    /// <summary>Subsystem ID.</summary>
    public ushort SubsystemId { get; init; }

    /// <summary>Base address registers.</summary>
    public IReadOnlyList<PciBar> Bars { get; init; } = [];

    /// <summary>Whether it has a wired interrupt.</summary>
    public bool HasInterruptPin { get; init; }

    /// <summary>Vectors of MSI: 0 for none, else a power of two up to 32.</summary>
    public int MsiVectors { get; init; }

    /// <summary>MSI-X, if it has it.</summary>
    public PciMsiX? MsiX { get; init; }

    /// <summary>Whether it is a PCI Express endpoint, with 4096 bytes of configuration space; else a conventional device with 256.</summary>
    public bool IsExpress { get; init; }

    /// <summary>Whether it has the ATS capability. Only with <see cref="IsExpress"/>.</summary>
    public bool HasAts { get; init; }

    /// <summary>Whether it has the page request capability. Only with <see cref="HasAts"/>.</summary>
    public bool HasPageRequests { get; init; }

    /// <summary>PASID bits, 0 to 20; 0 for no capability. Only with <see cref="IsExpress"/>.</summary>
    public int PasidBits { get; init; }

    /// <summary>Vendor-specific capabilities, in their order.</summary>
    public IReadOnlyList<PciVendorCapability> VendorCapabilities { get; init; } = [];

    /// <summary>Whether software can reset the function by itself.</summary>
    public bool CanReset { get; init; } = true;

    /// <summary>Checks that the parts fit together.</summary>
    /// <returns>What does not, or null.</returns>
    internal string? FindFault()
    {
        int used = 0;
        foreach (PciBar bar in Bars)
        {
            int registers = bar.Is64Bit ? 3 : 1;
            bool isPower = bar.Size != 0 && (bar.Size & (bar.Size - 1)) == 0;
            if (bar.Register is < 0 or > 5
                || (bar.Is64Bit && (bar.Register == 5 || bar.IsIo))
                || (used & (registers << bar.Register)) != 0
                || !isPower
                || bar.Size < (bar.IsIo ? 4u : 16u)
                || bar.Size > (bar.Is64Bit ? 1ul << 39 : 1ul << 31))
            {
                return $"Base address register {bar.Register} of {bar.Size} bytes is not possible.";
            }

            used |= registers << bar.Register;
            if (bar.Areas is { } areas && (bar.IsIo || bar.IsMemory || !AreInOrder(areas, bar.Size)))
            {
                return $"The parts of base address register {bar.Register} that can be mapped are not in order, or it is not of registers.";
            }
        }

        if (MsiVectors is < 0 or > 32 || (MsiVectors & (MsiVectors - 1)) != 0)
        {
            return $"MSI has 1, 2, 4, 8, 16 or 32 vectors, not {MsiVectors}.";
        }

        if (MsiX is { } x)
        {
            PciBar? bar = Bars.FirstOrDefault(entry => entry.Register == x.Bar);
            if (bar is null
                || x.Vectors is < 1 or > 2048
                || ((x.TableOffset | x.PendingOffset) & 7) != 0
                || x.TableOffset + (ulong)(16 * x.Vectors) > bar.Size
                || x.PendingOffset + (ulong)((x.Vectors + 63) / 64 * 8) > bar.Size)
            {
                return "The table of MSI-X does not lie in a base address register.";
            }
        }

        if (PasidBits is < 0 or > 20
            || (!IsExpress && (HasAts || PasidBits > 0))
            || (HasPageRequests && !HasAts))
        {
            return "ATS and PASID need PCI Express, page requests need ATS.";
        }

        return null;
    }

    private static bool AreInOrder(IReadOnlyList<DeviceArea> areas, ulong size)
    {
        ulong end = 0;
        foreach (DeviceArea area in areas)
        {
            if (((area.Offset | area.Size) & 4095) != 0 || area.Size == 0 || area.Offset < end || area.Offset > size || area.Size > size - area.Offset)
            {
                return false;
            }

            end = area.Offset + area.Size;
        }

        return true;
    }
}

/// <summary>A base address register.</summary>
/// <param name="Register">Its number, 0 to 5; a 64-bit one takes the next too.</param>
/// <param name="Size">Bytes, a power of two.</param>
public sealed record PciBar(int Register, ulong Size)
{
    /// <summary>Whether the address has 64 bits.</summary>
    public bool Is64Bit { get; init; }

    /// <summary>Whether reads have no side effects.</summary>
    public bool IsPrefetchable { get; init; }

    /// <summary>Whether it lies in I/O space.</summary>
    public bool IsIo { get; init; }

    /// <summary>
    /// Whether it is plain memory: the framework keeps the bytes, and a client may map it.
    /// </summary>
    public bool IsMemory { get; init; }

    /// <summary>
    /// Registers that a client may map, by offset: the device looks at them by itself then (<see cref="PciDevice.LookAtRegisters"/>), for
    /// nothing in a process notices a store. Null for none.
    /// </summary>
    public IReadOnlyList<DeviceArea>? Areas { get; init; }
}

/// <summary>MSI-X of a device.</summary>
/// <param name="Vectors">1 to 2048.</param>
/// <param name="Bar">The base address register with the tables.</param>
/// <param name="TableOffset">Where the table of 16 bytes a vector begins, a multiple of 8.</param>
/// <param name="PendingOffset">Where the pending bits begin, a multiple of 8.</param>
public sealed record PciMsiX(int Vectors, int Bar, uint TableOffset, uint PendingOffset);

/// <summary>A vendor-specific capability (PCI Local Bus 3.0, appendix H: ID 9).</summary>
/// <param name="Body">What follows its ID, its link and its length: at most 253 bytes.</param>
public sealed record PciVendorCapability(IReadOnlyList<byte> Body)
{
    /// <summary>
    /// Whether accesses of configuration space reach base address registers through it: the register's number at offset 4, the place
    /// in it at 8, 1, 2 or 4 bytes at 12, and the data at 16 (virtio 1.3, section 4.1.4.9). A device has one at most.
    /// </summary>
    public bool IsWindow { get; init; }
}
