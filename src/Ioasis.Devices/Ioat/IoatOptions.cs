namespace Ioasis.Devices.Ioat;

/// <summary>What an <see cref="IoatDevice"/> is like.</summary>
public sealed record IoatOptions
{
    /// <summary>Log2 of the most bytes of a descriptor (XFERCAP), 12 to 20. Skylake's engine says 20.</summary>
    public int TransferLog2 { get; init; } = 16;
}
