using System.Globalization;
using System.Text;

namespace Ioasis.Replay.TraceDat;

/// <summary>One field of a record.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Offset">Where it is.</param>
/// <param name="Size">How many bytes.</param>
/// <param name="Location">Whether it is a place and a length of what stands elsewhere: 0 no, 1 from the record's start, 2 from the field's end.</param>
internal sealed record EventField(string Name, int Offset, int Size, int Location);

/// <summary>The layout of an event's records, as the kernel's <c>format</c> file has it.</summary>
internal sealed class EventFormat
{
    private readonly Dictionary<string, EventField> _fields = new(StringComparer.Ordinal);

    private EventFormat(string system, string name, int id)
    {
        System = system;
        Name = Encoding.ASCII.GetBytes(name);
        Id = id;
    }

    /// <summary>The group, <c>iommu</c>.</summary>
    public string System { get; }

    /// <summary>The name, <c>map</c>.</summary>
    public byte[] Name { get; }

    /// <summary>The number that records begin with.</summary>
    public int Id { get; }

    /// <summary>The names of all fields.</summary>
    public IEnumerable<string> Fields => _fields.Keys;

    /// <summary>The first field that there is of some names, or null.</summary>
    public EventField? Find(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            if (_fields.TryGetValue(name, out EventField? field))
            {
                return field;
            }
        }

        return null;
    }

    /// <summary>Reads a format; null if it is none.</summary>
    public static EventFormat? Parse(string system, string text)
    {
        string? name = null;
        int id = -1;
        EventFormat? format = null;
        foreach (string raw in text.Split('\n'))
        {
            string line = raw.Trim();
            if (line.StartsWith("name:", StringComparison.Ordinal))
            {
                name = line[5..].Trim();
            }
            else if (line.StartsWith("ID:", StringComparison.Ordinal))
            {
                _ = int.TryParse(line.AsSpan(3), NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out id);
            }
            else if (line.StartsWith("print fmt:", StringComparison.Ordinal))
            {
                break;
            }
            else if (line.StartsWith("field:", StringComparison.Ordinal) && name is not null && id >= 0)
            {
                format ??= new(system, name, id);
                format.Add(line);
            }
        }

        return format;
    }

    // field:__data_loc char[] device;	offset:8;	size:4;	signed:0;
    private void Add(string line)
    {
        string[] parts = line.Split(';', StringSplitOptions.TrimEntries);
        string declaration = parts[0]["field:".Length..];
        int offset = Number(parts, "offset:");
        int size = Number(parts, "size:");
        string name = declaration[(declaration.LastIndexOf(' ') + 1)..];
        int array = name.IndexOf('[', StringComparison.Ordinal);
        name = array > 0 ? name[..array] : name;
        int location = declaration.StartsWith("__data_loc", StringComparison.Ordinal) ? 1
            : declaration.StartsWith("__rel_loc", StringComparison.Ordinal) ? 2 : 0;
        if (offset >= 0 && size >= 0)
        {
            _fields[name] = new(name, offset, size, location);
        }
    }

    private static int Number(string[] parts, string key)
    {
        foreach (string part in parts)
        {
            if (part.StartsWith(key, StringComparison.Ordinal)
                && int.TryParse(part.AsSpan(key.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            {
                return number;
            }
        }

        return -1;
    }
}
