using Ioasis.Testing;

namespace Ioasis.VfioUser.Tests;

/// <summary>Linux in QEMU, both as Debian packages them, drives our devices and our IOMMU: a judge that knows nothing of us.</summary>
public sealed class GuestTests
{
    private static readonly string[] s_disks = ["nvme0n1", "vda"];

    private static bool IsAll => string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal);

    /// <summary>
    /// What the guest does (lab/vfio-user/workloads); further options of lab/vfio-user/run; whether the kernel is one that maps each buffer, which is built
    /// first and takes minutes; the domain that the kernel says the disks are in.
    /// </summary>
    public static TheoryData<string, string, bool, string?> Guests { get; } = MakeGuests();

    /// <summary>What of the IOMMU fails; whether the kernel is one that is built first; what the kernel says of it.</summary>
    public static TheoryData<string, bool, string> Failures { get; } = MakeFailures();

    [Theory]
    [MemberData(nameof(Guests))]
    public void A_guest_keeps_file_systems_on_our_disks_and_sets_up_our_iommu_before_them(string workloads, string options, bool isBuilt, string? domain)
    {
        string console = Boot(isBuilt, ["--workload", workloads, .. options.Split(' ')]);
        string said = File.ReadAllText(console);
        said.ShouldContain(" driver nvme");
        said.ShouldContain(" driver virtio-pci");
        if (domain is not null)
        {
            said.ShouldContain("function 0000:00:01.0 0x1b36:0x0014 driver iommu_pci");
            said.ShouldContain($"function 0000:00:02.0 0x1b36:0x0010 driver nvme group 1 {domain}");
            said.ShouldContain($"function 0000:00:03.0 0x1af4:0x1042 driver virtio-pci group 2 {domain}");
        }

        string[] names = workloads.Split(',');
        foreach (string line in names.SelectMany(LinesOf))
        {
            said.ShouldContain(line);
        }

        // Nothing was refused that was not asked for.
        bool isFaulty = names.Contains("faults");
        said.Contains("faults: 0", StringComparison.Ordinal).ShouldBe(!isFaulty);
        string server = File.ReadAllText(console + ".server");
        server.ShouldNotContain("refused:");
        server.ShouldNotContain("cut off");
        server.Contains("did wrong", StringComparison.Ordinal).ShouldBe(isFaulty || names.Contains("gone"));
        if (File.Exists(console + ".dma"))
        {
            File.ReadLines(console + ".dma").Any(static line => line.Contains("riscv_iommu_flt", StringComparison.Ordinal)).ShouldBe(isFaulty);
            File.Delete(console + ".dma");
        }
    }

    [Theory]
    [MemberData(nameof(Failures))]
    public void The_kernel_goes_on_after_a_failure_of_the_iommu_and_says_of_it(string failure, bool isBuilt, string line)
    {
        string console = Boot(isBuilt, ["--workload", "inject", "--arch", "riscv64", "--append", "iommu.strict=1", "--inject", failure]);
        string said = File.ReadAllText(console);
        said.ShouldContain(line);
        string[] wrong = [.. File.ReadLines(console + ".server").Where(static line => line.Contains(" did wrong, ", StringComparison.Ordinal))];
        wrong.ShouldContain(text => text.Contains(failure.Split('@')[0], StringComparison.Ordinal));
    }

    private static IEnumerable<string> LinesOf(string workload) => workload switch
    {
        "files" => s_disks.SelectMany(static disk => (string[])[$"{disk} held", $"{disk} came back"]),
        "fio" => s_disks.SelectMany(static disk => (string[])[$"fio on {disk} wrote", $"fio on ext4 of {disk} wrote"]),
        "remove" => s_disks.Select(static disk => $"{disk} came back after it was removed under load"),
        "gone" => ["nvme0n1 went, and its driver calls it dead", "vda stayed"],
        "reboot" => s_disks.SelectMany(static disk => (string[])[$"{disk} kept its data over boot1", $"{disk} kept its data over boot2"]),
        "faults" => ["printed "],
        "qemu" => ["remote is QEMU NVMe Ctrl", "remote came back"],
        "network" => ["network 10.9.0.2 gave ", "network 10.9.0.1 gave ", "after it was bound again: 10 packets transmitted, 10 packets received"],
        _ => throw new ArgumentOutOfRangeException(nameof(workload), workload, "What it shows is not listed."),
    };

    // Where the guest's own kernel crashes, which it does seldom, emulated on a busy host, it is tried again.
    private static string Boot(bool isBuilt, string[] options)
    {
        const int KernelCrash = 3;
        string console = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "vfio-user", Guid.NewGuid().ToString("N"));
        Dictionary<string, string> environment = new(StringComparer.Ordinal) { ["IOASIS"] = ServeTests.Command, ["IOASIS_GUEST_SECONDS"] = "2700" };
        if (isBuilt)
        {
            ExternalProgram kernel = ExternalProgram.Run("lab/linux-guest/build-kernel", TimeSpan.FromHours(2), null, "riscv64");
            Assert.SkipWhen(kernel.LacksSomething, $"lab/linux-guest/build-kernel: {kernel.Errors}");
            kernel.Status.ShouldBe(0, kernel.Errors);
            environment["IOASIS_GUEST_KERNEL"] = kernel.Output.Trim();
        }

        ExternalProgram ended;
        int tries = 0;
        do
        {
            ended = ExternalProgram.Run("lab/vfio-user/run", TimeSpan.FromHours(2), environment, [console, .. options]);
        }
        while (ended.Status == KernelCrash && ++tries < 3);

        Assert.SkipWhen(ended.LacksSomething, $"lab/vfio-user/run: {ended.Errors}");
        ended.Status.ShouldBe(0, ended.Output + ended.Errors);
        return console;
    }

    private static TheoryData<string, string, bool, string?> MakeGuests()
    {
        TheoryData<string, string, bool, string?> guests = new()
        {
            { "files,network,fio", "--arch x86", false, null },
            { "files,remove", "--arch riscv64", false, "identity" },
        };
        if (IsAll)
        {
            guests.Add("files,fio", "--arch x86 --option --map-doorbells", false, null);
            guests.Add("remove", "--arch x86", false, null);
            guests.Add("reboot", "--arch x86", false, null);
            guests.Add("gone", "--arch x86", false, null);
            guests.Add("gone", "--arch riscv64", false, "identity");
            foreach (string strict in (string[])["1", "0"])
            {
                string domain = strict is "1" ? "DMA" : "DMA-FQ";
                guests.Add("files,network,fio,remove", $"--arch riscv64 --append iommu.strict={strict}", true, domain);
                guests.Add("reboot", $"--arch riscv64 --append iommu.strict={strict}", true, domain);
                guests.Add("gone", $"--arch riscv64 --append iommu.strict={strict}", true, domain);
                guests.Add("qemu", $"--arch riscv64 --append iommu.strict={strict}", true, domain);
                guests.Add("faults", $"--arch riscv64 --append iommu.strict={strict}", true, domain);
            }

            guests.Add("files,fio", "--arch riscv64 --append iommu.strict=1 --caching realistic", true, "DMA");
        }

        return guests;
    }

    private static TheoryData<string, bool, string> MakeFailures()
    {
        const string Illegal = "Queue #0 error; fault:0 timeout:0 illegal:1 fence_w_ip:0";
        TheoryData<string, bool, string> failures = new() { { "cmd-ill@1", false, Illegal } };
        if (IsAll)
        {
            failures.Add("cmd-ill@400", true, Illegal);
            failures.Add("cmd-ill@401:50", true, Illegal);
            failures.Add("cmd-stall@401:2", true, "Hardware error: command execution timeout");
            failures.Add("cmd-to@400", true, "Queue #0 error; fault:0 timeout:1 illegal:0 fence_w_ip:0");
            failures.Add("cmd-mf@400", true, "Queue #0 error; fault:1 timeout:0 illegal:0 fence_w_ip:0");
        }

        return failures;
    }
}
