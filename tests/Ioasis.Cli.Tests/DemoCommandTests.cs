using Ioasis.Cli.Commands;
using Ioasis.Testing;

namespace Ioasis.Cli.Tests;

/// <summary><c>ioasis demo sva</c>.</summary>
[Trait("Requirement", "S2.1")]
[Trait("Requirement", "S2.11")]
[Trait("Requirement", "S1.14")]
public class DemoCommandTests
{
    [Theory]
    [InlineData("riscv", "1")]
    [InlineData("riscv", "2")]
    [InlineData("riscv", "12345")]
    [InlineData("vtd", "1")]
    [InlineData("vtd", "2")]
    [InlineData("vtd,caching-mode", "12345")]
    public void The_story_holds_whatever_the_seed_and_the_IOMMU(string iommu, string seed)
    {
        CliRun run = CliRun.Of("demo", "sva", "--quick", "--seed", seed, "--iommu", iommu);
        run.Status.ShouldBe(0, run.Out);
        run.Out.ShouldNotContain("FAIL");
        run.Out.ShouldContain("the monitor refuses, for the quota of guest blue is used up (NoSpace)");
        run.Out.ShouldContain("jobs were dropped without a completion record");
        run.Out.ShouldContain("now, after stop and drain, the PASID is free");
        run.Out.ShouldContain("checks hold.");
        run.Error.ShouldBeEmpty();
    }

    [Theory]
    [InlineData("vtd,legacy", "PASIDs")]
    [InlineData("vtd,pasid=off", "PASIDs")]
    [InlineData("vtd,pri=off", "page requests")]
    [InlineData("vtd,ats=off", "page requests")]
    [InlineData("riscv,pasid=off", "PASIDs")]
    [InlineData("riscv,ats=off", "page requests")]
    public void An_IOMMU_that_cannot_share_addresses_is_refused(string iommu, string missing)
    {
        CliRun run = CliRun.Of("demo", "sva", "--quick", "--iommu", iommu);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain($"this IOMMU has no {missing}");
        run.Out.ShouldBeEmpty();
    }

    [Fact]
    public void The_same_seed_tells_the_same_story() =>
        CliRun.Of("demo", "sva", "--quick", "--seed", "7").Out.ShouldBe(CliRun.Of("demo", "sva", "--quick", "--seed", "7").Out);

    [Fact]
    public void A_driver_that_forgets_to_invalidate_is_noticed_and_the_status_says_so()
    {
        using StringWriter output = new();
        CliEnvironment environment = new()
        {
            Out = output,
            Error = output,
            OpenOut = () => Stream.Null,
            ColourOut = false,
            ErrorIsTerminal = false,
        };
        CommandFilter filter = CommandFilter.LosesInvalidations();
        DemoCommand.Run(environment, new()
        {
            Quick = true,
            Machine = machine => machine with { DriverRegisters = filter.Registers, DriverMemory = filter.Memory },
        }).ShouldBe(1);
        output.ToString().ShouldContain("FAIL");
    }
}
