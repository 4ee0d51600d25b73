using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The registers of one IOMMU, and its global command register (section 11.4.4.1): one thing is changed at a time, and the status tells
/// when it is done.
/// </summary>
internal sealed class UnitAccess(VtdDriverOptions options, IRegisterWindow registers)
    : RegisterAccess(registers, options.TimeProvider, options.CommandTimeout, options.AtsTimeout)
{
    private readonly IoLock _lock = new();

    /// <summary>Sets or clears a bit that stays, or sets one that is a command.</summary>
    /// <returns>Whether the hardware has done it in time.</returns>
    public bool Command(uint bit, bool on)
    {
        using (_lock.Acquire())
        {
            uint status = Registers.Read32(RegisterOffset.GlobalStatus);
            uint command = status & ~GlobalControl.OneShotMask;
            Registers.Write32(RegisterOffset.GlobalCommand, on ? command | bit : command & ~bit);

            // The status of a write-buffer flush is 1 while it runs, all others say what is.
            bool wanted = on && bit != GlobalControl.WriteBufferFlushBit;
            return WaitFor32(RegisterOffset.GlobalStatus, bit, wanted ? bit : 0, out _);
        }
    }

    /// <summary>Whether a bit of the status is set.</summary>
    public bool Has(uint bit) => (Registers.Read32(RegisterOffset.GlobalStatus) & bit) != 0;
}
