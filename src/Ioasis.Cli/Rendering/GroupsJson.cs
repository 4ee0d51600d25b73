using System.Text.Json;
using System.Text.Json.Serialization;
using Ioasis.Cli.Groups;

namespace Ioasis.Cli.Rendering;

/// <summary>Groups as a JSON document, with addresses as the other documents have them.</summary>
internal static class GroupsJson
{
    /// <summary>Writes the document in UTF-8, and a line end.</summary>
    public static void Write(Stream stream, GroupsReport report)
    {
        JsonSerializer.Serialize(stream, report, GroupsJsonContext.Default.GroupsReport);
        stream.WriteByte((byte)'\n');
    }
}

/// <summary>Serialisers made at compile time.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.Never,
    Converters = [typeof(IovaJsonConverter)])]
[JsonSerializable(typeof(GroupsReport))]
internal sealed partial class GroupsJsonContext : JsonSerializerContext;
