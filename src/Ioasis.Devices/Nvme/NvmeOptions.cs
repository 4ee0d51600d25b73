using Ioasis.Primitives;

namespace Ioasis.Devices.Nvme;

/// <summary>How a controller's interrupts can be signalled.</summary>
[Flags]
public enum NvmeInterrupts
{
    /// <summary>The pin.</summary>
    Pin = 1,

    /// <summary>MSI, up to 32 messages.</summary>
    Msi = 2,

    /// <summary>MSI-X.</summary>
    MsiX = 4,
}

/// <summary>How a controller is built.</summary>
public sealed record NvmeOptions
{
    /// <summary>The namespaces, numbered from 1; 1 to 256.</summary>
    public IReadOnlyList<NvmeNamespaceOptions> Namespaces { get; init; } = [new()];

    /// <summary>Serial number, at most 20 ASCII characters.</summary>
    public string Serial { get; init; } = "IOASIS0001";

    /// <summary>Model number, at most 40 ASCII characters.</summary>
    public string Model { get; init; } = "Ioasis NVMe controller";

    /// <summary>I/O queue pairs, 1 to 65535.</summary>
    public int Queues { get; init; } = 64;

    /// <summary>Most entries of an I/O queue, 2 to 65536.</summary>
    public int QueueEntries { get; init; } = 65536;

    /// <summary>log2 of the largest transfer in pages of 4 KiB ("MDTS"); 0 for no limit.</summary>
    public int MaxTransferLog2 { get; init; } = 9;

    /// <summary>How interrupts can be signalled.</summary>
    public NvmeInterrupts Interrupts { get; init; } = NvmeInterrupts.Pin | NvmeInterrupts.Msi | NvmeInterrupts.MsiX;

    /// <summary>Vectors of MSI-X, 1 to 2048; 0 for one a queue and one for the admin queue.</summary>
    public int Vectors { get; init; }

    /// <summary>Whether it has shadow doorbells (Doorbell Buffer Config).</summary>
    public bool ShadowDoorbells { get; init; } = true;

    /// <summary>PCI vendor and device.</summary>
    public (ushort Vendor, ushort Device) PciId { get; init; } = (0x1b36, 0x0010);

    /// <summary>PASID bits that it can send, 0 to 20.</summary>
    public int PasidBits { get; init; }

    /// <summary>The PASID that its requests carry; 0 for none. With <see cref="PasidBits"/>.</summary>
    public Pasid Pasid { get; init; }

    /// <summary>Whether it translates addresses itself (PCIe ATS).</summary>
    public bool Ats { get; init; }

    /// <summary>Whether it asks for pages that are missing (PCIe PRI); with <see cref="Ats"/>.</summary>
    public bool PageRequests { get; init; }

    /// <summary>How it misbehaves; null for not at all.</summary>
    public NvmeMisbehaviour? Misbehaviour { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Checks that the values are possible.</summary>
    /// <exception cref="DeviceSettingException">One is not.</exception>
    internal void Check()
    {
        Require(Namespaces.Count is >= 1 and <= 256, $"{Namespaces.Count} namespaces: 1 to 256 are possible.");
        Require(Serial.Length <= 20, $"The serial number \"{Serial}\" has more than 20 characters.");
        Require(Model.Length <= 40, $"The model number \"{Model}\" has more than 40 characters.");
        Require(Queues is >= 1 and <= 65535, $"{Queues} queue pairs: 1 to 65535 are possible.");
        Require(QueueEntries is >= 2 and <= 65536, $"{QueueEntries} entries of a queue: 2 to 65536 are possible.");
        Require(MaxTransferLog2 is >= 0 and <= 16, $"{MaxTransferLog2} as log2 of the largest transfer: 0 to 16 are possible.");
        Require(Vectors is >= 0 and <= 2048, $"{Vectors} vectors: 1 to 2048 are possible.");
        Require(Interrupts != 0, "It must be able to interrupt somehow.");
        Require(!Pasid.IsPresent || PasidBits > 0 && Pasid.Value < 1u << PasidBits, $"PASID {Pasid} needs more than {PasidBits} bits.");
    }

    private static void Require(bool holds, string rule)
    {
        if (!holds)
        {
            throw new DeviceSettingException(rule);
        }
    }
}

/// <summary>How a namespace is built.</summary>
public sealed record NvmeNamespaceOptions
{
    /// <summary>The raw file that holds its blocks; null for memory.</summary>
    public string? File { get; init; }

    /// <summary>Bytes of its data; 0 for the file's size. A file that does not exist is made of that size.</summary>
    public long Size { get; init; }

    /// <summary>Bytes of a block: 512 or 4096.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Bytes of metadata of a block: 0 or 8.</summary>
    public int MetadataSize { get; init; }

    /// <summary>Whether metadata follows each block in the data (an extended block) instead of a buffer of its own.</summary>
    public bool ExtendedBlocks { get; init; }

    /// <summary>Whether it cannot be written.</summary>
    public bool IsReadOnly { get; init; }
}
