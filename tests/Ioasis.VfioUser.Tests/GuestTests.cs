using Ioasis.Testing;

namespace Ioasis.VfioUser.Tests;

/// <summary>Linux in QEMU, both as Debian packages them, drives our devices and our IOMMU: a judge that knows nothing of us.</summary>
public sealed class GuestTests
{
    private static readonly string[] s_disks =
        ["driver nvme", "driver virtio-pci", "nvme0n1 held", "vda held", "nvme0n1 came back", "vda came back", "faults: 0"];

    /// <summary>
    /// Options of lab/vfio-user/run; whether the kernel is one that maps each buffer, which is built first and takes minutes; the domain that the
    /// kernel says the disks are in.
    /// </summary>
    public static TheoryData<string, bool, string?> Guests { get; } = MakeGuests();

    [Theory]
    [MemberData(nameof(Guests))]
    public void A_guest_keeps_file_systems_on_our_disks_and_sets_up_our_iommu_before_them(string options, bool isBuilt, string? domain)
    {
        string console = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "vfio-user", Guid.NewGuid().ToString("N"));
        Dictionary<string, string> environment = new(StringComparer.Ordinal) { ["IOASIS"] = ServeTests.Command };
        if (isBuilt)
        {
            ExternalProgram kernel = ExternalProgram.Run("lab/linux-guest/build-kernel", TimeSpan.FromHours(2), null, "riscv64");
            Assert.SkipWhen(kernel.LacksSomething, $"lab/linux-guest/build-kernel: {kernel.Errors}");
            kernel.Status.ShouldBe(0, kernel.Errors);
            environment["IOASIS_GUEST_KERNEL"] = kernel.Output.Trim();
        }

        ExternalProgram ended = Boot(environment, console, options);
        Assert.SkipWhen(ended.LacksSomething, $"lab/vfio-user/run: {ended.Errors}");
        ended.Status.ShouldBe(0, ended.Output + ended.Errors);
        string said = File.ReadAllText(console);
        string[] behind = domain is null
            ? []
            :
            [
                "function 0000:00:01.0 0x1b36:0x0014 driver iommu_pci",
                $"function 0000:00:02.0 0x1b36:0x0010 driver nvme group 1 {domain}",
                $"function 0000:00:03.0 0x1af4:0x1042 driver virtio-pci group 2 {domain}",
            ];
        foreach (string line in (string[])[.. s_disks, .. behind])
        {
            said.ShouldContain(line);
        }

        // The server saw nothing that was not allowed.
        string server = File.ReadAllText(console + ".server");
        server.ShouldNotContain("refused");
        server.ShouldNotContain("cut off");
    }

    // Where the guest's own kernel crashes, which it does seldom, emulated on a busy host, it is tried again.
    private static ExternalProgram Boot(Dictionary<string, string> environment, string console, string options)
    {
        const int KernelCrash = 3;
        ExternalProgram ended;
        int tries = 0;
        do
        {
            ended = ExternalProgram.Run("lab/vfio-user/run", TimeSpan.FromMinutes(20), environment, [console, .. options.Split(' ')]);
        }
        while (ended.Status == KernelCrash && ++tries < 3);

        return ended;
    }

    private static TheoryData<string, bool, string?> MakeGuests()
    {
        TheoryData<string, bool, string?> guests = new() { { "--arch x86", false, null }, { "--arch riscv64", false, "identity" } };
        if (string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal))
        {
            guests.Add("--arch x86 --option --map-doorbells", false, null);
            guests.Add("--arch riscv64 --append iommu.strict=1", true, "DMA");
            guests.Add("--arch riscv64 --append iommu.strict=0", true, "DMA-FQ");
            guests.Add("--arch riscv64 --append iommu.strict=1 --caching realistic", true, "DMA");
        }

        return guests;
    }
}
