using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Ioasis.Campaigns;

/// <summary>How outcomes are written: the same bytes for the same outcome, everywhere.</summary>
internal static class CampaignJson
{
    public static JsonWriterOptions Writing { get; } = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>A unit's file.</summary>
    public static byte[] ToBytes(string name, UnitOutcome outcome)
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer, Writing))
        {
            writer.WriteStartObject();
            writer.WriteString("name", name);
            writer.WriteBoolean("holds", outcome.Findings.Count == 0);
            WriteFigures(writer, outcome.Figures.OrderBy(static figure => figure.Key, StringComparer.Ordinal));
            writer.WriteStartArray("findings");
            foreach (string finding in outcome.Findings)
            {
                writer.WriteStringValue(finding);
            }

            writer.WriteEndArray();
            if (outcome.Document is { } document)
            {
                // Parsed and written again, so that how it was laid out does not matter.
                using JsonDocument parsed = JsonDocument.Parse(document);
                writer.WritePropertyName("document");
                parsed.RootElement.WriteTo(writer);
            }

            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }

    public static void WriteFigures(Utf8JsonWriter writer, IEnumerable<KeyValuePair<string, long>> figures)
    {
        writer.WriteStartObject("figures");
        foreach ((string name, long value) in figures)
        {
            writer.WriteNumber(name, value);
        }

        writer.WriteEndObject();
    }
}
