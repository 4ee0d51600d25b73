using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.Testing;

/// <summary>
/// Stands between a driver and its command queue, and loses commands on the way: in the place of each that is chosen, the
/// hardware finds a fence that orders nothing. So the driver believes that it invalidated, and somebody must notice.
/// </summary>
/// <param name="isLost">Whether a command gets lost; only the first doubleword of it is known.</param>
public sealed class CommandFilter(Func<Command, bool> isLost)
{
    private ulong _queue;
    private ulong _queueBytes;

    /// <summary>All invalidations of translations get lost.</summary>
    public static CommandFilter LosesInvalidations() => new(static command => command.Opcode == CommandOpcode.Iotinval);

    /// <summary>Whether commands get lost at present.</summary>
    public bool IsOn { get; set; } = true;

    /// <summary>How many got lost.</summary>
    public int Lost { get; private set; }

    /// <summary>What the driver shall see of the memory.</summary>
    public IPhysicalMemory Memory(IPhysicalMemory inner) => new FilteredMemory(this, inner);

    /// <summary>What the driver shall see of the registers: they tell where the queue is.</summary>
    public IRegisterWindow Registers(IRegisterWindow inner) => new FilteredRegisters(this, inner);

    private sealed class FilteredRegisters(CommandFilter filter, IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public override void Write64(uint offset, ulong value)
        {
            if (offset == RegisterOffset.CommandQueueBase)
            {
                // Section 5.5: LOG2SZ-1 in bits 4:0, the page number from bit 10.
                filter._queue = (value >> 10) << 12;
                filter._queueBytes = 2ul * QueueBase.CommandSize << (int)(value & 0x1f);
            }

            base.Write64(offset, value);
        }
    }

    private sealed class FilteredMemory(CommandFilter filter, IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        private ulong _lostAt = ulong.MaxValue;

        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            if (address.Value - filter._queue >= filter._queueBytes)
            {
                return base.Write64(address, value);
            }

            bool isSecond = (address.Value & 8) != 0;
            if (!isSecond && filter.IsOn && filter.IsLostNow(value))
            {
                _lostAt = address.Value;
                filter.Lost++;
                value = (ulong)CommandOpcode.Iofence;
            }
            else if (!isSecond)
            {
                _lostAt = ulong.MaxValue;
            }
            else if (address.Value - 8 == _lostAt)
            {
                value = 0;
            }

            return base.Write64(address, value);
        }
    }

    private bool IsLostNow(ulong low) => isLost(new(low, 0));
}
