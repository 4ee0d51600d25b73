using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Replay.Input;

/// <summary>Reads numbers and words from one line of bytes, left to right. Nothing is allocated; a failure moves nothing.</summary>
internal ref struct TextCursor(ReadOnlySpan<byte> text)
{
    // Of the largest number, and characters of a vector.
    private const int MaxHexDigits = 16;

    private ReadOnlySpan<byte> _rest = text;

    /// <summary>What is still unread.</summary>
    public readonly ReadOnlySpan<byte> Rest => _rest;

    /// <summary>Skips spaces and tabs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SkipSpaces()
    {
        int i = 0;
        while (i < _rest.Length && (_rest[i] == (byte)' ' || _rest[i] == (byte)'\t'))
        {
            i++;
        }

        _rest = _rest[i..];
    }

    /// <summary>Skips a literal.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Skip(scoped ReadOnlySpan<byte> literal)
    {
        if (!_rest.StartsWith(literal))
        {
            return false;
        }

        _rest = _rest[literal.Length..];
        return true;
    }

    /// <summary>Skips to just behind the next occurrence of a literal.</summary>
    public bool SkipPast(scoped ReadOnlySpan<byte> literal)
    {
        // The fields of an event come in a fixed order: what is looked for mostly stands right here.
        if (_rest.StartsWith(literal))
        {
            _rest = _rest[literal.Length..];
            return true;
        }

        int i = _rest.IndexOf(literal);
        if (i < 0)
        {
            return false;
        }

        _rest = _rest[(i + literal.Length)..];
        return true;
    }

    /// <summary>Reads hexadecimal digits, at most 16 significant ones, with or without <c>0x</c>.</summary>
    public bool TryHex(out ulong value)
    {
        ReadOnlySpan<byte> digits = _rest;
        if (digits.Length >= 2 && digits[0] == (byte)'0' && digits[1] == (byte)'x')
        {
            digits = digits[2..];
        }

        int count = digits.Length >= MaxHexDigits ? Hex16(digits, out value) : HexUpTo15(digits, out value);
        if (count == MaxHexDigits && digits.Length > count && HexDigit(digits[count]) <= 15)
        {
            return TryLongHex(digits, out value);
        }

        _rest = count == 0 ? _rest : digits[count..];
        return count != 0;
    }

    // How many of 16 characters are digits, counted from the first, and their value.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Hex16(ReadOnlySpan<byte> text, out ulong value)
    {
        Vector128<byte> characters = Vector128.Create(text);
        Vector128<byte> decimals = characters - Vector128.Create((byte)'0');
        Vector128<byte> letters = (characters | Vector128.Create((byte)0x20)) - Vector128.Create((byte)'a');
        Vector128<byte> isDecimal = Vector128.LessThan(decimals, Vector128.Create((byte)10));
        Vector128<byte> isLetter = Vector128.LessThan(letters, Vector128.Create((byte)6));
        int count = BitOperations.TrailingZeroCount(~(isDecimal | isLetter).ExtractMostSignificantBits());
        Vector128<ulong> nibbles = Vector128.ConditionalSelect(isDecimal, decimals, letters + Vector128.Create((byte)10)).AsUInt64();
        ulong all = ((ulong)Pack(nibbles[0]) << 32) | Pack(nibbles[1]);
        value = count == 0 ? 0 : all >> (64 - (4 * count));
        return count;

        // Eight numbers of four bits, the first in the lowest byte: the number that they are the digits of.
        static uint Pack(ulong digits)
        {
            ulong packed = BinaryPrimitives.ReverseEndianness(digits & 0x0f0f_0f0f_0f0f_0f0f);
            packed = (packed | (packed >> 4)) & 0x00ff_00ff_00ff_00ff;
            packed = (packed | (packed >> 8)) & 0x0000_ffff_0000_ffff;
            return (uint)(packed | (packed >> 16));
        }
    }

    private static int HexUpTo15(ReadOnlySpan<byte> digits, out ulong value)
    {
        value = 0;
        int i = 0;
        while (i < digits.Length && HexDigit(digits[i]) is var digit and <= 15)
        {
            value = (value << 4) | digit;
            i++;
        }

        return i;
    }

    private bool TryLongHex(ReadOnlySpan<byte> digits, out ulong value)
    {
        value = 0;
        int i = 0;
        for (; i < digits.Length && HexDigit(digits[i]) is var digit and <= 15; i++)
        {
            if (value >> 60 != 0)
            {
                return false;
            }

            value = (value << 4) | digit;
        }

        _rest = digits[i..];
        return true;
    }

    /// <summary>Reads decimal digits of a number up to 2^63-1.</summary>
    public bool TryDecimal(out ulong value)
    {
        // So many digits always fit.
        const int plain = 18;
        value = 0;
        int i = 0;
        int most = Math.Min(_rest.Length, plain);
        while (i < most && (uint)(_rest[i] - '0') is var digit and <= 9)
        {
            value = (value * 10) + digit;
            i++;
        }

        for (; i >= plain && i < _rest.Length && (uint)(_rest[i] - '0') is var digit and <= 9; i++)
        {
            if (value > (long.MaxValue - 9ul) / 10)
            {
                return false;
            }

            value = (value * 10) + digit;
        }

        _rest = _rest[i..];
        return i != 0;
    }

    /// <summary>Reads <c>seconds.fraction</c> with 1 to 9 digits after the point.</summary>
    /// <param name="nanoseconds">The time in nanoseconds.</param>
    public bool TrySeconds(out long nanoseconds)
    {
        nanoseconds = 0;
        TextCursor ahead = this;
        if (!ahead.TryDecimal(out ulong seconds) || seconds > 9_000_000_000 || !ahead.Skip("."u8)
            || !ahead.TryFraction(out long fraction))
        {
            return false;
        }

        nanoseconds = ((long)seconds * 1_000_000_000) + fraction;
        this = ahead;
        return true;
    }

    /// <summary>Reads the digits behind a decimal point, 1 to 9 of them, as nanoseconds.</summary>
    public bool TryFraction(out long nanoseconds)
    {
        nanoseconds = 0;
        int i = 0;
        while (i < _rest.Length && i <= 9)
        {
            uint digit = (uint)(_rest[i] - '0');
            if (digit > 9)
            {
                break;
            }

            nanoseconds = (nanoseconds * 10) + digit;
            i++;
        }

        if (i is 0 or > 9)
        {
            return false;
        }

        _rest = _rest[i..];
        for (; i < 9; i++)
        {
            nanoseconds *= 10;
        }

        return true;
    }

    /// <summary>Reads up to the next space or tab, or to the end.</summary>
    public ReadOnlySpan<byte> Word()
    {
        int i = _rest.IndexOfAny((byte)' ', (byte)'\t');
        ReadOnlySpan<byte> word = i < 0 ? _rest : _rest[..i];
        _rest = _rest[word.Length..];
        return word;
    }

    /// <summary>Reads up to <paramref name="end"/>, which is skipped.</summary>
    public bool TryUntil(byte end, out ReadOnlySpan<byte> word)
    {
        int i = _rest.IndexOf(end);
        if (i < 0)
        {
            word = default;
            return false;
        }

        word = _rest[..i];
        _rest = _rest[(i + 1)..];
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint HexDigit(byte c)
    {
        uint digit = (uint)(c - '0');
        if (digit <= 9)
        {
            return digit;
        }

        digit = (uint)((c | 0x20) - 'a');
        return digit <= 5 ? digit + 10 : uint.MaxValue;
    }
}
