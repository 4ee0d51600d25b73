using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.Native.Tests;

/// <summary>Programs with the machine in their own process (<c>ioasis exec --via preload</c>): those that run under the supervisor too.</summary>
public sealed partial class PreloadTests
{
    private static readonly string s_programs = Path.Combine(Toolbox.Root, "tests", "Ioasis.Exec.Tests", "programs");

    [Fact]
    public void A_driver_in_C_runs_by_both_interfaces() => Execute(Build("driver.c")).Status.ShouldBe(7);

    [Theory]
    [InlineData("dup")]
    [InlineData("memory")]
    [InlineData("taken")]
    [InlineData("epoll")]
    [InlineData("ioeventfd")]
    [InlineData("descriptors")]
    [InlineData("sysfs")]
    [InlineData("threads")]
    public void Descriptors_and_memory_behave_as_on_Linux(string feature)
    {
        (int status, string text) = Execute(Build("features.c"), feature);
        status.ShouldBe(0, text);
        text.ShouldBe(feature + "\n");
    }

    [Fact]
    public void Mapped_registers_are_accessed_one_by_one_at_the_device()
    {
        (int status, string text) = Execute(Build("mapped.c"));
        status.ShouldBe(128 + 11, text);
        text.ShouldBe("mapped\n");
    }

    [Fact]
    public void What_the_C_library_offers_beside_plain_calls_leads_to_the_same_files()
    {
        (int status, string text) = Execute(Build(Path.Combine(Toolbox.Root, "tests", "Ioasis.Native.Tests", "Programs", "preloaded.c")));
        status.ShouldBe(0, text);
        text.ShouldEndWith("ok\n");
    }

    [Theory]
    [InlineData("exit 42", 42)]
    [InlineData("kill -TERM $$", 128 + 15)]
    public void The_end_of_the_program_is_the_end_that_is_seen(string script, int status) =>
        Execute("sh", "-c", "cat /sys/bus/pci/devices/0000:00:01.0/vendor; " + script).Status.ShouldBe(status);

    [Fact]
    public void A_machine_file_says_which_devices_there_are()
    {
        string file = Path.Combine(Toolbox.Scratch, "machine.yaml");
        File.WriteAllText(file, "functions: [ { id: \"00:01.0\", kind: integrated-endpoint, device: edu } ]\n");
        (int status, string text) = ExecuteOn(["--machine", file], Build("driver.c"));
        status.ShouldBe(7, text);
    }

    [Fact]
    public void What_cannot_be_is_said_before_the_program_runs()
    {
        (int status, string text) = ExecuteOn(["--device", "toaster"], "true");
        status.ShouldBe(2);
        text.ShouldContain("There is no device \"toaster\"");
        (status, text) = ExecuteOn(["--device", "edu", "--json", "x.json"], "true");
        status.ShouldBe(2);
        text.ShouldContain("--json needs --via supervisor");
        (status, text) = Execute("/no/such/program");
        status.ShouldBe(2);
        text.ShouldContain("/no/such/program cannot be run");
    }

    [Fact]
    public void A_store_of_64_bytes_reaches_the_device_at_once()
    {
        (int status, string text) = ExecuteOn(["--device", "dsa"], Build("block.c"));
        status.ShouldBe(0, text);
        text.ShouldBe("copied\n");
    }

    [Fact]
    public void A_command_by_ENQCMD_goes_with_the_PASID_that_the_device_is_attached_with()
    {
        (int status, string text) = ExecuteOn(["--device", "dsa"], Build("commands.c"));
        status.ShouldBe(0, text);
        text.ShouldBe("enqueued\n");
    }

    [Theory]
    [InlineData("riscv")]
    [InlineData("vtd")]
    public void A_driver_of_virtio_writes_a_disk_and_sends_frames_between_two_cards(string iommu)
    {
        string driver = Build(Path.Combine(Toolbox.Root, "examples", "foreign-driver", "virtio.c"));
        (int status, string text) = ExecuteOn(["--iommu", iommu, "--device", "virtio-blk,size=1M"], driver, "0000:00:01.0");
        (status, text).ShouldBe((0, "virtio-blk 2048 sectors\n"));
        (status, text) = ExecuteOn(
            ["--iommu", iommu, "--device", "virtio-net,name=a,peer=b", "--device", "virtio-net,name=b"], driver, "0000:00:01.0", "0000:00:02.0");
        (status, text).ShouldBe((0, "virtio-net 100 frames\n"));
    }

    [Theory]
    [InlineData("vfio_iommufd_setup_test", 6, 0)]
    [InlineData("vfio_pci_device_test", 4, 1)]
    [InlineData("vfio_dma_mapping_test", 20, 10)]
    [InlineData("vfio_pci_device_init_perf_test", 5, 0)]
    [InlineData("vfio_dma_mapping_mmio_test", 15, 0)]
    public void The_kernels_own_tests_of_VFIO_pass(string program, int passed, int skipped)
    {
        ShouldPass("edu,reset=on", program, passed, skipped);
    }

    // It opens the device in its first process, closes it, and forks one for each test.
    [Theory]
    [InlineData("ioat")]
    [InlineData("dsa")]
    public void The_kernels_own_drivers_in_user_space_copy_memory_by_our_engines(string engine) =>
        ShouldPass(engine, "vfio_pci_driver_test", 35, 0);

    private static void ShouldPass(string device, string program, int passed, int skipped)
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(10), null, "selftests");
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());
        (int status, string text) = ExecuteOn(["--device", device], Path.Combine(fetched.Output.Trim(), program), "0000:00:01.0");
        Match totals = Totals().Match(text);
        totals.Success.ShouldBeTrue(text);
        totals.Groups["fail"].Value.ShouldBe("0", text);

        // Where the machine has huge pages more can run.
        int ran = int.Parse(totals.Groups["pass"].ValueSpan);
        ran.ShouldBeGreaterThanOrEqualTo(passed);
        (ran + int.Parse(totals.Groups["skip"].ValueSpan)).ShouldBe(passed + skipped);
        status.ShouldBe(0, text);
    }

    [Fact]
    public void QEMUs_own_NVMe_driver_finds_the_disk()
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(10), null, "qemu-img");
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());
        (int status, string text) = ExecuteOn(
            ["--device", "nvme,addr=00:03.0,size=64M"], fetched.Output.Trim(), "info", "nvme://0000:00:03.0/1");
        status.ShouldBe(0, text);
        text.ShouldContain("64 MiB (67108864 bytes)");
    }

    private static (int Status, string Text) Execute(params string[] program) => ExecuteOn(["--device", "edu"], program);

    private static (int Status, string Text) ExecuteOn(string[] options, params string[] program)
    {
        _ = Toolbox.Library;
        return Toolbox.Run("dotnet", [ExternalProgram.IoasisCommand, "exec", "--via", "preload", .. options, "--", .. program]);
    }

    private static string Build(string source)
    {
        string program = Path.Combine(Toolbox.Scratch, Path.GetFileNameWithoutExtension(source) + "-" + Guid.NewGuid().ToString("N")[..8]);
        (int status, string text) = Toolbox.Run(
            Toolbox.Need("gcc", "gcc libc6-dev linux-libc-dev"),
            ["-Wall", "-Werror", "-O1", "-pthread", "-I" + s_programs, "-o", program, Path.Combine(s_programs, source)]);
        status.ShouldBe(0, text);
        return program;
    }

    [GeneratedRegex(@"# Totals: pass:(?<pass>\d+) fail:(?<fail>\d+) .*skip:(?<skip>\d+) ", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Totals();
}
