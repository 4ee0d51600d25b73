using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Ioasis.Primitives;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// The JSON document of a replay (docs/report-schema.md): the model field by field. Addresses are strings in
/// hexadecimal with <c>0x</c>, because a JSON number holds 53 bits in many readers.
/// </summary>
internal static class JsonReport
{
    /// <summary>Writes the document in UTF-8, and a line end.</summary>
    public static void Write(Stream stream, ReplayReport report)
    {
        JsonSerializer.Serialize(stream, report, ReportJsonContext.Default.ReplayReport);
        stream.WriteByte((byte)'\n');
    }
}

/// <summary>Serialisers made at compile time: nothing is looked up by reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.Never,
    Converters = [typeof(IovaJsonConverter), typeof(PhysicalAddressJsonConverter), typeof(DeviceIdJsonConverter)])]
[JsonSerializable(typeof(ReplayReport))]
internal sealed partial class ReportJsonContext : JsonSerializerContext;

/// <summary>An address as <c>"0x1000"</c>.</summary>
internal sealed class IovaJsonConverter : JsonConverter<Iova>
{
    /// <inheritdoc/>
    public override Iova Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        new(HexText.Parse(reader.GetString()));

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, Iova value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value.ToString(null, CultureInfo.InvariantCulture));
}

/// <summary>An address as <c>"0x1000"</c>.</summary>
internal sealed class PhysicalAddressJsonConverter : JsonConverter<PhysicalAddress>
{
    /// <inheritdoc/>
    public override PhysicalAddress Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        new(HexText.Parse(reader.GetString()));

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, PhysicalAddress value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value.ToString(null, CultureInfo.InvariantCulture));
}

/// <summary>A requester ID as its number.</summary>
internal sealed class DeviceIdJsonConverter : JsonConverter<DeviceId>
{
    /// <inheritdoc/>
    public override DeviceId Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        new(reader.GetUInt32());

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, DeviceId value, JsonSerializerOptions options) =>
        writer.WriteNumberValue(value.Value);
}

internal static class HexText
{
    /// <summary>Reads <c>0x…</c>.</summary>
    public static ulong Parse(string? text) =>
        text is { Length: > 2 } && text.StartsWith("0x", StringComparison.Ordinal)
        && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value)
            ? value
            : throw new JsonException("expected an address as \"0x1000\"");
}
