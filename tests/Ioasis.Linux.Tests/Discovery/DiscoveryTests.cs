using System.Globalization;
using Ioasis.Linux.Discovery;
using Ioasis.Primitives;

namespace Ioasis.Linux.Tests.Discovery;

/// <summary>What discovery says of machines that were recorded, and of machines that have nothing to discover.</summary>
public class DiscoveryTests
{
    public static TheoryData<string> Machines { get; } = [.. RecordedTree.Machines];

    [Theory]
    [MemberData(nameof(Machines))]
    public void Every_group_device_and_region_that_was_recorded_is_found_and_no_other(string machine)
    {
        using RecordedTree tree = RecordedTree.Of(machine);
        var platform = LinuxPlatform.Discover(tree);
        List<string> lines = [];
        foreach (LinuxIommuGroup group in platform.Groups)
        {
            lines.Add($"group {group.Number} type {group.Type}");
            lines.AddRange(group.Devices.Select(static d =>
                $"  device {d.Name} vendor=0x{d.Vendor:x4} device=0x{d.Product:x4} class=0x{d.Class:x6} driver={d.Driver}"));
            lines.AddRange(group.ReservedRegions.Select(static r =>
                $"  reserved 0x{r.Range.Start:x16} 0x{r.Range.Last:x16} {Word(r.Kind)}"));
        }

        lines.ShouldBe(RecordedTree.LinesOf(machine).Where(static line => line.StartsWith("group", StringComparison.Ordinal)
            || line.StartsWith("  device", StringComparison.Ordinal) || line.StartsWith("  reserved", StringComparison.Ordinal)));
        LinuxIommu iommu = platform.Iommus.ShouldHaveSingleItem();
        iommu.Devices.Order(StringComparer.Ordinal)
            .ShouldBe(platform.Groups.SelectMany(static g => g.Devices).Select(static d => d.Name).Order(StringComparer.Ordinal));
        platform.Groups.SelectMany(static g => g.Devices).ShouldAllBe(d => d.Iommu == iommu.Name && d.Bus == "pci" && d.Id != null);
        platform.Groups.ShouldAllBe(g => g.Devices.All(d => d.Group == g.Number));
        platform.Hints.ShouldBeEmpty();
    }

    [Fact]
    public void A_device_is_found_by_its_address_once_a_VFIO_driver_has_it()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        LinuxDevice.FindVfioNode(tree, "0000:00:03.0", out string? path).ShouldBe(Errno.NoDevice);
        path.ShouldBeNull();
        tree.AddFolder("sys/bus/pci/devices/0000:00:03.0/vfio-dev/vfio7");
        LinuxDevice.FindVfioNode(tree, "0000:00:03.0", out path).ShouldBe(Errno.Success);
        path.ShouldBe("/dev/vfio/devices/vfio7");
        LinuxPlatform.Discover(tree).TryFind("0000:00:03.0", out LinuxDevice? device, out _).ShouldBeTrue();
        device!.VfioNode.ShouldBe(path);
    }

    [Theory]
    [InlineData("0000:77:03.0")]
    [InlineData("00:03.0")]
    [InlineData("../0000:00:03.0")]
    [InlineData("")]
    public void An_address_that_no_device_has_is_not_found(string address)
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        LinuxDevice.FindVfioNode(tree, address, out string? path).ShouldBe(Errno.NoEntry);
        path.ShouldBeNull();
        LinuxKernelAbi.Instance.FindDevice(address, out path).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    public void The_limit_of_an_Intel_IOMMU_is_read_from_its_capability_register()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        var platform = LinuxPlatform.Discover(tree);
        platform.Iommus[0].Attributes["intel-iommu/cap"].ShouldBe("80d2008c222f0606");
        platform.Iommus[0].AddressBits.ShouldBe(48);
        platform.Groups.ShouldAllBe(g => g.AddressBits == 48 && g.KnowsAddressBits);
        platform.Groups[2].UsableRanges().ShouldBe([new(0, 0xfedf_ffff), new(0xfef0_0000, 0xffff_ffff_ffff)]);

        // A region that is direct only until a driver comes is free; the others are not.
        platform.Groups[8].ReservedRegions.ShouldContain(r => r.Kind == LinuxReservedRegionKind.DirectRelaxable && r.Range.Start == 0);
        platform.Groups[8].UsableRanges().ShouldBe(platform.Groups[2].UsableRanges());
    }

    [Fact]
    public void Where_no_register_tells_the_limit_it_is_not_invented()
    {
        using RecordedTree tree = RecordedTree.Of("x86amd");
        LinuxIommuGroup group = LinuxPlatform.Discover(tree).Groups[0];
        group.KnowsAddressBits.ShouldBeFalse();
        group.UsableRanges().ShouldBe(
            [new(0, 0xfedf_ffff), new(0xfef0_0000, 0xfc_ffff_ffff), new(0x100_0000_0000, ulong.MaxValue)]);
    }

    [Theory]
    [InlineData("", "0-ffffffffffffffff")]
    [InlineData("0 ffffffffffffffff", "")]
    [InlineData("0 fff", "1000-ffffffffffffffff")]
    [InlineData("ffffffffffff0000 ffffffffffffffff", "0-fffffffffffeffff")]
    [InlineData("2000 2fff,1000 1fff,1800 27ff", "0-fff 3000-ffffffffffffffff")]
    [InlineData("1000 8fff,2000 2fff,9000 9fff", "0-fff a000-ffffffffffffffff")]
    public void Usable_is_what_no_region_covers_in_whatever_order_they_come(string regions, string usable)
    {
        LinuxIommuGroup group = new(1)
        {
            ReservedRegions =
            [
                .. regions.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(static pair => pair.Split(' '))
                    .Select(static ends => new LinuxReservedRegion(new(Hex(ends[0]), Hex(ends[1])), LinuxReservedRegionKind.Reserved)),
            ],
        };
        group.UsableRanges().Select(static r => $"{r.Start:x}-{r.Last:x}")
            .ShouldBe(usable.Split(' ', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void A_device_is_found_by_its_address_with_and_without_segment_and_in_either_case()
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        var platform = LinuxPlatform.Discover(tree);
        foreach (string name in (string[])["0000:00:1f.2", "00:1f.2", "00:1F.2"])
        {
            platform.TryFind(name, out LinuxDevice? device, out LinuxIommuGroup? group).ShouldBeTrue();
            device!.Name.ShouldBe("0000:00:1f.2");
            group!.Number.ShouldBe(8);
        }

        platform.TryFind("00:1e.0", out _, out _).ShouldBeFalse();
    }

    [Fact]
    public void A_damaged_tree_gives_what_can_be_read()
    {
        using RecordedTree tree = RecordedTree.Of("rv");
        tree.AddFolder("sys/kernel/iommu_groups/not-a-number");
        tree.AddFile("sys/kernel/iommu_groups/1/reserved_regions", "nonsense\n0x5 0x1 msi\n0x1000 0x1fff new-word\n0xzz 0x1 msi\n");
        tree.Remove("sys/kernel/iommu_groups/2/type");
        tree.AddFile("sys/devices/pci0000:00/0000:00:03.0/vendor", "what?\n");
        var platform = LinuxPlatform.Discover(tree);
        platform.Groups.Count.ShouldBe(7);
        platform.Groups[1].ReservedRegions.ShouldBe([new(new(0x1000, 0x1fff), LinuxReservedRegionKind.Other)]);
        platform.Groups[2].Type.ShouldBeNull();
        platform.Groups[2].Devices[0].Vendor.ShouldBeNull();
    }

    [Theory]
    [InlineData("", "", "There is no sysfs")]
    [InlineData("sys/kernel/x", "", "The firmware describes no IOMMU")]
    [InlineData("sys/kernel/x sys/firmware/acpi/tables/DMAR", "", "intel_iommu=on")]
    [InlineData("sys/kernel/x sys/firmware/acpi/tables/DMAR", "quiet intel_iommu=off", "take 'intel_iommu=off' out")]
    [InlineData("sys/kernel/x sys/firmware/acpi/tables/IVRS", "iommu=off", "take 'iommu=off' out")]
    [InlineData("sys/kernel/x sys/firmware/acpi/tables/IVRS", "", "an AMD IOMMU (ACPI IVRS), but the kernel uses none")]
    [InlineData("sys/kernel/x sys/firmware/devicetree/base/x", "", "The device tree may describe")]
    [InlineData("sys/kernel/x sys/class/iommu/dmar0/x", "", "There are IOMMUs (dmar0), but no device is behind any")]
    public void A_machine_without_groups_is_told_what_to_check(string files, string commandLine, string says)
    {
        using RecordedTree tree = RecordedTree.Empty();
        foreach (string file in files.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            tree.AddFile(file, "");
        }

        if (files.Length > 0)
        {
            tree.AddFile("proc/cmdline", commandLine);
        }

        var platform = LinuxPlatform.Discover(tree);
        platform.Groups.ShouldBeEmpty();
        string.Join('\n', platform.Hints).ShouldContain(says);
    }

    [Theory]
    [InlineData("sys/bus/pci/drivers/vfio-pci", "modprobe vfio-pci")]
    [InlineData("dev/iommu", "neither /dev/iommu nor /dev/vfio/vfio")]
    public void A_machine_whose_groups_no_program_can_use_yet_is_told_why(string missing, string says)
    {
        using RecordedTree tree = RecordedTree.Of("x86");
        tree.Remove(missing);
        LinuxPlatform.Discover(tree).Hints.ShouldHaveSingleItem().ShouldContain(says);
    }

    [Fact]
    public void A_machine_that_passes_everything_through_is_told_what_that_means()
    {
        using RecordedTree tree = RecordedTree.Of("rv");
        for (int group = 0; group < 7; group++)
        {
            tree.AddFile($"sys/kernel/iommu_groups/{group}/type", "identity\n");
        }

        LinuxPlatform.Discover(tree).Hints.ShouldHaveSingleItem().ShouldContain("iommu.passthrough");
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static string Word(LinuxReservedRegionKind kind) =>
        kind == LinuxReservedRegionKind.DirectRelaxable ? "direct-relaxable" : kind.ToString().ToLowerInvariant();
}
