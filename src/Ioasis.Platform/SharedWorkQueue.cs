namespace Ioasis.Platform;

/// <summary>
/// The portal of a shared work queue: it takes a command of 64 bytes whole or asks to retry, which a deferrable memory write
/// tells its sender at once.
/// </summary>
public interface ISharedWorkQueue
{
    /// <summary>Bytes of a command.</summary>
    const int CommandSize = 64;

    /// <summary>Offers a command; bits 19:0 of its first four bytes are the PASID, bit 31 says privileged.</summary>
    /// <returns>Whether it was accepted; if not, nothing has happened.</returns>
    bool TryEnqueue(ReadOnlySpan<byte> command);
}
