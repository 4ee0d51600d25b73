using Ioasis.Conformance;

namespace Ioasis.RiscV.Hardware.Tests.Vectors;

/// <summary>The model against what the official reference model did (docs/conformance.md).</summary>
public sealed class VectorTests
{
    public static TheoryData<string> Files
    {
        get
        {
            TheoryData<string> files = [];
            foreach (string file in Directory.GetFiles(Repository.CommittedVectors, "*.jsonl.gz").Order(StringComparer.Ordinal))
            {
                files.Add(file);
            }

            // With IOASIS_TEST_ALL=1: the whole, where it is present.
            if (Repository.FullVectors is { } folder)
            {
                foreach (string file in Directory.GetFiles(folder, "*.jsonl.gz").Order(StringComparer.Ordinal))
                {
                    files.Add(file);
                }
            }

            return files;
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_recorded_case_passes_in_every_caching_mode(string file)
    {
        ConformanceReport report = ConformanceRunner.Run([file], new() { MaxDifferences = 3 });

        StringWriter text = new();
        report.WriteTo(text);
        report.Failed.ShouldBe(0, text.ToString());
        report.Skipped.ShouldBe(0);
        report.Passed.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void The_committed_part_covers_every_topic()
    {
        string[] topics = [.. Directory.GetFiles(Repository.CommittedVectors).Select(f => Path.GetFileName(f).Split('.')[0]).Order(StringComparer.Ordinal)];
        topics.ShouldBe([
            "ats", "commands", "ddt", "debug", "endian", "faults", "g-stage", "hpm", "msi", "pdt", "pri", "registers", "s-stage", "two-stage"]);
    }
}
