namespace Ioasis.Platform;

/// <summary>
/// The seam to a device's registers: an MMIO window, a BAR reached over a socket, or the hardware model in this process.
/// Offsets are in bytes from the start of the window and naturally aligned. An access to an offset that does not exist
/// reads 0 and ignores the write.
/// </summary>
public interface IRegisterWindow
{
    /// <summary>Reads a 4-byte register.</summary>
    uint Read32(uint offset);

    /// <summary>Reads an 8-byte register.</summary>
    ulong Read64(uint offset);

    /// <summary>Writes a 4-byte register. Memory written before is visible to the device.</summary>
    void Write32(uint offset, uint value);

    /// <summary>Writes an 8-byte register. Memory written before is visible to the device.</summary>
    void Write64(uint offset, ulong value);
}
