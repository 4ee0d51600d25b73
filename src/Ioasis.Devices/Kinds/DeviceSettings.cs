using System.Globalization;

namespace Ioasis.Devices;

/// <summary>What a text says of a device: <c>key=value</c> pairs, read by their types. Numbers may be decimal or <c>0x</c>.</summary>
internal sealed class DeviceSettings
{
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);

    /// <summary>Takes a text apart. Two commas in a row are one that belongs to a value.</summary>
    /// <param name="text">The kind and what follows.</param>
    /// <exception cref="DeviceSettingException">A part has no key.</exception>
    public DeviceSettings(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        bool isFirst = true;
        Kind = string.Empty;
        foreach (string part in Split(text))
        {
            if (isFirst)
            {
                Kind = part;
                isFirst = false;
                continue;
            }

            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            if (key.Length == 0)
            {
                throw new DeviceSettingException($"\"{part}\" has no key: key=value is expected.");
            }

            if (!_values.TryGetValue(key, out List<string>? values))
            {
                _values.Add(key, values = []);
            }

            values.Add(equals < 0 ? "on" : part[(equals + 1)..]);
        }
    }

    /// <summary>The kind.</summary>
    public string Kind { get; }

    /// <summary>The keys that occur.</summary>
    public IReadOnlyCollection<string> Keys => _values.Keys;

    /// <summary>Whether a key occurs.</summary>
    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>All values of a key, in the order of the text.</summary>
    public IReadOnlyList<string> All(string key) => _values.TryGetValue(key, out List<string>? values) ? values : [];

    /// <summary>A text; null if it does not occur.</summary>
    public string? Text(string key) => All(key) is { Count: > 0 } values ? values[^1] : null;

    /// <summary>A number.</summary>
    /// <exception cref="DeviceSettingException">It is none, or not in the range.</exception>
    public long Number(string key, long otherwise, long least = 0, long most = long.MaxValue) =>
        Text(key) is { } text ? ParseNumber(key, text, least, most) : otherwise;

    /// <summary>A number of bytes: with K, M, G or T behind it, powers of 1024.</summary>
    /// <exception cref="DeviceSettingException">It is none, or not in the range.</exception>
    public long Size(string key, long otherwise, long least = 0, long most = long.MaxValue)
    {
        if (Text(key) is not { Length: > 0 } text)
        {
            return Has(key) ? throw Bad(key, string.Empty, "a size is expected") : otherwise;
        }

        int shift = char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => 0 };
        long number = ParseNumber(key, shift == 0 ? text : text[..^1], 0, long.MaxValue >> shift) << shift;
        return number >= least && number <= most ? number : throw Bad(key, text, $"{least} to {most} bytes are possible");
    }

    /// <summary>A switch: on, off, yes, no, true, false, 1, 0; on if there is no value.</summary>
    /// <exception cref="DeviceSettingException">It is none of these.</exception>
    public bool Switch(string key, bool otherwise) => Text(key) switch
    {
        null => otherwise,
        "on" or "yes" or "true" or "1" => true,
        "off" or "no" or "false" or "0" => false,
        { } text => throw Bad(key, text, "on or off is expected"),
    };

    /// <summary>What to throw for a value that is not possible.</summary>
    public static DeviceSettingException Bad(string key, string value, string rule) => new($"{key}={value}: {rule}.");

    /// <summary>Reads a number.</summary>
    /// <exception cref="DeviceSettingException">It is none, or not in the range.</exception>
    public static long ParseNumber(string key, string text, long least, long most)
    {
        ArgumentNullException.ThrowIfNull(text);
        bool isHex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        bool isNumber = isHex
            ? long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long number)
            : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
        return !isNumber ? throw Bad(key, text, "a number is expected")
            : number >= least && number <= most ? number
            : throw Bad(key, text, most == long.MaxValue ? $"{least} is the least" : $"{least} to {most} are possible");
    }

    /// <summary>Reads a time: a number with us, ms or s behind it, at most a day.</summary>
    /// <param name="key">The key.</param>
    /// <param name="time">The time.</param>
    /// <param name="text">The value that it is a part of.</param>
    /// <exception cref="DeviceSettingException">It is none.</exception>
    internal static TimeSpan ParseTime(string key, string time, string text)
    {
        foreach ((string unit, double milliseconds) in new[] { ("us", 0.001), ("ms", 1.0), ("s", 1000.0) })
        {
            if (time.EndsWith(unit, StringComparison.Ordinal)
                && double.TryParse(time.AsSpan(0, time.Length - unit.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
                && number * milliseconds <= 86_400_000)
            {
                return TimeSpan.FromMilliseconds(number * milliseconds);
            }
        }

        throw Bad(key, text, "a time such as 500us, 10ms or 2s is expected, at most a day");
    }

    private static IEnumerable<string> Split(string text)
    {
        System.Text.StringBuilder part = new();
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != ',')
            {
                _ = part.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == ',')
            {
                _ = part.Append(',');
                i++;
            }
            else
            {
                yield return part.ToString();
                _ = part.Clear();
            }
        }

        yield return part.ToString();
    }
}
