namespace Ioasis.Devices.Dsa;

/// <summary>What a <see cref="DsaDevice"/> is like.</summary>
public sealed record DsaOptions
{
    /// <summary>Work queues, 1 to 16.</summary>
    public int Queues { get; init; } = 8;

    /// <summary>Groups and engines, 1 to 16 of each.</summary>
    public int Groups { get; init; } = 4;

    /// <summary>Entries of all work queues together, 1 to 1024.</summary>
    public int Entries { get; init; } = 128;

    /// <summary>Log2 of the most bytes of a descriptor, 12 to 31. Sapphire Rapids says 31.</summary>
    public int TransferLog2 { get; init; } = 16;

    /// <summary>Log2 of the most descriptors of a batch, 1 to 15.</summary>
    public int BatchLog2 { get; init; } = 10;

    /// <summary>Vectors of MSI-X, 1 to 64; the first is for errors and commands.</summary>
    public int Vectors { get; init; } = 9;

    /// <summary>PASID bits, 0 to 20; 0 for no capability.</summary>
    public int PasidBits { get; init; } = 20;

    /// <summary>Whether it translates addresses itself, if the IOMMU answers it.</summary>
    public bool HasAts { get; init; } = true;

    /// <summary>Whether it asks for pages that are missing; only with <see cref="HasAts"/>.</summary>
    public bool HasPageRequests { get; init; } = true;

    /// <summary>Whether it has the event log.</summary>
    public bool HasEventLog { get; init; } = true;

    /// <summary>Whether drivers must ask for interrupt handles; else a handle is the number of a vector.</summary>
    public bool NeedsHandles { get; init; }

    /// <summary>Whether it works only when <see cref="DsaDevice.Step"/> is called: deterministic. Else it works by itself.</summary>
    public bool IsStepped { get; init; }

    /// <summary>A name for people.</summary>
    public string Name { get; init; } = "dsa";

    internal string? FindFault() =>
        Range(nameof(Queues), Queues, 1, 16)
        ?? Range(nameof(Groups), Groups, 1, 16)
        ?? Range(nameof(Entries), Entries, 1, 1024)
        ?? Range(nameof(TransferLog2), TransferLog2, 12, 31)
        ?? Range(nameof(BatchLog2), BatchLog2, 1, 15)
        ?? Range(nameof(Vectors), Vectors, 1, 64)
        ?? Range(nameof(PasidBits), PasidBits, 0, 20)
        ?? (HasPageRequests && !HasAts ? "Page requests need ATS." : null);

    private static string? Range(string name, int value, int least, int most) =>
        value >= least && value <= most ? null : $"{name} is {value}: {least} to {most} are possible.";
}
