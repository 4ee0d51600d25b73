using System.Buffers.Binary;

namespace Ioasis.Exec;

/// <summary>
/// MOVDIR64B and ENQCMD (Intel SDM volume 2): 64 bytes of memory go at once to where a register points; ENQCMD's with a PASID, and the device says
/// whether it took them. The processor tells the destination if it stopped there, and nothing if it does not know the instruction; so both operands
/// are found here.
/// </summary>
/// <param name="Length">Bytes of the instruction.</param>
/// <param name="Destination">Register with the destination's address.</param>
/// <param name="Base">Register of the source's address; -1 for none.</param>
/// <param name="Index">Second register, scaled; -1 for none.</param>
/// <param name="Scale">By how much it is shifted.</param>
/// <param name="Displacement">What is added.</param>
/// <param name="IsRelative">The next instruction's address is added.</param>
/// <param name="SegmentBase"><see cref="Fs"/>, <see cref="Gs"/>, or 0.</param>
/// <param name="IsCommand">It is ENQCMD.</param>
internal readonly record struct BlockStore(
    int Length, int Destination, int Base, int Index, int Scale, int Displacement, bool IsRelative, int SegmentBase, bool IsCommand)
{
    /// <summary>Bytes that are stored.</summary>
    public const int Size = 64;

    /// <summary>Prefix of the segment with a base of its own.</summary>
    public const int Fs = 0x64;

    /// <summary>As <see cref="Fs"/>.</summary>
    public const int Gs = 0x65;

    private const int CommandPrefix = 0xf2;

    /// <summary>Decodes an instruction.</summary>
    /// <returns>Whether it is one.</returns>
    public static bool TryDecode(ReadOnlySpan<byte> code, out BlockStore store)
    {
        store = default;
        int at = 0;
        int segment = 0;
        bool hasPrefix = false;
        bool isCommand = false;
        while (at < code.Length && code[at] is 0x66 or CommandPrefix or 0x2e or 0x36 or 0x3e or 0x26 or Fs or Gs)
        {
            isCommand |= code[at] == CommandPrefix;
            hasPrefix |= code[at] is 0x66 or CommandPrefix;
            segment = code[at] is Fs or Gs ? code[at] : segment;
            at++;
        }

        int rex = at < code.Length && (code[at] & 0xf0) == 0x40 ? code[at++] : 0;
        if (!hasPrefix || !code[at..].StartsWith((ReadOnlySpan<byte>)[0x0f, 0x38, 0xf8]) || at + 4 > code.Length || code[at + 3] >= 0xc0)
        {
            return false;
        }

        at += 3;
        int mode = code[at] >> 6;
        int field = ((code[at] >> 3) & 7) | ((rex & 4) << 1);
        int low = code[at++] & 7;
        int first = low | ((rex & 1) << 3);
        int index = -1;
        int scale = 0;
        bool hasNoBase = mode == 0 && low == 5;
        bool isRelative = hasNoBase;
        if (low == 4)
        {
            if (at >= code.Length)
            {
                return false;
            }

            scale = code[at] >> 6;
            index = ((code[at] >> 3) & 7) | ((rex & 2) << 2);
            index = index == 4 ? -1 : index;
            first = (code[at] & 7) | ((rex & 1) << 3);
            hasNoBase = mode == 0 && (code[at] & 7) == 5;
            at++;
        }

        int bytes = mode switch { 1 => 1, 2 => 4, _ => hasNoBase ? 4 : 0 };
        if (at + bytes > code.Length)
        {
            return false;
        }

        int displacement = bytes switch { 1 => (sbyte)code[at], 4 => BinaryPrimitives.ReadInt32LittleEndian(code[at..]), _ => 0 };
        store = new(at + bytes, field, hasNoBase ? -1 : first, index, scale, displacement, isRelative, segment, isCommand);
        return true;
    }
}
