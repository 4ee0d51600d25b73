using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Ioasis.Testing;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Ioasis.Campaigns.Tests.Kubernetes;

/// <summary>The manifests in <c>deploy/kubernetes</c> are what Kubernetes' schema allows, and say what campaigns need.</summary>
public sealed class KubernetesTests
{
    private static readonly string s_folder = Path.Combine(ExternalProgram.RepositoryRoot, "deploy", "kubernetes");

    private static readonly JsonElement s_definitions = JsonDocument.Parse(
        File.ReadAllBytes(Path.Combine(ExternalProgram.RepositoryRoot, "tests", "Ioasis.Campaigns.Tests", "Kubernetes", "schema.json"))).RootElement.GetProperty("definitions");

    public static TheoryData<string> Manifests => [.. Directory.GetFiles(s_folder, "*.yaml").Select(static file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Manifests))]
    public void A_manifest_is_valid(string name)
    {
        JsonObject[] documents = [.. Read(File.ReadAllText(Path.Combine(s_folder, name)))];
        documents.ShouldNotBeEmpty();
        documents.SelectMany(Problems).ShouldBeEmpty();
    }

    [Theory]
    [InlineData("completions: 64", "completions: many", "/spec/completions: not a number")]
    [InlineData("completions: 64", "completion: 64", "/spec/completion: unknown")]
    [InlineData("kind: Job", "kind: Jobs", "/kind: Jobs")]
    [InlineData("- name: shard", "- nome: shard", "/spec/template/spec/containers/0: name is missing")]
    [InlineData("drop: [ALL]", "drop: ALL", "/spec/template/spec/containers/0/securityContext/capabilities/drop: not a list")]
    [InlineData("value: \"0\"", "value: 0", "/spec/template/spec/containers/0/env/0/value: not a string")]
    public void A_manifest_that_is_wrong_is_refused(string right, string wrong, string problem)
    {
        string text = File.ReadAllText(Path.Combine(s_folder, "campaign.yaml"));
        text.ShouldContain(right);
        Read(text.Replace(right, wrong, StringComparison.Ordinal)).SelectMany(Problems).ShouldContain(found => found.StartsWith(problem, StringComparison.Ordinal));
    }

    [Fact]
    public void The_job_is_indexed_has_a_pod_for_each_shard_and_writes_to_the_claim_that_is_made()
    {
        JsonObject[] documents = [.. Read(File.ReadAllText(Path.Combine(s_folder, "campaign.yaml")))];
        JsonNode claim = documents.Single(static document => (string?)document["kind"] == "PersistentVolumeClaim");
        JsonNode spec = documents.Single(static document => (string?)document["kind"] == "Job")["spec"]!;
        JsonNode pod = spec["template"]!["spec"]!;
        JsonNode container = pod["containers"]![0]!;
        string[] arguments = [.. container["args"]!.AsArray().Select(static argument => (string)argument!)];
        ((string?)spec["completionMode"]).ShouldBe("Indexed");
        arguments[Array.IndexOf(arguments, "--shards") + 1].ShouldBe(((long)spec["completions"]!).ToString(CultureInfo.InvariantCulture));
        arguments[Array.IndexOf(arguments, "--out") + 1].ShouldBe((string?)container["volumeMounts"]![0]!["mountPath"]);
        ((string?)pod["volumes"]![0]!["persistentVolumeClaim"]!["claimName"]).ShouldBe((string?)claim["metadata"]!["name"]);

        // backoffLimitPerIndex is for pods that are never restarted in place.
        ((string?)pod["restartPolicy"]).ShouldBe("Never");
    }

    private static IEnumerable<string> Problems(JsonObject document) => Check(
        document, s_definitions.GetProperty((string?)document["kind"] == "PersistentVolumeClaim" ? "PersistentVolumeClaim" : "Job"), "");

    // What the schema uses of JSON Schema, and no more: anything else ends the test.
    private static IEnumerable<string> Check(JsonNode? value, JsonElement schema, string path)
    {
        foreach (JsonProperty keyword in schema.EnumerateObject())
        {
            if (keyword.Name is not ("$ref" or "anyOf" or "const" or "type" or "items" or "properties" or "required" or "additionalProperties" or "enum"))
            {
                throw new InvalidOperationException($"The schema uses '{keyword.Name}', which is not checked.");
            }
        }

        if (schema.TryGetProperty("$ref", out JsonElement reference))
        {
            return Check(value, s_definitions.GetProperty(Uri.UnescapeDataString(reference.GetString()!["#/definitions/".Length..])), path);
        }

        if (schema.TryGetProperty("anyOf", out JsonElement choices))
        {
            return choices.EnumerateArray().Any(choice => !Check(value, choice, path).Any()) ? [] : [$"{path}: none of what it may be"];
        }

        JsonValueKind kind = value?.GetValueKind() ?? JsonValueKind.Null;
        if (schema.TryGetProperty("const", out JsonElement constant))
        {
            return kind == JsonValueKind.String && (string?)value == constant.GetString() ? [] : [$"{path}: {value}, not {constant}"];
        }

        if (schema.TryGetProperty("enum", out JsonElement words))
        {
            return words.EnumerateArray().Any(word => word.ToString() == value?.ToString()) ? [] : [$"{path}: {value} is none of {words}"];
        }

        return !schema.TryGetProperty("type", out JsonElement type) ? [] : type.GetString() switch
        {
            "string" => kind == JsonValueKind.String ? [] : [$"{path}: not a string"],
            "number" or "integer" => kind == JsonValueKind.Number ? [] : [$"{path}: not a number"],
            "boolean" => kind is JsonValueKind.True or JsonValueKind.False ? [] : [$"{path}: not true or false"],
            "array" => value is JsonArray list
                ? list.SelectMany((item, i) => Check(item, schema.GetProperty("items"), $"{path}/{i}"))
                : [$"{path}: not a list"],
            "object" => value is JsonObject map ? CheckObject(map, schema, path) : [$"{path}: not an object"],
            string other => throw new InvalidOperationException($"The schema has the type '{other}', which is not checked."),
            null => throw new InvalidOperationException("The schema has a type that is no word."),
        };
    }

    private static IEnumerable<string> CheckObject(JsonObject map, JsonElement schema, string path)
    {
        JsonElement properties = schema.TryGetProperty("properties", out JsonElement found) ? found : default;
        JsonElement others = schema.TryGetProperty("additionalProperties", out JsonElement rest) ? rest : default;
        foreach ((string name, JsonNode? value) in map)
        {
            IEnumerable<string> problems =
                properties.ValueKind == JsonValueKind.Object && properties.TryGetProperty(name, out JsonElement property) ? Check(value, property, $"{path}/{name}")
                : others.ValueKind == JsonValueKind.Object ? Check(value, others, $"{path}/{name}")
                : others.ValueKind == JsonValueKind.False ? [$"{path}/{name}: unknown"]
                : [];
            foreach (string problem in problems)
            {
                yield return problem;
            }
        }

        if (schema.TryGetProperty("required", out JsonElement required))
        {
            foreach (JsonElement name in required.EnumerateArray())
            {
                if (!map.ContainsKey(name.GetString()!))
                {
                    yield return $"{path}: {name} is missing";
                }
            }
        }
    }

    private static IEnumerable<JsonObject> Read(string yaml)
    {
        YamlStream stream = [];
        stream.Load(new StringReader(yaml));
        return stream.Documents.Select(static document => (JsonObject)Convert(document.RootNode)!);
    }

    private static JsonNode? Convert(YamlNode node) => node switch
    {
        YamlMappingNode map => new JsonObject(map.Children.Select(static pair => KeyValuePair.Create(((YamlScalarNode)pair.Key).Value!, Convert(pair.Value)))),
        YamlSequenceNode list => new JsonArray([.. list.Children.Select(Convert)]),
        YamlScalarNode { Style: ScalarStyle.Plain, Value: "true" or "false" } scalar => JsonValue.Create(scalar.Value == "true"),
        YamlScalarNode { Style: ScalarStyle.Plain } scalar when long.TryParse(scalar.Value, CultureInfo.InvariantCulture, out long number) => JsonValue.Create(number),
        YamlScalarNode { Style: ScalarStyle.Plain, Value: "" or "null" or "~" } => null,
        YamlScalarNode scalar => JsonValue.Create(scalar.Value),
        _ => throw new InvalidOperationException($"{node.Start}: neither a map, a list nor a value"),
    };
}
