using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Memory in which commands of a kind turn illegal on their way to the ring, a number of times.</summary>
internal sealed class SpoiledCommands(IPhysicalMemory inner) : MemoryDecorator(inner)
{
    private CommandOpcode? _opcode;
    private int _left;

    public void Spoil(CommandOpcode? opcode, int times) => (_opcode, _left) = (opcode, times);

    public override MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        // The first half of a command; page-table entries and contexts never look like one.
        bool isCommand = (address.Value & 0xf) == 0 && (value & CommandBits.OpcodeMask) is >= 1 and <= 4
            && ((value >> CommandBits.FunctionShift) & 7) <= 1
            && (value & (CommandBits.PscidValidBit | CommandBits.DeviceValidBit | CommandBits.FenceReadsBit)) != 0;
        if (isCommand && _left > 0 && (_opcode is null || (CommandOpcode)(value & CommandBits.OpcodeMask) == _opcode))
        {
            _left--;
            value |= 0x7f;
        }

        return base.Write64(address, value);
    }
}
