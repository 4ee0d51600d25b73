using System.Runtime.InteropServices;

namespace Ioasis.Client;

/// <summary>
/// Keeps a handle open for as long as a call uses its number, whoever disposes of it meanwhile: <c>using HandleHold held = new(handle);</c>.
/// </summary>
internal readonly ref struct HandleHold
{
    private readonly SafeHandle _handle;

    /// <summary>Takes hold of a handle.</summary>
    /// <exception cref="ObjectDisposedException">The handle is closed.</exception>
    public HandleHold(SafeHandle handle)
    {
        bool held = false;
        handle.DangerousAddRef(ref held);
        _handle = handle;
    }

    /// <summary>Lets go of it: it closes now if it was disposed of meanwhile and nothing else holds it.</summary>
    public void Dispose() => _handle.DangerousRelease();
}
