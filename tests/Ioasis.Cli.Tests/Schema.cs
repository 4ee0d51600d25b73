using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Ioasis.Cli.Rendering;
using Ioasis.Primitives;
using Ioasis.Replay.Report;
using Ioasis.Testing;

namespace Ioasis.Cli.Tests;

/// <summary>Makes the JSON Schema of the report from the model and its documentation comments, and checks documents against a schema.</summary>
internal static class Schema
{
    public static string FilePath { get; } = Path.Combine(ExternalProgram.RepositoryRoot, "docs", "report.schema.json");

    public static string OfTheModel()
    {
        Dictionary<string, string> comments = Comments();
        JsonNode schema = ReportJsonContext.Default.Options.GetJsonSchemaAsNode(typeof(ReplayReport), new()
        {
            TreatNullObliviousAsNonNullable = true,
            TransformSchemaNode = (context, node) => Transform(context, node, comments),
        });
        JsonObject root = schema.AsObject();
        JsonObject ordered = new()
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
            ["title"] = "Ioasis replay report",
        };
        foreach ((string key, JsonNode? value) in root.ToArray())
        {
            root.Remove(key);
            ordered[key] = value;
        }

        return ordered.ToJsonString(new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }) + "\n";
    }

    /// <summary>What in the document is not as the schema says; empty when all is.</summary>
    public static List<string> Differences(JsonNode schema, JsonNode? document)
    {
        List<string> differences = [];
        Check(schema, schema, document, "$", differences);
        return differences;
    }

    private static JsonObject Transform(JsonSchemaExporterContext context, JsonNode node, Dictionary<string, string> comments)
    {
        Type type = context.TypeInfo.Type;
        JsonObject result = type == typeof(Iova) || type == typeof(PhysicalAddress)
            ? new() { ["type"] = "string", ["pattern"] = "^0x[0-9a-f]{1,16}$" }
            : type == typeof(DeviceId) ? new() { ["type"] = "integer", ["minimum"] = 0, ["maximum"] = DeviceId.MaxValue }
            : node as JsonObject ?? [];
        if (result["properties"] is JsonObject properties)
        {
            result["required"] = new JsonArray([.. properties.Select(p => (JsonNode)p.Key)]);
            result["additionalProperties"] = false;
        }

        string? key = context.PropertyInfo is { } property
            ? $"P:{property.DeclaringType.FullName}.{char.ToUpperInvariant(property.Name[0])}{property.Name[1..]}"
            : context.Path.IsEmpty ? $"T:{type.FullName}" : null;
        if (key is not null && comments.TryGetValue(key, out string? comment) && !result.ContainsKey("$ref"))
        {
            result.Insert(0, "description", comment);
        }

        return result;
    }

    private static void Check(JsonNode root, JsonNode schema, JsonNode? value, string path, List<string> differences)
    {
        if (schema is JsonValue boolean)
        {
            if (!boolean.GetValue<bool>())
            {
                differences.Add($"{path}: nothing may be here");
            }

            return;
        }

        if (schema["$ref"] is { } reference)
        {
            Check(root, Resolve(root, reference.GetValue<string>()), value, path, differences);
            return;
        }

        string kind = value?.GetValueKind() switch
        {
            null or JsonValueKind.Null => "null",
            JsonValueKind.String => "string",
            JsonValueKind.Number => value.AsValue().TryGetValue(out long _) || value.AsValue().TryGetValue(out ulong _) ? "integer" : "number",
            JsonValueKind.True or JsonValueKind.False => "boolean",
            JsonValueKind.Array => "array",
            _ => "object",
        };
        string[] allowed = schema["type"] switch
        {
            JsonArray types => [.. types.Select(t => t!.GetValue<string>())],
            JsonValue type => [type.GetValue<string>()],
            _ => [kind],
        };
        if (!allowed.Contains(kind) && !(kind == "integer" && allowed.Contains("number")))
        {
            differences.Add($"{path}: {kind} where {string.Join(" or ", allowed)} belongs");
            return;
        }

        switch (value)
        {
            case JsonObject o:
                foreach (JsonNode? name in schema["required"]?.AsArray() ?? [])
                {
                    if (!o.ContainsKey(name!.GetValue<string>()))
                    {
                        differences.Add($"{path}: {name} is missing");
                    }
                }

                foreach ((string name, JsonNode? member) in o)
                {
                    if (schema["properties"]?[name] is { } memberSchema)
                    {
                        Check(root, memberSchema, member, $"{path}.{name}", differences);
                    }
                    else
                    {
                        differences.Add($"{path}: {name} is not in the schema");
                    }
                }

                break;
            case JsonArray a when schema["items"] is { } items:
                for (int i = 0; i < a.Count; i++)
                {
                    Check(root, items, a[i], $"{path}[{i}]", differences);
                }

                break;
            case JsonValue text when kind == "string" && schema["pattern"] is { } pattern:
                if (!Regex.IsMatch(text.GetValue<string>(), pattern.GetValue<string>()))
                {
                    differences.Add($"{path}: '{text}' is not {pattern}");
                }

                break;
        }
    }

    private static JsonNode Resolve(JsonNode root, string pointer) => pointer.TrimStart('#').Split('/', StringSplitOptions.RemoveEmptyEntries)
        .Aggregate(root, (node, part) => (node is JsonArray array ? array[int.Parse(part)] : node[part.Replace("~1", "/").Replace("~0", "~")])!);

    private static Dictionary<string, string> Comments()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "Ioasis.Replay.xml");
        Dictionary<string, string> comments = [];
        foreach (XElement member in XDocument.Load(path).Descendants("member"))
        {
            string name = member.Attribute("name")!.Value;
            if (member.Element("summary") is { } summary)
            {
                comments[name] = Text(summary);
            }

            // The parameters of a positional record are its properties.
            foreach (XElement parameter in member.Elements("param"))
            {
                comments[$"P:{name[2..]}.{parameter.Attribute("name")!.Value}"] = Text(parameter);
            }
        }

        return comments;

        static string Text(XElement element)
        {
            XElement copy = new(element);
            foreach (XElement reference in copy.Descendants("see").Concat(copy.Descendants("paramref")).ToArray())
            {
                string target = (reference.Attribute("cref") ?? reference.Attribute("name"))?.Value ?? "";
                string last = target.Split('(')[0].Split('.')[^1];
                reference.ReplaceWith(char.ToLowerInvariant(last[0]) + last[1..]);
            }

            return Regex.Replace(copy.Value, @"\s+", " ").Trim();
        }
    }
}
