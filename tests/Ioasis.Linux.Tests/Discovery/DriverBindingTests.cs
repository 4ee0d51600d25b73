using Ioasis.Linux.Discovery;
using Ioasis.Primitives;

namespace Ioasis.Linux.Tests.Discovery;

/// <summary>Giving devices to vfio-pci and back.</summary>
public class DriverBindingTests
{
    private const string Nvme = "0000:00:02.0";

    [Fact]
    public void A_plan_changes_nothing_and_its_writes_give_the_device_away_and_back()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        BindingPlan plan = Plan(tree, Nvme, DriverBinding.VfioPci);
        plan.Steps.Select(static step => (step.Path, step.Text)).ShouldBe(
        [
            ($"/sys/bus/pci/devices/{Nvme}/driver_override", "vfio-pci"),
            ($"/sys/bus/pci/devices/{Nvme}/driver/unbind", Nvme),
            ("/sys/bus/pci/drivers_probe", Nvme),
        ]);
        plan.Warnings.ShouldHaveSingleItem().ShouldContain("nvme loses it");
        tree.Writes.ShouldBeEmpty();
        DriverOf(tree, Nvme).ShouldBe("nvme");

        DriverBinding.Apply(tree, plan, out string? problem).ShouldBe(Errno.Success, problem);
        DriverOf(tree, Nvme).ShouldBe("vfio-pci");
        tree.Writes.Select(static write => write.Text).ShouldBe(["vfio-pci\n", $"{Nvme}\n", $"{Nvme}\n"]);
        Plan(tree, Nvme, DriverBinding.VfioPci).Steps.ShouldBeEmpty();

        BindingPlan back = Plan(tree, Nvme, null);
        back.Steps.Select(static step => step.Text).ShouldBe(["", Nvme, Nvme]);
        DriverBinding.Apply(tree, back, out problem).ShouldBe(Errno.Success, problem);
        DriverOf(tree, Nvme).ShouldBe("nvme");
        Plan(tree, Nvme, null).Steps.ShouldBeEmpty();
    }

    // Behind a volume-management controller domains begin at 0x10000; clouds number them by a hash of 16 bits.
    [Theory]
    [InlineData("10000:01:00.0")]
    [InlineData("3f7a:00:00.0")]
    [InlineData("00ff:00:00.0")]
    public void A_device_in_a_domain_of_any_number_is_bound_like_another(string name)
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        tree.AddDevice(name, "8", "0x8086", "0x0a54", "0x010802", "nvme");
        BindingPlan plan = Plan(tree, name, DriverBinding.VfioPci);
        plan.Steps.Count.ShouldBe(3);
        DriverBinding.Apply(tree, plan, out string? problem).ShouldBe(Errno.Success, problem);
        DriverOf(tree, name).ShouldBe("vfio-pci");
        LinuxPlatform.Discover(tree).TryFind("0" + name.ToUpperInvariant(), out LinuxDevice? found, out _).ShouldBeTrue();
        found!.Id!.Value.ToString().ShouldBe(name);
    }

    [Fact]
    public void A_device_without_driver_is_not_taken_from_one()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        BindingPlan plan = Plan(tree, "00:05.0", DriverBinding.VfioPci);
        plan.Steps.Count.ShouldBe(2);
        plan.Warnings.ShouldBeEmpty();
        DriverBinding.Apply(tree, plan, out _).ShouldBe(Errno.Success);
        DriverOf(tree, "0000:00:05.0").ShouldBe("vfio-pci");
    }

    [Fact]
    public void The_rest_of_the_group_is_named_if_the_kernel_has_it()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        tree.Write("/sys/bus/pci/devices/0000:00:1f.2/driver_override", "ahci\n");
        tree.Write("/sys/bus/pci/drivers_probe", "0000:00:1f.2\n");
        Plan(tree, "00:1f.3", DriverBinding.VfioPci).Warnings.ShouldHaveSingleItem().ShouldContain("Group 8 cannot be used while kernel drivers have 0000:00:1f.2 (ahci)");
    }

    [Theory]
    [InlineData("00:1e.0", "vfio-pci", "no device '00:1e.0'")]
    [InlineData("00:02.0", "uio", "modprobe uio")]
    [InlineData("00:06.0", "vfio-pci", "is a bridge")]
    public void What_cannot_be_bound_is_refused_with_a_reason(string name, string driver, string says)
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        tree.AddFile("sys/devices/pci0000:00/0000:00:06.0/class", "0x060400\n");
        DriverBinding.TryPlan(tree, LinuxPlatform.Discover(tree), name, driver, out BindingPlan? plan, out string? problem)
            .ShouldBeFalse();
        plan.ShouldBeNull();
        problem!.ShouldContain(says);
    }

    [Theory]
    [InlineData("driver_override", Errno.AccessDenied, 1, "this needs root")]
    [InlineData("unbind", Errno.Busy, 2, "take it from nvme")]
    [InlineData("drivers_probe", Errno.InvalidArgument, 3, "let a driver take it")]
    public void A_write_that_fails_ends_it_and_is_named(string file, Errno error, int writes, string says)
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        BindingPlan plan = Plan(tree, Nvme, DriverBinding.VfioPci);
        tree.Failing[file] = error;
        DriverBinding.Apply(tree, plan, out string? problem).ShouldBe(error);
        problem!.ShouldContain(says);
        tree.Writes.Count.ShouldBe(writes);
    }

    [Fact]
    public void A_driver_that_does_not_take_the_device_is_noticed()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        BindingPlan plan = Plan(tree, Nvme, DriverBinding.VfioPci) with { Steps = [] };
        DriverBinding.Apply(tree, plan, out string? problem).ShouldBe(Errno.NoDevice);
        problem!.ShouldContain("has the driver nvme now, not vfio-pci");
    }

    [Fact]
    public void Errors_of_the_kernels_files_keep_their_numbers()
    {
        using RecordedTree tree = RecordedTree.Empty();
        Sysfs plain = new("/");
        plain.Write("/dev/full", "x").ShouldBe(Errno.NoSpace);
        plain.Write("/sys/no/such/file", "x").ShouldBe(Errno.NoEntry);
        plain.TryRead("/no/such/file").ShouldBeNull();
        plain.List("/no/such/folder").ShouldBeEmpty();
    }

    private static BindingPlan Plan(RecordedTree tree, string name, string? driver)
    {
        DriverBinding.TryPlan(tree, LinuxPlatform.Discover(tree), name, driver, out BindingPlan? plan, out string? problem)
            .ShouldBeTrue(problem);
        return plan!;
    }

    private static string? DriverOf(RecordedTree tree, string name) => tree.TryReadLinkName($"sys/bus/pci/devices/{name}/driver");
}
