using Ioasis.Embedded;

namespace Ioasis.AbiSuite.Tests;

/// <summary>Every case of the suite on the embedded kernel, note by note against what Linux 7.2 answered.</summary>
public sealed class EmbeddedKernelTests
{
    /// <summary>Cases with the requirement that each shows, on each kind of IOMMU.</summary>
    public static IEnumerable<TheoryDataRow<string, string>> Cases { get; } =
    [
        .. EmbeddedMachine.Cases.SelectMany(static @case => IommuSlot.Kinds.Select(
            iommu => new TheoryDataRow<string, string>(@case.Name, iommu).WithTrait("Requirement", @case.Requirement))),
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_embedded_kernel_answers_as_Linux_does(string name, string iommu)
    {
        AbiCase @case = SuiteRunner.Cases.Single(candidate => string.Equals(candidate.Name, name, StringComparison.Ordinal));
        using EmbeddedMachine machine = new(iommu);
        CaseRecord found = SuiteRunner.Run(@case, machine.Target);
        machine.Platform.Audit.ShouldBe(default);
        found.Notes.ShouldNotBeEmpty();
        List<Difference> differences = [.. Recording.Linux[name].Compare(found)];
        differences.Where(static difference => !KnownDifferences.IsKnown(difference)).Select(static difference => difference.ToString())
            .Concat(KnownDifferences.Missing(name, differences))
            .ShouldBeEmpty();
    }

    [Fact]
    [Trait("Requirement", "S3.9")]
    [Trait("Requirement", "S3.8")]
    public void Linux_was_asked_for_every_argsz_from_0_to_256_and_told_its_ranges()
    {
        foreach (string name in (string[])["info-every-argsz-type1v2", "info-every-argsz-type1"])
        {
            CaseRecord record = Recording.Linux[name];
            for (int argsz = 0; argsz <= 256; argsz++)
            {
                string value = record.Notes.Single(note => string.Equals(note.Label, $"argsz-{argsz}", StringComparison.Ordinal)).Value;
                value.StartsWith(argsz < 16 ? "EINVAL" : "0 ", StringComparison.Ordinal).ShouldBeTrue($"argsz {argsz}: {value}");
            }

            // The last range ends at 2^39 - 1.
            record.Notes.Single(static note => string.Equals(note.Label, "argsz-256", StringComparison.Ordinal)).Value
                .ShouldEndWith("ffffffff7f000000");
        }
    }

    [Fact]
    public void Every_case_is_recorded_under_a_name_of_its_own() =>
        Recording.Linux.Keys.Order(StringComparer.Ordinal)
            .ShouldBe(SuiteRunner.Cases.Select(static @case => @case.Name).Order(StringComparer.Ordinal));

    [Fact]
    public void Every_known_difference_is_of_a_case_that_runs_and_says_why()
    {
        foreach ((string @case, string label, _, string reason) in KnownDifferences.All)
        {
            EmbeddedMachine.Cases.ShouldContain(candidate => candidate.Name == @case);
            reason.ShouldNotBeNullOrWhiteSpace(label);
        }
    }
}
