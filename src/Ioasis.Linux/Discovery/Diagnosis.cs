namespace Ioasis.Linux.Discovery;

/// <summary>
/// Why a machine has no groups, or none that a program can use, in sentences that say what to do. It follows the order in which
/// a kernel gets there: firmware, kernel command line, driver, VFIO.
/// </summary>
internal static class Diagnosis
{
    // ACPI tables that describe IOMMUs, each of one architecture or of a virtual machine.
    private static readonly (string Table, string What)[] AcpiTables =
    [
        ("DMAR", "an Intel IOMMU"), ("IVRS", "an AMD IOMMU"), ("IORT", "an Arm SMMU"), ("RIMT", "a RISC-V IOMMU"),
        ("VIOT", "a virtio IOMMU"),
    ];

    public static IReadOnlyList<string> Hints(
        Sysfs sysfs, IReadOnlyList<LinuxIommu> iommus, IReadOnlyList<LinuxIommuGroup> groups)
    {
        if (!sysfs.Exists("sys/kernel"))
        {
            return ["There is no sysfs here (/sys): in a container, mount it; elsewhere, this is not a running Linux."];
        }

        return groups.Count == 0 ? WithoutGroups(sysfs, iommus) : WithGroups(sysfs, groups);
    }

    private static List<string> WithoutGroups(Sysfs sysfs, IReadOnlyList<LinuxIommu> iommus)
    {
        List<string> hints = [];
        string[] words = (sysfs.TryRead("proc/cmdline") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string? off = words.FirstOrDefault(static word => word is "iommu=off" or "intel_iommu=off" or "amd_iommu=off");
        if (off is not null)
        {
            hints.Add($"The kernel's command line switches IOMMUs off: take '{off}' out and boot again.");
        }

        (string Table, string What)[] found =
        [
            .. AcpiTables.Where(entry => sysfs.Exists($"sys/firmware/acpi/tables/{entry.Table}")),
        ];
        bool hasDeviceTree = sysfs.Exists("sys/firmware/devicetree/base");
        if (found.Length > 0)
        {
            string tables = string.Join(" and ", found.Select(static entry => $"{entry.What} (ACPI {entry.Table})"));
            hints.Add($"The firmware describes {tables}, but the kernel uses none.");
            if (off is null && found.Any(static entry => entry.Table is "DMAR") && !words.Any(static word => word.StartsWith("intel_iommu=", StringComparison.Ordinal)))
            {
                hints.Add("Some kernels leave Intel's IOMMU off by default: add 'intel_iommu=on' to the kernel's command line.");
            }

            hints.Add("The kernel's log says what it did: dmesg | grep -i -e iommu -e dmar -e amd-vi -e smmu.");
        }
        else if (!hasDeviceTree)
        {
            hints.Add(
                "The firmware describes no IOMMU (no ACPI table DMAR, IVRS, IORT, RIMT or VIOT): switch it on in the firmware's setup "
                + "(VT-d, AMD-Vi, IOMMU, SMMU), or give the virtual machine one (QEMU: -device intel-iommu, riscv-iommu-pci, virtio-iommu-pci).");
        }
        else
        {
            hints.Add("The device tree may describe an IOMMU that the kernel has no driver for: see dmesg, and CONFIG_*_IOMMU of the kernel.");
        }

        if (iommus.Count > 0)
        {
            hints.Add($"There are IOMMUs ({string.Join(", ", iommus.Select(static iommu => iommu.Name))}), but no device is behind any.");
        }

        return hints;
    }

    private static List<string> WithGroups(Sysfs sysfs, IReadOnlyList<LinuxIommuGroup> groups)
    {
        List<string> hints = [];
        if (!sysfs.Exists("sys/bus/pci/drivers/vfio-pci") && groups.Any(static group => group.Devices.Any(static device => device.Bus is "pci")))
        {
            hints.Add("The driver that hands devices to programs is not loaded: modprobe vfio-pci.");
        }

        if (!sysfs.Exists("dev/iommu") && !sysfs.Exists("dev/vfio/vfio"))
        {
            hints.Add("There is neither /dev/iommu nor /dev/vfio/vfio: modprobe iommufd, or modprobe vfio_iommu_type1.");
        }

        if (groups.All(static group => group.Type is "identity"))
        {
            hints.Add(
                "Every group passes addresses untranslated (iommu.passthrough=1, or a kernel that has no DMA domains): the IOMMU protects "
                + "nothing from devices with kernel drivers. Programs that take a device get translation all the same.");
        }

        return hints;
    }
}
