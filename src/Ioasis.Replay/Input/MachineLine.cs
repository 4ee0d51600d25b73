using System.Globalization;
using System.Text;

namespace Ioasis.Replay.Input;

/// <summary>The words of one line of <see cref="RecordedMachine"/>: some by their place, some as <c>key=value</c> in any order.</summary>
internal ref struct MachineLine(ReadOnlySpan<byte> text)
{
    private readonly string _text = Encoding.UTF8.GetString(text).Trim();
    private int _next;

    /// <summary>The next word; empty at the end.</summary>
    public string Next()
    {
        while (_next < _text.Length && _text[_next] == ' ')
        {
            _next++;
        }

        int start = _next;
        while (_next < _text.Length && _text[_next] != ' ')
        {
            _next++;
        }

        return _text[start.._next];
    }

    /// <summary>All that is left.</summary>
    public readonly string Rest() => _text[_next..].Trim();

    /// <summary>The next word as a decimal number that is not negative.</summary>
    public long? NextNumber() => Number(Next());

    /// <summary>The next word as a decimal number of 31 bits.</summary>
    public int? NextInt() => NextNumber() is { } number and <= int.MaxValue ? (int)number : null;

    /// <summary>The next word as a hexadecimal number with <c>0x</c>.</summary>
    public ulong? NextAddress() => Address(Next());

    /// <summary>The next word as <c>0x…-0x…</c>.</summary>
    public bool TryNextRange(out ulong start, out ulong last)
    {
        string word = Next();
        int dash = word.IndexOf('-', StringComparison.Ordinal);
        (start, last) = (0, 0);
        if (dash < 0 || Address(word.AsSpan(0, dash)) is not { } first || Address(word.AsSpan(dash + 1)) is not { } end || end < first)
        {
            return false;
        }

        (start, last) = (first, end);
        return true;
    }

    /// <summary>Whether a word stands among those that are left.</summary>
    public readonly bool Has(string word)
    {
        MachineLine rest = this;
        for (string next = rest.Next(); next.Length > 0; next = rest.Next())
        {
            if (string.Equals(next, word, StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The value of <c>key=value</c> among the words that are left; null without one or with an empty value.</summary>
    public readonly string? Value(string key)
    {
        MachineLine rest = this;
        for (string next = rest.Next(); next.Length > 0; next = rest.Next())
        {
            if (next.Length > key.Length + 1 && next[key.Length] == '=' && next.StartsWith(key, StringComparison.Ordinal))
            {
                return next[(key.Length + 1)..];
            }
        }

        return null;
    }

    /// <summary>The value of <c>key=number</c>.</summary>
    public readonly long? NumberValue(string key) => Value(key) is { } value ? Number(value) : null;

    /// <summary>The value of <c>key=number</c>, of 31 bits.</summary>
    public readonly int? IntValue(string key) => NumberValue(key) is { } number and <= int.MaxValue ? (int)number : null;

    private static long? Number(ReadOnlySpan<char> word) =>
        long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;

    private static ulong? Address(ReadOnlySpan<char> word) =>
        word.StartsWith("0x", StringComparison.Ordinal)
        && ulong.TryParse(word[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong address)
            ? address
            : null;
}
