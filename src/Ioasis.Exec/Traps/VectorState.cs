using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;

namespace Ioasis.Exec;

/// <summary>
/// The vector registers of a stopped thread, in the form of XSAVE's standard area: the first 16 bytes of registers 0 to 15 in its legacy part, the
/// rest in the components that CPUID leaf 0xD places (Intel SDM volume 1, 13.4 and 13.5). What a component does not say is zero.
/// </summary>
/// <param name="area">The area; without a header (512 bytes) it has nothing but the legacy part.</param>
internal readonly ref struct VectorState(Span<byte> area)
{
    private const int LegacyStart = 160;
    private const int PresentAt = 512;
    private const int HeaderEnd = 576;
    private const int Sse = 1;
    private const int SecondQuarters = 2;
    private const int UpperHalves = 6;
    private const int UpperRegisters = 7;

    private static readonly (int Start, int Size)[] s_components = FindComponents();

    private readonly Span<byte> _area = area;

    /// <summary>Reads a part of a register.</summary>
    /// <returns>Whether the area has it.</returns>
    public bool TryRead(int register, int offset, Span<byte> destination)
    {
        for (int i = 0; i < destination.Length; i++)
        {
            if (!TryPlace(register, offset + i, out int component, out int at))
            {
                return false;
            }

            destination[i] = IsPresent(component) ? _area[at] : (byte)0;
        }

        return true;
    }

    /// <summary>Writes a part of a register, and clears what is behind it.</summary>
    /// <param name="register">0 to 31.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="clearTo">The byte up to which it is cleared.</param>
    /// <returns>Whether the area has it; what is only cleared need not be there.</returns>
    public bool TryWrite(int register, int offset, ReadOnlySpan<byte> source, int clearTo)
    {
        for (int i = offset; i < Math.Max(offset + source.Length, clearTo); i++)
        {
            byte value = i < offset + source.Length ? source[i - offset] : (byte)0;
            if (!TryPlace(register, i, out int component, out int at))
            {
                if (i < offset + source.Length)
                {
                    return false;
                }

                break;
            }

            if (!IsPresent(component))
            {
                if (value == 0)
                {
                    continue;
                }

                MakePresent(component);
            }

            _area[at] = value;
        }

        return true;
    }

    private bool IsPresent(int component) => _area.Length < HeaderEnd
        || (BinaryPrimitives.ReadUInt64LittleEndian(_area[PresentAt..]) >> component & 1) != 0;

    private void MakePresent(int component)
    {
        (int start, int size) = s_components[component];
        _area.Slice(start, size).Clear();
        Span<byte> present = _area[PresentAt..];
        BinaryPrimitives.WriteUInt64LittleEndian(present, BinaryPrimitives.ReadUInt64LittleEndian(present) | (1ul << component));
    }

    private bool TryPlace(int register, int index, out int component, out int at)
    {
        (component, int within) = (register, index) switch
        {
            ( < 16, < 16) => (Sse, (16 * register) + index),
            ( < 16, < 32) => (SecondQuarters, (16 * register) + index - 16),
            ( < 16, _) => (UpperHalves, (32 * register) + index - 32),
            _ => (UpperRegisters, (64 * (register - 16)) + index),
        };
        (int start, int size) = s_components[component];
        at = start + within;
        return within < size && start + size <= _area.Length;
    }

    private static (int Start, int Size)[] FindComponents()
    {
        (int, int)[] components = new (int, int)[UpperRegisters + 1];
        components[Sse] = (LegacyStart, 256);
        for (int i = SecondQuarters; X86Base.IsSupported && i < components.Length; i++)
        {
            (int size, int start, _, _) = X86Base.CpuId(0xd, i);
            components[i] = (start, size);
        }

        return components;
    }
}
