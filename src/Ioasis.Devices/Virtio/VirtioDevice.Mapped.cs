namespace Ioasis.Devices.Virtio;

/// <content>
/// Notifications that a client has mapped. A place where nobody has written shows ones; what is found there is taken away, so that the
/// same number written again is seen.
/// </content>
public abstract partial class VirtioDevice
{
    private const uint NotWritten = uint.MaxValue;

    /// <inheritdoc/>
    protected override void OnRegistersMapped(int bar, MappedRegisters registers)
    {
        for (int i = 0; bar == 0 && i < _queues.Length; i++)
        {
            registers.Write32(PlaceOf(i), NotWritten);
        }
    }

    /// <inheritdoc/>
    protected internal override bool LookAtRegisters(int bar, MappedRegisters registers)
    {
        bool found = false;
        for (int i = 0; bar == 0 && !_isGone && i < _queues.Length; i++)
        {
            if (registers.Read32(PlaceOf(i)) != NotWritten)
            {
                // What comes from here on is seen in the queue.
                registers.Write32(PlaceOf(i), NotWritten);
                Interlocked.MemoryBarrier();
                _queues[i].Notify();
                found = true;
            }
        }

        if (found)
        {
            Volatile.Write(ref _hasWork, 1);
            Run();
        }

        return found;
    }

    private static uint PlaceOf(int queue) => VirtioRegisters.Notify + ((uint)queue * VirtioRegisters.NotifyMultiplier);
}
