using System.IO.Compression;
using System.Text;
using Ioasis.Cli;
using Ioasis.Primitives;

namespace Ioasis.Recorder.Tests;

/// <summary><c>ioasis record</c> as a user meets it, on machines that lack this or that.</summary>
public sealed class RecordCommandTests : IDisposable
{
    private readonly FakeKernel _kernel = FakeKernel.Create();
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-record").FullName;
    private readonly StringWriter _out = new();
    private readonly StringWriter _error = new();

    public RecordCommandTests() => _kernel.AddProcess(Environment.ProcessId, 77);

    public void Dispose()
    {
        _kernel.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_recording_is_made_and_the_status_of_the_command_given_on()
    {
        string[] before = _kernel.State();
        string file = Path.Combine(_folder, "my.ioasis");

        Invoke("record", "-o", file, "--", "/bin/sh", "-c", "exit 5").ShouldBe(5);

        _error.ToString().ShouldContain("2 groups");
        _kernel.ChangesSince(before).ShouldBeEmpty();
        using GZipStream gzip = new(File.OpenRead(file), CompressionMode.Decompress);
        new StreamReader(gzip).ReadToEnd().ShouldEndWith("# ioasis end reason=command events=1 status=5\n");
        if (!OperatingSystem.IsWindows())
        {
            File.GetUnixFileMode(file).ShouldBe(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }

    [Fact]
    public void A_duration_ends_it()
    {
        string file = Path.Combine(_folder, "my.ioasis");

        Invoke("record", "-o", file, "--duration", "0.1").ShouldBe(0);

        File.Exists(file).ShouldBeTrue();
    }

    [Fact]
    public void A_dry_run_says_each_change_and_its_undoing_and_makes_none()
    {
        Invoke("record", "--dry-run").ShouldBe(0);

        _kernel.Changes.ShouldBeEmpty();
        string instance = $"/sys/kernel/tracing/instances/ioasis-{Environment.ProcessId}-77";
        string group = $"ioasis_{Environment.ProcessId}_77";
        string[] lines = _out.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        lines[0].ShouldStartWith($"mkdir {instance} ");
        lines[^1].ShouldBe($"rmdir {instance}");
        lines.ShouldContain(line => line.StartsWith(
            $"echo 'p:{group}/ioasis_map iommu_map+5 domain=%di:x64 type=+0(%di):u32 iova=%si:x64 paddr=%dx:x64 size=%cx:x64 sp=%sp:x64' >> /sys/kernel/tracing/kprobe_events", StringComparison.Ordinal));
        lines.ShouldContain($"echo '-:{group}/ioasis_map' >> /sys/kernel/tracing/kprobe_events");
        lines.ShouldContain(line => line.StartsWith(
            $"echo 'p:{group}/ioasis_optimized iommu_map' >> /sys/kernel/tracing/kprobe_events; echo 0 > /proc/sys/debug/kprobes-optimization", StringComparison.Ordinal));
        lines.ShouldContain($"echo 1 > /proc/sys/debug/kprobes-optimization; echo '-:{group}/ioasis_optimized' >> /sys/kernel/tracing/kprobe_events");
        lines.ShouldContain(line => line.StartsWith($"echo 1 > {instance}/events/iommu/map/enable", StringComparison.Ordinal));
    }

    [Fact]
    public void What_was_not_begun_leaves_no_file()
    {
        string file = Path.Combine(_folder, "my.ioasis");

        Invoke("record", "-o", file, "--", "/nowhere/nonesuch").ShouldBe(2);

        _error.ToString().ShouldContain("/nowhere/nonesuch: cannot be started");
        File.Exists(file).ShouldBeFalse();
    }

    [Fact]
    public void Without_root_it_says_sudo()
    {
        _kernel.Rooted = false;

        Refused().ShouldContain("sudo");
    }

    [Fact]
    public void Without_tracefs_it_says_how_to_mount_it()
    {
        _kernel.Remove("sys/kernel/tracing");

        Refused().ShouldContain("mount -t tracefs nodev /sys/kernel/tracing");
    }

    [Fact]
    public void A_kernel_without_tracing_is_told_from_one_where_it_is_not_mounted()
    {
        _kernel.Remove("sys/kernel/tracing");
        _kernel.Add("proc/filesystems", "nodev\tproc\n");

        Refused().ShouldContain("CONFIG_FTRACE");
    }

    [Fact]
    public void Without_probes_and_dma_events_maps_would_have_no_device()
    {
        _kernel.Remove($"{FakeKernel.Tracing}/kprobe_events");

        Refused().ShouldContain("CONFIG_KPROBE_EVENTS");

        Invoke("record", "--anyway", "-o", Path.Combine(_folder, "x"), "--duration", "0.1").ShouldBe(0);
    }

    [Fact]
    public void Dma_events_make_up_for_probes_and_a_note_says_so()
    {
        _kernel.Remove($"{FakeKernel.Tracing}/kprobe_events");
        _kernel.Add($"{FakeKernel.Tracing}/events/dma/dma_map_phys/enable", "0");
        _kernel.Add($"{FakeKernel.Tracing}/events/dma/dma_sync_single_for_cpu/enable", "0");

        Invoke("record", "-o", Path.Combine(_folder, "x"), "--duration", "0.1").ShouldBe(0);

        _error.ToString().ShouldContain("can set no probes");
        _kernel.Changes.ShouldContain(static change => change.EndsWith("/events/dma/dma_map_phys/enable", StringComparison.Ordinal));
        _kernel.Changes.ShouldNotContain(static change => change.Contains("dma_sync", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("x86_64", "%di")]
    [InlineData("aarch64", "%x0")]
    [InlineData("riscv64", "%a0")]
    public void A_kernel_that_does_not_know_arguments_by_number_gets_registers(string architecture, string first)
    {
        _kernel.Processor = architecture;
        _kernel.Remove($"{FakeKernel.Tracing}/available_filter_functions");
        _kernel.Refuse = static (_, change) => change.Contains("$arg", StringComparison.Ordinal) ? Errno.InvalidArgument : Errno.Success;

        Invoke("record", "-o", Path.Combine(_folder, "x"), "--duration", "0.1").ShouldBe(0);

        _kernel.Changes.ShouldContain(change => change.Contains($"ioasis_map iommu_map domain={first}:x64 type=+0({first}):u32", StringComparison.Ordinal));
    }

    [Fact]
    public void A_kernel_that_takes_no_probes_is_refused_with_its_reason()
    {
        _kernel.Add("sys/kernel/security/lockdown", "none integrity [confidentiality]");
        _kernel.Refuse = static (_, change) => change.StartsWith("p:", StringComparison.Ordinal) ? Errno.NotPermitted : Errno.Success;
        string[] before = _kernel.State();

        Refused().ShouldContain("locked down");

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void A_machine_without_groups_and_iommus_has_nothing_to_record()
    {
        _kernel.Remove("sys/kernel/iommu_groups");
        Invoke("record", "--dry-run").ShouldBe(0);
        _kernel.Remove("sys/class/iommu");

        Refused().ShouldContain("no device of this machine is behind an IOMMU");
    }

    [Fact]
    public void Where_the_core_has_no_function_that_attaches_the_drivers_is_probed_and_its_module_named()
    {
        _kernel.Add("proc/kallsyms", string.Concat(FakeKernel.SymbolsOf61
            .Where(static symbol => !symbol.Contains("attach", StringComparison.Ordinal))
            .Append("t arm_smmu_attach_dev\t[arm_smmu_v3]").Append("t viommu_attach_dev").Append("t viommu_attach_dev")
            .Select(static symbol => $"ffffffff81000000 {symbol}\n")));

        Invoke("record", "--dry-run").ShouldBe(0);

        _out.ToString().ShouldContain("ioasis_attach_arm_smmu_attach_dev arm_smmu_v3:arm_smmu_attach_dev domain=");
        _out.ToString().ShouldNotContain("viommu");
    }

    [Theory]
    [InlineData("5.4.0-200-generic", true)]
    [InlineData("5.10.0-30-amd64", false)]
    public void What_a_kernel_cannot_tell_is_a_note(string release, bool isNoted)
    {
        _kernel.Add("proc/sys/kernel/osrelease", release + "\n");
        _kernel.Add("sys/class/iommu/ivhd0/amd-iommu/cap", "1");

        Invoke("record", "--dry-run").ShouldBe(0);

        _out.ToString().Contains("AMD's IOMMU has no trace events", StringComparison.Ordinal).ShouldBe(isNoted);
    }

    [Fact]
    public void The_main_buffer_of_tracing_grows_before_the_size_of_another_forbids_it_to()
    {
        _kernel.Add($"{FakeKernel.Tracing}/buffer_size_kb", "7 (expanded: 1408)");

        Invoke("record", "-o", Path.Combine(_folder, "x"), "--duration", "0.1").ShouldBe(0);

        int size = Index("buffer_size_kb");
        Index("iommu/attach_device_to_domain/enable").ShouldBeInRange(1, size - 1);
        _kernel.Changes.Count(static change => change.StartsWith("1 >", StringComparison.Ordinal)
            && change.EndsWith("iommu/attach_device_to_domain/enable", StringComparison.Ordinal)).ShouldBe(1);
        int Index(string end) => _kernel.Changes.ToList().FindIndex(change => change.EndsWith(end, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("--duration", "0")]
    [InlineData("--duration", "-1")]
    [InlineData("--duration", "NaN")]
    [InlineData("--duration", "5", "--", "true")]
    [InlineData("--buffer", "0")]
    [InlineData("-o", "-", "--", "true")]
    [InlineData("-o", "/nowhere/at/all")]
    public void Mistakes_of_usage_change_nothing(params string[] args)
    {
        Invoke(["record", .. args]).ShouldBe(2);

        _error.ToString().ShouldNotBeEmpty();
        _kernel.Changes.ShouldBeEmpty();
    }

    [Fact]
    public void Clean_removes_what_a_killed_recorder_left()
    {
        string[] before = _kernel.State();
        _kernel.MakeFolder($"{FakeKernel.Tracing}/instances/ioasis-99-1");

        Invoke("record", "--clean").ShouldBe(0);

        _error.ToString().ShouldContain("ioasis-99-1");
        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void Values_of_the_command_line_that_name_hosts_users_or_secrets_are_left_out() =>
        Machine.CommandLine("root=UUID=1 rd.luks.key=/k console=ttyS0 ip=dhcp keymap=de systemd.hostname=a hostname=b iommu.passthrough=0 user=x")
            .ShouldBe("root=UUID=1 rd.luks.key=… console=ttyS0 ip=… keymap=de systemd.hostname=… hostname=… iommu.passthrough=0 user=…");

    private string Refused()
    {
        Invoke("record", "-o", Path.Combine(_folder, "refused"), "--duration", "0.1").ShouldBe(2);
        File.Exists(Path.Combine(_folder, "refused")).ShouldBeFalse();
        return _error.ToString();
    }

    private int Invoke(params string[] args)
    {
        CliEnvironment environment = new()
        {
            Out = _out,
            Error = _error,
            OpenOut = static () => new MemoryStream(),
            ColourOut = false,
            ErrorIsTerminal = false,
        };
        return CommandLine.Invoke(args, environment, openTracing: _ => _kernel);
    }
}
