using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using RiscVRegister = Ioasis.RiscV.Architecture.RegisterOffset;
using VtdRegister = Ioasis.Intel.Architecture.RegisterOffset;

namespace Ioasis.Testing;

/// <summary>
/// Stands between a driver and its command queue, and loses commands on the way: in the place of each that is chosen, the
/// hardware finds one that does nothing. So the driver believes that it invalidated, and somebody must notice.
/// </summary>
public sealed class CommandFilter
{
    private readonly Shape _shape;
    private AddressRange? _queue;

    private CommandFilter(Shape shape) => _shape = shape;

    /// <summary>All invalidations of translations get lost, on RISC-V.</summary>
    public static CommandFilter LosesInvalidations() => new(new(
        RiscVRegister.CommandQueueBase,

        // Section 5.5: LOG2SZ-1 in bits 4:0, the page number from bit 10.
        static register => ((register >> 10) << 12, 2ul * QueueBase.CommandSize << (int)(register & 0x1f)),
        static low => new Command(low, 0).Opcode == CommandOpcode.Iotinval,
        (ulong)CommandOpcode.Iofence));

    /// <summary>All invalidations of translations get lost, on VT-d.</summary>
    public static CommandFilter LosesVtdInvalidations() => new(new(
        VtdRegister.InvalidationQueueAddress,

        // Section 11.4.9.3: 2^QS pages, whatever the width of descriptors.
        static register => (register & ~0xffful, 4096ul << (int)(register & InvalidationQueue.SizeMask)),
        static low => Descriptor.Type(low) is DescriptorType.Iotlb or DescriptorType.PasidIotlb,
        (ulong)DescriptorType.Wait | Descriptor.WaitFenceBit));

    /// <summary>Whether commands get lost at present.</summary>
    public bool IsOn { get; set; } = true;

    /// <summary>How many got lost.</summary>
    public int Lost { get; private set; }

    /// <summary>What the driver shall see of the memory.</summary>
    public IPhysicalMemory Memory(IPhysicalMemory inner) => new FilteredMemory(this, inner);

    /// <summary>What the driver shall see of the registers: they tell where the queue is.</summary>
    public IRegisterWindow Registers(IRegisterWindow inner) => new FilteredRegisters(this, inner);

    /// <summary>A kind of queue, with commands of two doublewords.</summary>
    /// <param name="Register">The register that says where it is.</param>
    /// <param name="Locate">Its address and bytes, by that register.</param>
    /// <param name="IsLost">Whether a command gets lost, by its first doubleword.</param>
    /// <param name="Nothing">The first doubleword of a command that does nothing; the second is 0.</param>
    private sealed record Shape(uint Register, Func<ulong, (ulong Start, ulong Bytes)> Locate, Func<ulong, bool> IsLost, ulong Nothing);

    private sealed class FilteredRegisters(CommandFilter filter, IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public override void Write64(uint offset, ulong value)
        {
            if (offset == filter._shape.Register)
            {
                (ulong start, ulong bytes) = filter._shape.Locate(value);
                filter._queue = new(start, start + bytes - 1);
            }

            base.Write64(offset, value);
        }
    }

    private sealed class FilteredMemory(CommandFilter filter, IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        private ulong _lostAt = ulong.MaxValue;

        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            if (filter._queue?.Contains(address.Value) != true)
            {
                return base.Write64(address, value);
            }

            bool isSecond = (address.Value & 8) != 0;
            if (!isSecond && filter.IsOn && filter._shape.IsLost(value))
            {
                _lostAt = address.Value;
                filter.Lost++;
                value = filter._shape.Nothing;
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
}
