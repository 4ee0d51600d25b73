using System.Globalization;
using System.Text.Json;
using Ioasis.Embedded.Sanitizing;

namespace Ioasis.Cli.Exec;

/// <summary>Reports of a sanitizer in the summary of a run.</summary>
internal static class SanitizeJson
{
    /// <summary>Writes the list.</summary>
    public static void Write(Utf8JsonWriter json, IReadOnlyList<DmaReport> reports)
    {
        json.WriteStartArray("mistakes");
        foreach (DmaReport report in reports)
        {
            json.WriteStartObject();
            json.WriteString("mistake", Suppression.NameOf(report.Mistake));
            json.WriteString("text", report.Headline);
            json.WriteNumber("count", report.Count);
            json.WriteNumber("seconds", report.Seconds);
            if (report.Device is { } device)
            {
                json.WriteString("device", device.ToString());
            }

            json.WriteString("access", report.Access.ToString().ToLowerInvariant());
            json.WriteString("iova", Hex(report.Iova));
            json.WriteNumber("length", report.Length);
            json.WriteNumber("distance", report.Distance);
            if (report.Mistake == DmaMistake.StaleTranslation)
            {
                json.WriteString("reached", report.Reached is { } reached ? Hex(reached) : null);
                json.WriteString("current", report.Current is { } current ? Hex(current) : null);
            }

            if (report.Call is { } call)
            {
                Moment(json, "call", call);
            }

            if (report.Mapping is { } mapping)
            {
                json.WriteStartObject("mapping");
                json.WriteString("iova", Hex(mapping.Iova));
                json.WriteNumber("length", mapping.Length);
                json.WriteString("memory", Hex(mapping.Memory));
                json.WriteNumber("process", mapping.Process);
                json.WriteString("access", mapping.Access.ToString().ToLowerInvariant());
                Moment(json, "mapped", mapping.Mapped);
                if (mapping.Unmapped is { } unmapped)
                {
                    Moment(json, "unmapped", unmapped);
                }

                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Moment(Utf8JsonWriter json, string name, ProgramMoment moment)
    {
        json.WriteStartObject(name);
        json.WriteNumber("seconds", moment.Seconds);
        json.WriteNumber("thread", moment.Thread);
        json.WriteStartArray("stack");
        foreach (ProgramFrame frame in moment.Stack)
        {
            json.WriteStartObject();
            json.WriteString("address", Hex(frame.Address));
            json.WriteString("module", frame.Module);
            json.WriteString("offset", Hex(frame.Offset));
            json.WriteString("source", frame.Source);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
