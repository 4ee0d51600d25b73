using System.Text.Json;
using System.Text.Json.Serialization;
using Ioasis.Replay.Study;

namespace Ioasis.Cli.Rendering;

/// <summary>Studies as a JSON document (docs/study.md): the model field by field, one study for each recording.</summary>
internal static class StudyJson
{
    /// <summary>Writes the document in UTF-8, and a line end.</summary>
    public static void Write(Stream stream, IReadOnlyList<StudyReport> reports)
    {
        JsonSerializer.Serialize(stream, new StudyDocument(reports), StudyJsonContext.Default.StudyDocument);
        stream.WriteByte((byte)'\n');
    }
}

/// <summary>The document.</summary>
/// <param name="Studies">Studies in the order of the recordings.</param>
internal sealed record StudyDocument(IReadOnlyList<StudyReport> Studies);

/// <summary>Serialisers made at compile time.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true)]
[JsonSerializable(typeof(StudyDocument))]
internal sealed partial class StudyJsonContext : JsonSerializerContext;
