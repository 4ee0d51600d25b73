using System.Numerics;
using System.Runtime.CompilerServices;

namespace Ioasis.Exec;

/// <summary>The registers of a stopped thread: <c>struct user_regs_struct</c> of x86-64.</summary>
[InlineArray(27)]
internal struct Registers
{
    private const int AccumulatorIndex = 10;
    private const int CountIndex = 11;
    private const int SourceIndex = 13;
    private const int DestinationIndex = 14;
    private const int InstructionPointerIndex = 16;
    private const int FlagsIndex = 18;
    private const int FsBaseIndex = 21;
    private const int GsBaseIndex = 22;
    private const ulong Carry = 1;
    private const ulong Parity = 4;
    private const ulong Adjust = 0x10;
    private const ulong Zero = 0x40;
    private const ulong Sign = 0x80;
    private const ulong Overflow = 0x800;
    private const ulong Direction = 0x400;

    private ulong _first;

    /// <summary>Where the instruction is.</summary>
    public ulong InstructionPointer
    {
        readonly get => this[InstructionPointerIndex];
        set => this[InstructionPointerIndex] = value;
    }

    /// <summary>Where a string instruction reads (RSI).</summary>
    public readonly ulong Source => this[SourceIndex];

    /// <summary>Where a string instruction writes (RDI).</summary>
    public readonly ulong Destination => this[DestinationIndex];

    /// <summary>RAX.</summary>
    public readonly ulong Accumulator => this[AccumulatorIndex];

    // In the order of their numbers in an instruction: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    private static ReadOnlySpan<byte> Indices => [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];

    /// <summary>Where a block goes.</summary>
    public readonly ulong DestinationOf(in BlockStore block) => this[Indices[block.Destination]];

    /// <summary>Where a block comes from.</summary>
    public readonly ulong SourceOf(in BlockStore block) =>
        (ulong)(long)block.Displacement
        + (block.IsRelative ? InstructionPointer + (ulong)block.Length : 0)
        + (block.Base >= 0 ? this[Indices[block.Base]] : 0)
        + (block.Index >= 0 ? this[Indices[block.Index]] << block.Scale : 0)
        + (block.SegmentBase switch { BlockStore.Fs => this[FsBaseIndex], BlockStore.Gs => this[GsBaseIndex], _ => 0 });

    /// <summary>A deferrable write has ended: the zero flag says whether it is to be made again, the other flags of arithmetic are clear.</summary>
    public void SetDeferred(bool again) =>
        this[FlagsIndex] = (this[FlagsIndex] & ~(Carry | Parity | Adjust | Zero | Sign | Overflow)) | (again ? Zero : 0);

    /// <summary>The other operand of an instruction.</summary>
    public readonly ulong Operand(in Instruction instruction)
    {
        ulong value = instruction.Register < 0 ? instruction.Constant
            : this[Indices[instruction.Register]] >> (instruction.IsHigh ? 8 : 0);
        return value & Mask(instruction.Size);
    }

    /// <summary>An instruction's register takes a value that was read from memory.</summary>
    public void Load(in Instruction instruction, ulong value)
    {
        if (instruction.IsSigned)
        {
            int shift = 64 - (8 * instruction.Size);
            value = (ulong)((long)(value << shift) >> shift);
        }

        ref ulong target = ref this[Indices[instruction.Register]];
        target = instruction.RegisterSize switch
        {
            8 => value,
            4 => (uint)value,
            2 => (target & ~0xfffful) | (value & 0xffff),
            _ when instruction.IsHigh => (target & ~0xff00ul) | ((value & 0xff) << 8),
            _ => (target & ~0xfful) | (value & 0xff),
        };
    }

    /// <summary>Combines two values as an instruction does, and sets the flags.</summary>
    /// <returns>The result.</returns>
    public ulong Combine(in Instruction instruction, ulong left, ulong right)
    {
        ulong mask = Mask(instruction.Size);
        ulong sign = 1ul << ((8 * instruction.Size) - 1);
        ulong flags = this[FlagsIndex];
        ulong carried = flags & Carry;
        flags &= ~(Carry | Parity | Adjust | Zero | Sign | Overflow);
        bool subtracts = instruction.Operation is 3 or 5 or 7;
        ulong extra = instruction.Operation is 2 or 3 ? carried : 0;
        ulong result = instruction.Operation switch
        {
            0 or 2 => left + right + extra,
            1 => left | right,
            3 or 5 or 7 => left - right - extra,
            6 => left ^ right,
            _ => left & right,
        } & mask;
        if (subtracts)
        {
            flags |= left < right || (extra != 0 && left == right) ? Carry : 0;
            flags |= ((left ^ right) & (left ^ result) & sign) != 0 ? Overflow : 0;
            flags |= (left ^ right ^ result) & Adjust;
        }
        else if (instruction.Operation is 0 or 2)
        {
            flags |= result < left || (extra != 0 && result == left) ? Carry : 0;
            flags |= (~(left ^ right) & (left ^ result) & sign) != 0 ? Overflow : 0;
            flags |= (left ^ right ^ result) & Adjust;
        }

        flags |= result == 0 ? Zero : 0;
        flags |= (result & sign) != 0 ? Sign : 0;
        flags |= (BitOperations.PopCount(result & 0xff) & 1) == 0 ? Parity : 0;
        this[FlagsIndex] = flags;
        return result;
    }

    /// <summary>A string instruction has made one of its moves.</summary>
    /// <returns>Whether another follows; else the thread goes on behind the instruction.</returns>
    public bool Advance(in Instruction instruction)
    {
        ulong step = (this[FlagsIndex] & Direction) != 0 ? (ulong)-instruction.Size : (ulong)instruction.Size;
        this[SourceIndex] += instruction.Action == MemoryAction.StoreString ? 0 : step;
        this[DestinationIndex] += instruction.Action == MemoryAction.LoadString ? 0 : step;
        if (instruction.IsRepeated && --this[CountIndex] != 0)
        {
            return true;
        }

        this[InstructionPointerIndex] += (ulong)instruction.Length;
        return false;
    }

    private static ulong Mask(int size) => size == 8 ? ulong.MaxValue : (1ul << (8 * size)) - 1;
}
