namespace Ioasis.Exec;

/// <content>Moves of vectors (SSE, AVX, AVX-512 without a mask) and of strings.</content>
internal readonly partial record struct Instruction
{
    private const int OperandSize = 0x66;
    private const int RepeatNotEqual = 0xf2;
    private const int Repeat = 0xf3;

    /// <summary>Where in the vector register the memory operand goes to or comes from: 0, or 8 for its second quarter.</summary>
    public int VectorOffset { get; private init; }

    /// <summary>A load clears the register behind what it loads, up to this byte; 0 if the rest stays.</summary>
    public int ClearTo { get; private init; }

    /// <summary>A string instruction goes on until the counter is 0.</summary>
    public bool IsRepeated { get; private init; }

    private static Instruction DecodeString(int opcode, int length, int size, bool isRepeated) => new(
        length,
        size,
        (opcode & ~1) switch { 0xa4 => MemoryAction.MoveString, 0xaa => MemoryAction.StoreString, _ => MemoryAction.LoadString },
        0, 0, size, false, false, false, 0)
    {
        IsRepeated = isRepeated,
    };

    // VEX and EVEX: prefix, REX bits and opcode map are fields of theirs.
    private static bool TryDecodeExtended(ReadOnlySpan<byte> code, int at, out Instruction instruction)
    {
        instruction = default;
        int kind = code[at];
        int length = kind switch { 0xc5 => 2, 0xc4 => 3, _ => 4 };
        if (at + length + 2 > code.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> prefix = code.Slice(at, length);
        int map = kind == 0xc5 ? 1 : prefix[1] & (kind == 0xc4 ? 0x1f : 0xf);
        int last = prefix[kind == 0x62 ? 2 : length - 1];
        bool isWide = kind != 0xc5 && (last & 0x80) != 0;
        int register = (~prefix[1] >> 4) & 8;
        int vector = (last & 4) != 0 ? 32 : 16;

        // A second source register would be mixed in.
        if ((last & 0x78) != 0x78 || map is not (1 or 2))
        {
            return false;
        }

        if (kind == 0x62)
        {
            // No mask, no broadcast, no second source; the length is in two bits.
            int size = (prefix[3] >> 5) & 3;
            if ((prefix[1] & 8) != 0 || (last & 4) == 0 || (prefix[3] & 0x9f) != 0x08 || size == 3)
            {
                return false;
            }

            vector = 16 << size;
            register |= ~prefix[1] & 0x10;
        }

        at += length;
        int opcode = (map == 1 ? 0x0f00 : 0x0f3800) | code[at++];
        if ((code[at] & 0xc0) == 0xc0)
        {
            return false;
        }

        register |= (code[at] >> 3) & 7;
        int mandatory = (last & 3) switch { 1 => OperandSize, 2 => Repeat, 3 => RepeatNotEqual, _ => 0 };
        if (!TrySkipOperand(code, ref at) || at > code.Length)
        {
            return false;
        }

        // MOVDQU8 and MOVDQU16 are known to EVEX alone.
        bool isOfBytes = kind == 0x62 && mandatory == RepeatNotEqual && opcode is 0x0f6f or 0x0f7f;
        if (FindVectorMove(opcode, isOfBytes ? Repeat : mandatory, isWide) is not { } move || (move.KeepsRest && !move.IsStore))
        {
            return false;
        }

        instruction = move.ToInstruction(at, register, vector, clearTo: 64);
        return true;
    }

    private static VectorMove? FindVectorMove(int opcode, int prefix, bool isWide)
    {
        const int Whole = 0;
        bool isPlain = prefix is 0 or OperandSize;
        int scalar = prefix switch { Repeat => 4, RepeatNotEqual => 8, _ => Whole };
        return opcode switch
        {
            0x0f10 => new(scalar),
            0x0f11 => new(scalar, IsStore: true),
            0x0f12 when isPlain => new(8, KeepsRest: true),
            0x0f13 when isPlain => new(8, IsStore: true),
            0x0f16 when isPlain => new(8, KeepsRest: true, Offset: 8),
            0x0f17 when isPlain => new(8, IsStore: true, Offset: 8),
            0x0f28 when isPlain => new(Whole),
            0x0f29 or 0x0f2b when isPlain => new(Whole, IsStore: true),
            0x0f6e when prefix == OperandSize => new(isWide ? 8 : 4),
            0x0f7e when prefix == OperandSize => new(isWide ? 8 : 4, IsStore: true),
            0x0f7e when prefix == Repeat => new(8),
            0x0fd6 when prefix == OperandSize => new(8, IsStore: true),
            0x0f6f when prefix is OperandSize or Repeat => new(Whole),
            0x0f7f when prefix is OperandSize or Repeat => new(Whole, IsStore: true),
            0x0fe7 when prefix == OperandSize => new(Whole, IsStore: true),
            0x0ff0 when prefix == RepeatNotEqual => new(Whole),
            0x0f382a when prefix == OperandSize => new(Whole),
            _ => null,
        };
    }

    // A move between memory and a vector register; a size of 0 is that of the register.
    private readonly record struct VectorMove(int Size, bool IsStore = false, bool KeepsRest = false, int Offset = 0)
    {
        public Instruction ToInstruction(int length, int register, int vector, int clearTo) => new(
            length,
            Size == 0 ? vector : Size,
            IsStore ? MemoryAction.StoreVector : MemoryAction.LoadVector,
            0, register, 0, false, false, false, 0)
        {
            VectorOffset = Offset,
            ClearTo = KeepsRest ? 0 : clearTo,
        };
    }
}
