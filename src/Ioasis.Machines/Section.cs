using System.Globalization;
using Ioasis.Primitives;
using YamlDotNet.RepresentationModel;

namespace Ioasis.Machines;

/// <summary>A mapping of the file, each key of which is asked for once.</summary>
internal sealed class Section(string file, YamlMappingNode node)
{
    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);

    /// <summary>Its line, from 1.</summary>
    public long Line => node.Start.Line;

    public MachineFileException Wrong(string what) => WrongAt(node, what);

    public string? TryText(string key) => Find(key) switch
    {
        null => null,
        YamlScalarNode { Value: { } text } => text,
        var other => throw WrongAt(other, $"'{key}' must be a word"),
    };

    public T? TryChoice<T>(string key, Dictionary<string, T> choices)
        where T : struct => TryText(key) is not { } text ? null : Choose(key, text, choices);

    public T? TryChoice<T>(string key, Dictionary<string, T> choices, T? none = null)
        where T : class => TryText(key) is not { } text ? none : Choose(key, text, choices);

    public T? TryChoice<T>(string key, Dictionary<string, T?> choices)
        where T : struct => TryText(key) is not { } text ? null : Choose(key, text, choices);

    public int? TryNumber(string key, int max) =>
        TryText(key) is not { } text ? null
        : TryParse(text, out ulong value) && value <= (ulong)max ? (int)value
        : throw WrongAt(Find(key)!, $"'{key}' must be a number up to {max}");

    public bool? TryFlag(string key) => TryText(key) switch
    {
        null => null,
        "true" or "yes" or "on" => true,
        "false" or "no" or "off" => false,
        _ => throw WrongAt(Find(key)!, $"'{key}' must be true or false"),
    };

    public DeviceId DeviceId(string key) =>
        TryText(key) is { } text && Primitives.DeviceId.TryParse(text, out DeviceId id)
            ? id
            : throw Wrong($"needs '{key}', a PCI address as 00:1f.0, 0000:00:1f.0 or 10000:01:00.0");

    public AddressRange? TryRange(string key)
    {
        if (TryText(key) is not { } text)
        {
            return null;
        }

        string[] ends = text.Split('-', StringSplitOptions.TrimEntries);
        return ends.Length == 2 && TryParse(ends[0], out ulong start) && TryParse(ends[1], out ulong last) && start <= last
            ? new(start, last)
            : throw WrongAt(Find(key)!, $"'{key}' must be a range, as 0x1000-0x1fff");
    }

    public Section? TrySection(string key) => Find(key) switch
    {
        null => null,
        YamlMappingNode inner => new(file, inner),
        var other => throw WrongAt(other, $"'{key}' must be a mapping"),
    };

    public IEnumerable<Section> List(string key, bool isOptional = false) => Find(key) switch
    {
        null when isOptional => [],
        YamlSequenceNode list => list.Select(item =>
            item is YamlMappingNode inner ? new Section(file, inner) : throw WrongAt(item, $"an item of '{key}' must be a mapping")),
        var other => throw WrongAt(other ?? node, $"'{key}' must be a list"),
    };

    public void RefuseOthers()
    {
        foreach (YamlNode key in node.Children.Keys)
        {
            if (key is not YamlScalarNode { Value: { } name } || !_asked.Contains(name))
            {
                throw WrongAt(key, $"'{key}' is not known here ({string.Join(", ", _asked.Order(StringComparer.Ordinal))})");
            }
        }
    }

    private static bool TryParse(string text, out ulong value)
    {
        text = text.Replace("_", "", StringComparison.Ordinal);
        return text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }

    private T Choose<T>(string key, string text, Dictionary<string, T> choices) =>
        choices.TryGetValue(text, out T? value)
            ? value
            : throw WrongAt(Find(key)!, $"'{key}' must be one of {string.Join(", ", choices.Keys)}");

    /// <summary>A file that is wrong in a key's value.</summary>
    public MachineFileException WrongValue(string key, string what) => WrongAt(Find(key)!, what);

    private YamlNode? Find(string key)
    {
        _asked.Add(key);
        return node.Children.TryGetValue(new YamlScalarNode(key), out YamlNode? found) ? found : null;
    }

    private MachineFileException WrongAt(YamlNode at, string what) => new($"{file}:{at.Start.Line}: {what}");
}
