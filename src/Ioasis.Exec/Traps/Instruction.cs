using System.Buffers.Binary;

namespace Ioasis.Exec;

/// <summary>What an instruction does with the memory operand that it stopped at.</summary>
internal enum MemoryAction
{
    /// <summary>Copies it into a register, extended or not.</summary>
    Load,

    /// <summary>Stores a register or a constant there.</summary>
    Store,

    /// <summary>Exchanges it with a register.</summary>
    Exchange,

    /// <summary>Combines it with a register or constant; the result goes into a register, back, or only into the flags.</summary>
    Combine,

    /// <summary>Copies it into a vector register.</summary>
    LoadVector,

    /// <summary>Stores a vector register, or a part of it, there.</summary>
    StoreVector,

    /// <summary>Copies from one place of memory to another, perhaps again and again (MOVS).</summary>
    MoveString,

    /// <summary>Stores the accumulator, perhaps again and again (STOS).</summary>
    StoreString,

    /// <summary>Copies it into the accumulator, perhaps again and again (LODS).</summary>
    LoadString,
}

/// <summary>
/// An x86-64 instruction that accesses memory by moves and plain arithmetic, which is how compilers and C libraries access registers of devices:
/// also moves of vectors without a mask, and of strings. The rest is not decoded (Intel SDM volume 2, chapters 2 to 5).
/// </summary>
/// <param name="Length">Bytes of the instruction.</param>
/// <param name="Size">Bytes of the memory operand: 1, 2, 4 or 8; up to 64 of a vector.</param>
/// <param name="Action">What it does.</param>
/// <param name="Operation">For <see cref="MemoryAction.Combine"/>: 0 to 7 as in the encoding (add, or, adc, sbb, and, sub, xor, cmp), 8 for test.</param>
/// <param name="Register">The register operand, or -1 for the constant.</param>
/// <param name="RegisterSize">Bytes of the register that a load fills.</param>
/// <param name="IsHigh">The register is AH, CH, DH or BH.</param>
/// <param name="IsSigned">A load extends the sign.</param>
/// <param name="ToRegister">The result of a combination goes into the register.</param>
/// <param name="Constant">The constant, extended.</param>
internal readonly partial record struct Instruction(
    int Length, int Size, MemoryAction Action, int Operation, int Register, int RegisterSize, bool IsHigh, bool IsSigned, bool ToRegister, ulong Constant)
{
    /// <summary>Decodes an instruction.</summary>
    /// <returns>Whether it is one of those that are known, with a memory operand.</returns>
    public static bool TryDecode(ReadOnlySpan<byte> code, out Instruction instruction)
    {
        instruction = default;
        int at = 0;
        int repeat = 0;
        bool isWord = false;
        bool hasBase = false;
        int rex = 0;
        while (at < code.Length && code[at] is 0x66 or 0xf0 or 0xf2 or 0xf3 or 0x2e or 0x36 or 0x3e or 0x26 or 0x64 or 0x65)
        {
            isWord |= code[at] == 0x66;
            hasBase |= code[at] is 0x64 or 0x65;
            repeat = code[at] is 0xf2 or 0xf3 ? code[at] : repeat;
            at++;
        }

        if (at < code.Length && code[at] is 0xc4 or 0xc5 or 0x62)
        {
            return !isWord && repeat == 0 && TryDecodeExtended(code, at, out instruction);
        }

        if (at < code.Length && (code[at] & 0xf0) == 0x40)
        {
            rex = code[at++];
        }

        if (at >= code.Length)
        {
            return false;
        }

        int wide = (rex & 8) != 0 ? 8 : isWord ? 2 : 4;
        int opcode = code[at++];
        if (opcode is 0xa4 or 0xa5 or 0xaa or 0xab or 0xac or 0xad)
        {
            // A base of its own would count for the source alone.
            instruction = DecodeString(opcode, at, (opcode & 1) == 0 ? 1 : wide, repeat != 0);
            return !hasBase;
        }

        while (opcode is 0x0f or 0x0f38)
        {
            if (at >= code.Length)
            {
                return false;
            }

            opcode = (opcode << 8) | code[at++];
        }

        if (at >= code.Length || (code[at] & 0xc0) == 0xc0)
        {
            return false;
        }

        int field = (code[at] >> 3) & 7;
        int register = field | ((rex & 4) << 1);
        if (!TrySkipOperand(code, ref at))
        {
            return false;
        }

        if (FindVectorMove(opcode, repeat != 0 ? repeat : isWord ? 0x66 : 0, (rex & 8) != 0) is { } move)
        {
            instruction = move.ToInstruction(at, register, 16, clearTo: 16);
            return true;
        }

        // MOVDIRI stores as MOVNTI does.
        opcode = opcode == 0x0f38f9 ? 0x0fc3 : opcode;
        if (repeat != 0 || opcode > 0xffff)
        {
            return false;
        }

        bool isByte = (opcode & 1) == 0;
        int size = isByte ? 1 : wide;
        Instruction found = new(0, size, MemoryAction.Load, 0, register, size, false, false, false, 0);
        int constant = 0;
        switch (opcode)
        {
            case 0x88 or 0x89:
                found = found with { Action = MemoryAction.Store };
                break;
            case 0x8a or 0x8b:
                break;
            case 0xc6 or 0xc7 when field == 0:
                constant = Math.Min(size, 4);
                found = found with { Action = MemoryAction.Store, Register = -1 };
                break;
            case 0x0fc3 when !isWord:
                // MOVNTI.
                found = found with { Action = MemoryAction.Store };
                break;
            case 0x86 or 0x87:
                found = found with { Action = MemoryAction.Exchange };
                break;
            case 0x63:
                found = found with { Size = 4, RegisterSize = wide, IsSigned = true };
                break;
            case 0x0fb6 or 0x0fb7 or 0x0fbe or 0x0fbf:
                found = found with { Size = isByte ? 1 : 2, RegisterSize = wide, IsSigned = opcode >= 0x0fbe };
                break;
            case < 0x40 when (opcode & 7) < 4:
                found = found with { Action = MemoryAction.Combine, Operation = opcode >> 3, ToRegister = (opcode & 2) != 0 };
                break;
            case 0x80 or 0x81 or 0x83:
                constant = opcode == 0x81 ? Math.Min(size, 4) : 1;
                found = found with { Action = MemoryAction.Combine, Operation = field, Register = -1 };
                break;
            case 0x84 or 0x85:
                found = found with { Action = MemoryAction.Combine, Operation = 8 };
                break;
            case 0xf6 or 0xf7 when field <= 1:
                constant = Math.Min(size, 4);
                found = found with { Action = MemoryAction.Combine, Operation = 8, Register = -1 };
                break;
            default:
                return false;
        }

        if (at + constant > code.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> bytes = code[at..];
        found = found with
        {
            Length = at + constant,
            Constant = constant switch
            {
                1 => (ulong)(sbyte)bytes[0],
                2 => (ulong)BinaryPrimitives.ReadInt16LittleEndian(bytes),
                4 => (ulong)BinaryPrimitives.ReadInt32LittleEndian(bytes),
                _ => 0,
            },
        };

        // Without a REX prefix the byte registers 4 to 7 are the high halves of 0 to 3.
        if (found.RegisterSize == 1 && rex == 0 && found.Register is >= 4 and <= 7)
        {
            found = found with { Register = found.Register - 4, IsHigh = true };
        }

        instruction = found;
        return true;
    }

    // ModRM, SIB and displacement: the address itself the processor has told already.
    private static bool TrySkipOperand(ReadOnlySpan<byte> code, ref int at)
    {
        int mode = code[at] >> 6;
        int rm = code[at] & 7;
        at++;
        bool hasNoBase = mode == 0 && rm == 5;
        if (rm == 4)
        {
            if (at >= code.Length)
            {
                return false;
            }

            hasNoBase = mode == 0 && (code[at] & 7) == 5;
            at++;
        }

        at += mode switch
        {
            1 => 1,
            2 => 4,
            _ => hasNoBase ? 4 : 0,
        };
        return at <= code.Length;
    }
}
