using System.Text.Json;
using Ioasis.Linux.Tests.Discovery;

namespace Ioasis.Cli.Tests;

/// <summary><c>ioasis groups</c> and <c>ioasis bind</c>.</summary>
public class GroupsCommandTests
{
    private const string Nvme = "0000:00:02.0";

    [Fact]
    public void The_example_shows_how_groups_come_about()
    {
        CliRun run = CliRun.Of("groups", "--json");
        run.Status.ShouldBe(0, run.Error);
        using var document = JsonDocument.Parse(run.Out);
        JsonElement root = document.RootElement;
        root.GetProperty("backend").GetString().ShouldBe("embedded");
        root.GetProperty("iommus")[0].GetProperty("deviceCount").GetInt32().ShouldBe(19);
        string[] groups =
        [
            .. root.GetProperty("groups").EnumerateArray().Select(static group => string.Join(' ', group.GetProperty("devices")
                .EnumerateArray().Select(static device => device.GetProperty("name").GetString()!["0000:".Length..]))),
        ];
        groups.ShouldBe(
        [
            "00:01.0", "00:02.0", "00:03.0", "00:04.0",
            "00:05.0 08:01.0 08:02.0",
            "00:06.0", "00:07.0", "01:00.0", "02:00.0", "02:00.1",
            "03:00.0 03:00.1",
            "04:00.0 05:00.0 05:01.0 06:00.0 07:00.0",
        ]);

        // What the kernel side says is usable: without the MSI window and what is reserved, with what is relaxable.
        UsableOf(root.GetProperty("groups")[5]).ShouldBe(["0x0-0xfedfffff", "0xfef00000-0x7fffffffffff"]);
        UsableOf(root.GetProperty("groups")[6])
            .ShouldBe(["0x0-0xfedfffff", "0xfef00000-0xfcffffffff", "0x10000000000-0x7fffffffffff"]);
    }

    [Fact]
    public void The_text_says_the_same_as_the_document()
    {
        CliRun run = CliRun.Of("groups");
        run.Status.ShouldBe(0, run.Error);
        string[] lines = run.Out.Split('\n');
        lines[0].ShouldStartWith("IOMMU iommu0: 19 devices, mode sv48");
        lines.Count(static line => line.StartsWith("group ", StringComparison.Ordinal)).ShouldBe(12);
        lines.ShouldContain("  0000:01:00.0  nvme (endpoint), 20 PASID bits  /dev/vfio/devices/vfio9");
        lines.ShouldContain("  reserved  0x7b800000 - 0x7bffffff  direct-relaxable");
        lines.ShouldContain("  usable    0x10000000000 - 0x7fffffffffff");
        run.Error.ShouldBeEmpty();
    }

    [Fact]
    public void The_printed_example_is_the_machine_that_stands_for_none()
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", CliRun.Of("groups", "--print-example").Out);
        CliRun.Of("groups", "--platform", file).Out.ShouldBe(CliRun.Of("groups").Out);
    }

    [Fact]
    public void The_mode_of_the_file_decides_the_usable_ranges()
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", "iommu: { mode: sv39 }\nfunctions:\n  - { id: \"00:01.0\" }\n");
        CliRun.Of("groups", "--platform", file).Out.ShouldContain("  usable    0x0 - 0x3fffffffff\n");
    }

    [Fact]
    public void A_machine_may_have_several_segments()
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", "functions:\n  - { id: \"00ff:00:01.0\" }\n  - { id: \"0:00:01.0\" }\n");
        string text = CliRun.Of("groups", "--platform", file).Out;
        text.ShouldContain("  00ff:00:01.0 ");
        text.ShouldContain("  0000:00:01.0 ");
    }

    [Theory]
    [InlineData("3f7a:00:00.0")]
    [InlineData("10000:01:00.0")]
    public void A_device_that_the_IOMMU_cannot_tell_apart_is_refused_by_its_name(string name)
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", $"functions:\n  - {{ id: \"{name}\" }}\n");
        CliRun run = CliRun.Of("groups", "--platform", file);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain($"machine.yaml: {name} cannot be behind this IOMMU");
        run.Error.ShouldContain("24 bits");
    }

    [Theory]
    [InlineData("", "not a mapping")]
    [InlineData("functions: [", ":2: ")]
    [InlineData("iommu: {}\n", ":1: 'functions' must be a list")]
    [InlineData("functions: []\niomu: {}\n", ":2: 'iomu' is not known here (functions, iommu, iommus)")]
    [InlineData("iommu: { mode: sv40 }\nfunctions: []\n", ":1: 'mode' must be one of sv39, sv48, sv57")]
    [InlineData("iommu: { kind: none }\nfunctions: []\n", ":1: 'kind': there is no IOMMU of kind 'none', but riscv, vtd")]
    [InlineData("iommu: { kind: \"vtd,levels=6\" }\nfunctions: []\n", ":1: 'kind': vtd: 'levels' must be one of 3, 4, 5, not '6'")]
    [InlineData("iommu:\n  kind: vtd\n  levels: 6\nfunctions: []\n", ":3: 'levels' must be one of 3, 4, 5, not '6'")]
    [InlineData("iommu: { kind: vtd, mode: sv39 }\nfunctions: []\n", ":1: 'mode' must be one of vtdstage2level3, ")]
    [InlineData("iommu: { kind: vtd, legacy: on, mode: x64level4 }\nfunctions: []\n", ":1: there are no tables of mode x64level4 here, but vtdstage2level4")]
    [InlineData("iommu: { kind: vtd, levels: 3, mode: x64level4 }\nfunctions: []\n", ":1: levels=3 and mode=x64level4 exclude each other")]
    [InlineData("iommu: { kind: vtd, ats: off, pri: on }\nfunctions: []\n", ":1: pri=on and ats=off exclude each other: pri needs ats")]
    [InlineData("iommu: { kind: vtd, msi-window: 0x1000-0x1fff }\nfunctions: []\n", ":1: the interrupt addresses of VT-d are ")]
    [InlineData("iommu: { kind: vtd, napot: on }\nfunctions: []\n", ":1: 'napot' is not known here")]
    [InlineData("iommu: { kind: riscv, legacy: on }\nfunctions: []\n", ":1: 'legacy' is not known here")]
    [InlineData("iommu: {}\niommus:\n  - {}\nfunctions: []\n", ":1: 'iommu' is for a machine with one")]
    [InlineData("iommus:\n  - {}\n  - { name: iommu0 }\nfunctions: []\n", ":3: there are two IOMMUs with the name iommu0")]
    [InlineData("iommus:\n  - {}\n  - {}\nfunctions:\n  - { id: \"00:01.0\", iommu: iommu2 }\n", ":5: there is no IOMMU iommu2, but iommu0, iommu1")]
    [InlineData("functions:\n  - { id: 7 }\n", ":2: needs 'id'")]
    [InlineData("functions:\n  - { id: \"00:01.0\", kind: root-port }\n", ":2: a root-port needs 'bus'")]
    [InlineData("functions:\n  - { id: \"00:01.0\", bus: 3 }\n", ":2: 'bus' is for bridges and ports")]
    [InlineData("functions:\n  - { id: \"00:01.0\", pasid-bits: 21 }\n", ":2: 'pasid-bits' must be a number up to 20")]
    [InlineData("functions:\n  - { id: \"00:01.0\", acs: maybe }\n", ":2: 'acs' must be one of none, off, on")]
    [InlineData("functions:\n  - { id: \"00:01.0\" }\n  - { id: \"00:01.0\" }\n", "00:01.0")]
    [InlineData("functions:\n  - id: \"00:01.0\"\n    reserved:\n      - { range: 5-1 }\n", ":4: 'range' must be a range")]
    public void A_file_that_is_wrong_is_refused_with_the_line(string text, string says)
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", text);
        CliRun run = CliRun.Of("groups", "--platform", file);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain(says);
        run.Error.ShouldContain("machine.yaml");
        run.Out.ShouldBeEmpty();
    }

    [Fact]
    public void A_machine_has_several_IOMMUs_and_each_function_is_behind_one()
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", """
            iommus:
              - { name: left, mode: sv39 }
              - { name: right, kind: vtd, levels: 3, legacy: on, msi-window: 0xfee00000-0xfeefffff }
            functions:
              - { id: "00:01.0", kind: integrated-endpoint }
              - { id: "00:02.0", kind: integrated-endpoint, iommu: right }
              - { id: "00:03.0", kind: integrated-endpoint, iommu: right }
            """);
        CliRun run = CliRun.Of("groups", "--platform", file, "--iommu", "riscv", "--json");
        run.Status.ShouldBe(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        JsonElement[] iommus = [.. json.RootElement.GetProperty("iommus").EnumerateArray()];
        iommus.Select(one => (one.GetProperty("name").GetString(), one.GetProperty("deviceCount").GetInt32())).ShouldBe([("left", 1), ("right", 2)]);
        run.Out.ShouldContain("sv39");
        run.Out.ShouldContain("legacy");
        json.RootElement.GetProperty("groups").GetArrayLength().ShouldBe(3);
    }

    [Theory]
    [InlineData("vtd,levels=3", "scalable")]
    [InlineData("vtd,legacy", "legacy")]
    [InlineData("vtd,legacy=off,pasid=off,ats=off,nested=off,dirty=off,snoop=off,remap=off,caching-mode,segment=0", "scalable")]
    [InlineData("vtd,mode=x64level5,caching=hostile", "scalable")]
    [InlineData("riscv,levels=3,napot=off", "sv39")]
    [InlineData("riscv,pasid=off,ats=off,nested=off,dirty=off,caching=none", "sv48")]
    public void The_example_stands_behind_an_IOMMU_with_options(string iommu, string says)
    {
        CliRun run = CliRun.Of("groups", "--iommu", iommu, "--json");
        run.Error.ShouldBeEmpty();
        run.Status.ShouldBe(0);
        run.Out.ShouldContain(says);
    }

    [Theory]
    [InlineData("arm", "there is no IOMMU of kind 'arm', but riscv, vtd")]
    [InlineData("", "there is no IOMMU of kind '', but riscv, vtd")]
    [InlineData("vtd,", "vtd: there is no option ''")]
    [InlineData("vtd,colour=red", "vtd: there is no option 'colour', but caching=none|realistic|hostile")]
    [InlineData("vtd,levels", "vtd: 'levels' needs a value: levels=3|4|5")]
    [InlineData("vtd,levels=9", "vtd: 'levels' must be one of 3, 4, 5, not '9'")]
    [InlineData("vtd,levels=44", "vtd: 'levels' must be one of 3, 4, 5, not '44'")]
    [InlineData("vtd,ats=off,pri=on", "vtd: pri=on and ats=off exclude each other: pri needs ats")]
    [InlineData("vtd,pri,ats=off", "vtd: pri=on and ats=off exclude each other: pri needs ats")]
    [InlineData("vtd,legacy,pasid=on", "vtd: pasid=on and legacy=on exclude each other: only scalable mode has it")]
    [InlineData("vtd,mode=x64level4,legacy", "vtd: there are no tables of mode x64level4 here")]
    [InlineData("vtd,snoop=perhaps", "vtd: 'snoop' must be one of on, off, not 'perhaps'")]
    [InlineData("vtd,ats=off,ats=off", "vtd: 'ats' is there twice")]
    [InlineData("vtd,segment=65536", "vtd: 'segment' must be one of 0…65535, not '65536'")]
    [InlineData("riscv,caching=no", "riscv: 'caching' must be one of none, realistic, hostile, not 'no'")]
    [InlineData("riscv,legacy", "riscv: there is no option 'legacy'")]
    public void An_IOMMU_that_cannot_be_is_refused_with_the_value_and_the_rule(string iommu, string says)
    {
        CliRun run = CliRun.Of("groups", "--iommu", iommu);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain(says);
        run.Out.ShouldBeEmpty();
    }

    [Fact]
    public void What_the_file_says_of_an_IOMMU_comes_before_what_the_command_line_says()
    {
        using TemporaryFolder folder = new();
        string file = folder.Write("machine.yaml", """
            iommus:
              - { name: left }
              - { name: middle, legacy: off }
              - { name: right, kind: riscv }
            functions:
              - { id: "00:01.0", kind: integrated-endpoint }
            """);
        CliRun run = CliRun.Of("groups", "--platform", file, "--iommu", "vtd,legacy", "--json");
        run.Status.ShouldBe(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        string[] iommus = [.. json.RootElement.GetProperty("iommus").EnumerateArray().Select(static one => one.ToString())];
        iommus.Length.ShouldBe(3);
        iommus[0].ShouldContain("legacy");
        iommus[1].ShouldContain("scalable");
        iommus[2].ShouldContain("sv48");
    }

    [Fact]
    public void A_file_that_is_missing_is_named()
    {
        CliRun run = CliRun.Of("groups", "--platform", "no-such-machine.yaml");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("no-such-machine.yaml");
    }

    [Theory]
    [InlineData("--backend", "linux", "--platform", "x.yaml")]
    [InlineData("--root", "/")]
    [InlineData("--backend", "windows")]
    public void Options_that_do_not_go_together_are_refused(params string[] options) =>
        CliRun.Of(["groups", .. options]).Status.ShouldBe(2);

    [Fact]
    public void The_groups_of_a_recorded_machine_are_shown_as_it_had_them()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        CliRun run = CliRun.On(tree, "groups", "--backend", "linux");
        run.Status.ShouldBe(0, run.Error);
        run.Error.ShouldBeEmpty();
        string[] lines = run.Out.Split('\n');
        lines[0].ShouldStartWith("IOMMU dmar0: 11 devices, intel-iommu/address fed90000");
        lines.ShouldContain("group 2  DMA-FQ");
        lines.ShouldContain($"  {Nvme}  1b36:0010  NVMe controller  nvme");
        lines.ShouldContain("  usable    0xfef00000 - 0xffffffffffff");
        lines.ShouldContain("  0000:00:1f.2  8086:2922  SATA controller");
    }

    [Fact]
    public void An_end_that_nobody_knows_is_not_shown_as_a_number()
    {
        using RecordedTree tree = RecordedTree.Of("x86amd");
        CliRun run = CliRun.On(tree, "groups", "--backend", "linux");
        run.Out.ShouldContain("  usable    0x10000000000 - …\n");
        run.Out.ShouldContain("IOMMU_IOAS_IOVA_RANGES");
        run.Out.ShouldNotContain("0xffffffffffffffff");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_machine_without_IOMMU_is_told_what_to_check(bool isJson)
    {
        using RecordedTree tree = RecordedTree.Empty();
        tree.AddFile("sys/kernel/x", "");
        CliRun run = CliRun.On(tree, ["groups", "--backend", "linux", .. isJson ? (string[])["--json"] : []]);
        run.Status.ShouldBe(1);
        run.Error.ShouldContain("no IOMMU groups here");
        run.Error.ShouldContain("VT-d");
        if (isJson)
        {
            using var document = JsonDocument.Parse(run.Out);
            document.RootElement.GetProperty("groups").GetArrayLength().ShouldBe(0);
            document.RootElement.GetProperty("hints").GetArrayLength().ShouldBeGreaterThan(0);
        }
    }

    [Fact]
    public void A_dry_run_says_what_would_be_written_and_writes_nothing()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        CliRun run = CliRun.On(tree, "bind", "00:02.0", "--dry-run");
        run.Status.ShouldBe(0, run.Error);
        run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => line[..line.IndexOf("    #", StringComparison.Ordinal)])
            .ShouldBe(
            [
                $"echo 'vfio-pci' > /sys/bus/pci/devices/{Nvme}/driver_override",
                $"echo '{Nvme}' > /sys/bus/pci/devices/{Nvme}/driver/unbind",
                $"echo '{Nvme}' > /sys/bus/pci/drivers_probe",
            ]);
        run.Error.ShouldContain("nvme loses it");
        tree.Writes.ShouldBeEmpty();
    }

    [Fact]
    public void A_device_goes_to_vfio_pci_and_back()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        CliRun.On(tree, "bind", "00:02.0", "00:05.0").Out.ShouldBe($"{Nvme}: vfio-pci has it\n0000:00:05.0: vfio-pci has it\n");
        CliRun.On(tree, "bind", "00:02.0").Out.ShouldBe($"{Nvme}: nothing to do, vfio-pci has it\n");
        CliRun.On(tree, "bind", "00:02.0", "--back").Out.ShouldBe($"{Nvme}: nvme has it\n");
    }

    [Fact]
    public void One_wrong_address_and_nothing_is_bound()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        CliRun run = CliRun.On(tree, "bind", "00:02.0", "00:1e.7");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("no device '00:1e.7'");
        tree.Writes.ShouldBeEmpty();
    }

    [Fact]
    public void A_refusal_of_the_kernel_is_passed_on()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        tree.Failing["driver_override"] = Primitives.Errno.AccessDenied;
        CliRun run = CliRun.On(tree, "bind", "00:02.0");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("this needs root");
    }

    private static IEnumerable<string> UsableOf(JsonElement group) => group.GetProperty("usableRanges").EnumerateArray()
        .Select(static range => $"{range.GetProperty("start").GetString()}-{range.GetProperty("last").GetString()}");
}
