namespace Ioasis.Platform;

/// <summary>
/// The seam to a device's registers: an MMIO window, a BAR reached over a socket, or the hardware model in this process.
/// Offsets are in bytes from the start of the window and naturally aligned. An access to an offset that does not exist
/// reads 0 and ignores the write. Most devices here have registers of 4 and 8 bytes only: theirs can be read in part and not
/// written in part, unless they say otherwise.
/// </summary>
public interface IRegisterWindow
{
    /// <summary>Reads one byte.</summary>
    byte Read8(uint offset) => (byte)(Read32(offset & ~3u) >> (int)(8 * (offset & 3)));

    /// <summary>Reads 2 bytes.</summary>
    ushort Read16(uint offset) => (ushort)(Read32(offset & ~3u) >> (int)(8 * (offset & 2)));

    /// <summary>Writes a 1-byte register.</summary>
    void Write8(uint offset, byte value)
    {
    }

    /// <summary>Writes a 2-byte register.</summary>
    void Write16(uint offset, ushort value)
    {
    }

    /// <summary>Reads a 4-byte register.</summary>
    uint Read32(uint offset);

    /// <summary>Reads an 8-byte register.</summary>
    ulong Read64(uint offset);

    /// <summary>Writes a 4-byte register. Memory written before is visible to the device.</summary>
    void Write32(uint offset, uint value);

    /// <summary>Writes an 8-byte register. Memory written before is visible to the device.</summary>
    void Write64(uint offset, ulong value);
}
