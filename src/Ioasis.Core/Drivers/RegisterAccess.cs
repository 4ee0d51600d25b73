using Ioasis.Platform;

namespace Ioasis.Core;

/// <summary>For a driver: the registers of one IOMMU with the clock. Reads, writes, and waits that always end.</summary>
/// <param name="registers">The registers.</param>
/// <param name="time">The clock of all waits.</param>
/// <param name="timeout">Longest wait for a register or a command.</param>
/// <param name="atsTimeout">Longest wait for a device that was asked to invalidate.</param>
internal class RegisterAccess(IRegisterWindow registers, TimeProvider time, TimeSpan timeout, TimeSpan atsTimeout)
{
    private const int SpinsBeforeYield = 64;

    /// <summary>The registers.</summary>
    public IRegisterWindow Registers { get; } = registers;

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; } = time;

    /// <summary>Longest wait for a register or a command.</summary>
    public TimeSpan Timeout { get; } = timeout;

    /// <summary>Longest wait for a device that was asked to invalidate.</summary>
    public TimeSpan AtsTimeout { get; } = atsTimeout;

    /// <summary>Polls until the bits under <paramref name="mask"/> are <paramref name="expected"/>, or the time is up.</summary>
    public bool WaitFor32(uint offset, uint mask, uint expected, out uint value)
    {
        value = Registers.Read32(offset);
        if ((value & mask) == expected)
        {
            return true;
        }

        long start = Time.GetTimestamp();
        for (int spins = 0; Time.GetElapsedTime(start) < Timeout; spins++)
        {
            Pause(spins);
            value = Registers.Read32(offset);
            if ((value & mask) == expected)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>As <see cref="WaitFor32"/>, for an 8-byte register.</summary>
    /// <returns>Whether the bits came to be so.</returns>
    public bool WaitFor64(uint offset, ulong mask, ulong expected, out ulong value)
    {
        value = Registers.Read64(offset);
        if ((value & mask) == expected)
        {
            return true;
        }

        long start = Time.GetTimestamp();
        for (int spins = 0; Time.GetElapsedTime(start) < Timeout; spins++)
        {
            Pause(spins);
            value = Registers.Read64(offset);
            if ((value & mask) == expected)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>One step of waiting for hardware or for another thread.</summary>
    public static void Pause(int spins)
    {
        _ = Injection.Hit(InjectionKind.Wait);
        if (spins < SpinsBeforeYield)
        {
            Thread.SpinWait(8);
        }
        else
        {
            _ = Thread.Yield();
        }
    }
}
