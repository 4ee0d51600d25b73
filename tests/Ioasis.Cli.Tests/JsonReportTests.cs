using System.Text.Json;
using System.Text.Json.Nodes;
using Ioasis.Cli.Rendering;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Tests;

public class JsonReportTests
{
    [Fact]
    public void The_published_schema_is_that_of_the_model()
    {
        string schema = Schema.OfTheModel();
        if (Environment.GetEnvironmentVariable("IOASIS_WRITE_SCHEMA") == "1")
        {
            File.WriteAllText(Schema.FilePath, schema);
        }

        File.ReadAllText(Schema.FilePath).ReplaceLineEndings("\n").ShouldBe(schema.ReplaceLineEndings("\n"),
            "docs/report.schema.json is not up to date: run this test with IOASIS_WRITE_SCHEMA=1, and look at the difference");
    }

    [Fact]
    public void Every_property_of_the_schema_is_described()
    {
        List<string> bare = [];
        Visit(JsonNode.Parse(Schema.OfTheModel())!, "$");
        bare.ShouldBeEmpty();

        void Visit(JsonNode node, string path)
        {
            foreach ((string name, JsonNode? member) in node["properties"] as JsonObject ?? [])
            {
                if (member!["description"] is null && member["$ref"] is null)
                {
                    bare.Add($"{path}.{name}");
                }

                Visit(member, $"{path}.{name}");
            }

            if (node["items"] is { } items)
            {
                Visit(items, path + "[]");
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_document_is_as_the_published_schema_says(bool failing)
    {
        ReplayReport report = failing ? SampleReports.Failing() : SampleReports.Realistic() with { DmaLog = null };
        CliRun run = CliRun.Showing(report, "run", "x", "--json", "-");
        Schema.Differences(JsonNode.Parse(File.ReadAllText(Schema.FilePath))!, JsonNode.Parse(run.Out)).ShouldBeEmpty();
    }

    [Fact]
    public void The_validator_finds_what_a_schema_forbids()
    {
        JsonNode schema = JsonNode.Parse(File.ReadAllText(Schema.FilePath))!;
        JsonNode document = JsonNode.Parse(CliRun.Showing(SampleReports.Failing(), "run", "x", "--json", "-").Out)!;
        document["checks"]!["firstMismatches"]![0]!["iova"] = "fff";
        document["devices"]![0]!["maps"] = "many";
        document["tool"] = null;
        document["more"] = 1;
        document["throughput"]!.AsObject().Remove("events");
        Schema.Differences(schema, document).Count.ShouldBe(5);
    }

    [Fact]
    public void A_document_reads_back_into_the_same_report()
    {
        CliRun run = CliRun.Showing(SampleReports.Realistic(), "run", "x", "--json", "-");
        ReplayReport report = JsonSerializer.Deserialize(run.Out, ReportJsonContext.Default.ReplayReport)!;
        using MemoryStream again = new();
        JsonReport.Write(again, report);
        System.Text.Encoding.UTF8.GetString(again.ToArray()).ShouldBe(run.Out);
        run.Error.Trim().ShouldBe("0 mismatches in 251,892 checks: every check held");
    }

    [Fact]
    public void The_page_and_the_document_go_to_files()
    {
        using TemporaryFolder folder = new();
        CliRun run = CliRun.Showing(SampleReports.Realistic(), "run", "x", "--json", folder.File("r.json"), "--html", folder.File("r.html"));
        run.Status.ShouldBe(0);
        run.Out.ShouldContain("0 mismatches");
        JsonNode.Parse(File.ReadAllText(folder.File("r.json")))!["passed"]!.GetValue<bool>().ShouldBeTrue();
        File.ReadAllText(folder.File("r.html")).ShouldStartWith("<!doctype html>");
        new FileInfo(folder.File("r.html")).Length.ShouldBeLessThan(1_500_000);
    }
}
