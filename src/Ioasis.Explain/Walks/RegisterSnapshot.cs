using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Ioasis.Intel.Architecture;
using RiscVRegister = Ioasis.RiscV.Architecture.RegisterOffset;

namespace Ioasis.Explain.Walks;

/// <summary>Whose registers a snapshot has.</summary>
internal enum SnapshotKind
{
    /// <summary>The RISC-V IOMMU.</summary>
    RiscV,

    /// <summary>Intel VT-d.</summary>
    Intel,
}

/// <summary>
/// Registers of an IOMMU: as text (a name and a value in each line, as in Linux's <c>iommu_regset</c> or by hand), as a JSON object, or as the bytes of the
/// register block itself.
/// </summary>
internal sealed class RegisterSnapshot
{
    // Names as the specifications write them, without _REG and whatever a kernel puts before them.
    private static readonly (string Name, uint Offset, int Bytes)[] s_riscV =
    [
        ("CAPABILITIES", RiscVRegister.Capabilities, 8), ("FCTL", RiscVRegister.FeaturesControl, 4), ("DDTP", RiscVRegister.DeviceDirectoryTablePointer, 8),
    ];

    private static readonly (string Name, uint Offset, int Bytes)[] s_intel =
    [
        ("CAP", RegisterOffset.Capability, 8), ("ECAP", RegisterOffset.ExtendedCapability, 8), ("GSTS", RegisterOffset.GlobalStatus, 4),
        ("RTADDR", RegisterOffset.RootTableAddress, 8),
    ];

    private readonly Dictionary<string, ulong> _values = new(StringComparer.Ordinal);

    private RegisterSnapshot(SnapshotKind kind) => Kind = kind;

    /// <summary>Whose they are.</summary>
    public SnapshotKind Kind { get; }

    /// <summary>Reads a snapshot.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="kind">Whose registers a block of bytes has; names tell it themselves.</param>
    /// <exception cref="FormatException">It cannot be read, or has not the register that says where the tables are.</exception>
    public static RegisterSnapshot Parse(ReadOnlySpan<byte> bytes, SnapshotKind kind)
    {
        if (bytes.IndexOfAnyInRange((byte)0, (byte)8) >= 0)
        {
            return OfBlock(bytes, kind);
        }

        string text = Encoding.UTF8.GetString(bytes);
        Dictionary<string, ulong> values = text.AsSpan().TrimStart().StartsWith('{') ? OfJson(text) : OfText(text);
        SnapshotKind found = values.ContainsKey("DDTP") ? SnapshotKind.RiscV : values.ContainsKey("RTADDR") ? SnapshotKind.Intel
            : throw new FormatException("neither ddtp (RISC-V) nor RTADDR_REG (VT-d) is among the registers: nothing says where the tables are");
        RegisterSnapshot snapshot = new(found);
        foreach ((string name, ulong value) in values)
        {
            snapshot._values[name] = value;
        }

        return snapshot;
    }

    /// <summary>A register by its name in capitals; null if the snapshot has it not.</summary>
    public ulong? this[string name] => _values.TryGetValue(name, out ulong value) ? value : null;

    private static RegisterSnapshot OfBlock(ReadOnlySpan<byte> bytes, SnapshotKind kind)
    {
        RegisterSnapshot snapshot = new(kind);
        foreach ((string name, uint offset, int size) in kind == SnapshotKind.RiscV ? s_riscV : s_intel)
        {
            if (bytes.Length < offset + size)
            {
                throw new FormatException(FormattableString.Invariant($"has {bytes.Length} bytes, and {name} is at 0x{offset:x}: it is no block of registers"));
            }

            ReadOnlySpan<byte> at = bytes[(int)offset..];
            snapshot._values[name] = size == 8 ? BinaryPrimitives.ReadUInt64LittleEndian(at) : BinaryPrimitives.ReadUInt32LittleEndian(at);
        }

        return snapshot;
    }

    private static Dictionary<string, ulong> OfJson(string text)
    {
        Dictionary<string, ulong> values = new(StringComparer.Ordinal);
        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (property.Value.ValueKind == JsonValueKind.Number && property.Value.TryGetUInt64(out ulong number))
                {
                    values[NameOf(property.Name)] = number;
                }
                else if (property.Value.ValueKind == JsonValueKind.String && TryParse(property.Value.GetString(), out number))
                {
                    values[NameOf(property.Name)] = number;
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new FormatException($"is no JSON object of registers: {e.Message}", e);
        }

        return values;
    }

    // The first word of a line is the name, the last one the value: an offset may stand between.
    private static Dictionary<string, ulong> OfText(string text)
    {
        Dictionary<string, ulong> values = new(StringComparer.Ordinal);
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split([' ', '\t', '\r', '=', ':', ','], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length >= 2 && TryParse(words[^1], out ulong value))
            {
                values.TryAdd(NameOf(words[0]), value);
            }
        }

        return values;
    }

    private static string NameOf(string name)
    {
        string plain = name.ToUpperInvariant();
        plain = plain.StartsWith("DMAR_", StringComparison.Ordinal) ? plain[5..] : plain;
        return plain.EndsWith("_REG", StringComparison.Ordinal) ? plain[..^4] : plain;
    }

    private static bool TryParse(string? text, out ulong value)
    {
        value = 0;
        return text is not null && (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value));
    }
}
