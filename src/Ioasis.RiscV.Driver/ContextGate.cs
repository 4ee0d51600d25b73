using Ioasis.Platform;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// Keeps ATS invalidations of a device and changes of its device context apart: the device's answers pass only while the
/// context is valid (section 2.1.2.1), so that one which is under way at the wrong moment would wait for ever. Invalidations do
/// not exclude each other.
/// </summary>
internal sealed class ContextGate
{
    private const int Closed = int.MinValue;

    // How many are inside; with Closed added while a change waits or runs.
    private int _state;

    /// <summary>An invalidation begins, unless the context is changing.</summary>
    public bool TryEnter()
    {
        while (true)
        {
            int state = Volatile.Read(ref _state);
            if (state < 0)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref _state, state + 1, state) == state)
            {
                return true;
            }
        }
    }

    /// <summary>An invalidation begins: waits while the context changes. Not inside another gate.</summary>
    public void Enter()
    {
        for (int spins = 0; !TryEnter(); spins++)
        {
            HardwareAccess.Pause(spins);
        }
    }

    /// <summary>The device has answered, or is known not to.</summary>
    public void Leave() => _ = Interlocked.Decrement(ref _state);

    /// <summary>
    /// A change of the context begins: waits until nobody is inside; each of them has a time-out of its own. Only under the
    /// lock of the device.
    /// </summary>
    public void Close()
    {
        _ = Interlocked.Add(ref _state, Closed);
        for (int spins = 0; Volatile.Read(ref _state) != Closed; spins++)
        {
            HardwareAccess.Pause(spins);
        }
    }

    /// <summary>The change is over.</summary>
    public void Open() => _ = Interlocked.Add(ref _state, Closed);
}
