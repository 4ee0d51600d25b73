using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>Programs that others wrote.</summary>
public sealed partial class StrangerTests
{
    [Theory]
    [InlineData("vfio_iommufd_setup_test", 6, 0)]
    [InlineData("vfio_pci_device_test", 4, 1)]
    [InlineData("vfio_dma_mapping_test", 20, 10)]
    [InlineData("vfio_pci_device_init_perf_test", 5, 0)]
    [InlineData("vfio_dma_mapping_mmio_test", 15, 0)]
    public void The_kernels_own_tests_of_VFIO_pass(string program, int passed, int skipped)
    {
        ExecRun run = Programs.ExecuteOn(["--device", "edu,reset=on"], Path.Combine(Fetch("selftests"), program), "0000:00:01.0");
        ShouldPass(run, passed, skipped);
    }

    // Seven tests in each of the five modes in which a program may have its memory mapped.
    [Theory]
    [InlineData("ioat")]
    [InlineData("dsa")]
    public void The_kernels_own_drivers_in_user_space_copy_memory_by_our_engines(string engine) =>
        ShouldPass(Programs.ExecuteOn(["--device", engine], Path.Combine(Fetch("selftests"), "vfio_pci_driver_test"), "0000:00:01.0"), 35, 0);

    private static void ShouldPass(ExecRun run, int passed, int skipped)
    {
        Match totals = Totals().Match(run.Ended.Output);
        totals.Success.ShouldBeTrue(run.Ended.Describe());

        // Where the machine has huge pages more can run.
        totals.Groups["fail"].Value.ShouldBe("0", run.Ended.Describe());
        int ran = int.Parse(totals.Groups["pass"].ValueSpan);
        ran.ShouldBeGreaterThanOrEqualTo(passed);
        (ran + int.Parse(totals.Groups["skip"].ValueSpan)).ShouldBe(passed + skipped);
        _ = run.ShouldEnd(0);
    }

    // What libvfn's regs and eventfd do: Debian has no libvfn, so that the calls are made by a program of ours.
    [Theory]
    [InlineData("group")]
    [InlineData("iommufd")]
    public void An_NVMe_driver_with_mapped_registers_is_told_of_completions_by_an_eventfd(string way) =>
        Programs.ExecuteOn(["--device", "nvme,size=16M"], Programs.Build("nvme.c"), way)
            .ShouldEnd(0).Ended.Output.ShouldEndWith("20 completions by eventfd\n");

    // What libvfn's iopf does with a device of its own: pages are mapped when the device asks for them.
    [Theory]
    [InlineData("riscv")]
    [InlineData("vtd")]
    public void An_NVMe_driver_maps_pages_when_the_controller_asks_for_them(string iommu) =>
        Programs.ExecuteOn(["--iommu", iommu, "--device", "nvme,size=16M,ats=on,pri=on"], Programs.Build("nvme.c"), "pages")
            .ShouldEnd(0).Ended.Output.ShouldEndWith("20 completions by eventfd, each after a page was asked for\n");

    [Theory]
    [InlineData("")]
    [InlineData(",iommufd=i0")]
    public void QEMU_takes_the_device_over(string iommufd)
    {
        string qemu = Fetch("qemu-x86");
        string objects = iommufd.Length == 0 ? "" : "-object iommufd,id=i0";
        ExecRun run = Programs.Execute(
            "sh",
            "-c",
            $"(sleep 1; echo info pci; echo quit) | {qemu} -M q35 -m 64 -nodefaults -display none -monitor stdio -S {objects} -device vfio-pci,host=0000:00:01.0{iommufd}");
        run.Ended.Output.ShouldContain("PCI device 1234:11e8", Case.Sensitive, run.Ended.Describe());
        _ = run.ShouldEnd(0);
    }

    private static string Fetch(string what)
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(10), null, what);
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());
        return fetched.Output.Trim();
    }

    [GeneratedRegex(@"# Totals: pass:(?<pass>\d+) fail:(?<fail>\d+) .*skip:(?<skip>\d+) ", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Totals();
}
