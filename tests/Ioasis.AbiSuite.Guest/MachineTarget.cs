using Ioasis.Uapi;

namespace Ioasis.AbiSuite.Guest;

/// <summary>Finds in sysfs by which nodes a machine offers devices that are bound to vfio-pci.</summary>
internal static class MachineTarget
{
    private const string Devices = "/sys/bus/pci/devices";

    public static SuiteTarget Find(IKernelAbi kernel, IReadOnlyList<string> devices)
    {
        string? first = devices.Count > 0 ? devices[0] : null;
        string? second = devices.Count > 1 ? devices[1] : null;
        SuiteTarget target = new(kernel)
        {
            DeviceName = first,
            GroupPath = Group(first),
            DevicePath = Node(first),
            SecondDeviceName = second,
            SecondGroupPath = Group(second),
            SecondDevicePath = Node(second),
        };
        return target with
        {
            Offers = (File.Exists("/dev/vfio/vfio") && target.GroupPath is not null ? CaseNeeds.Container : 0)
                | (target.SecondGroupPath is not null ? CaseNeeds.SecondGroup : 0)
                | (File.Exists("/dev/iommu") ? CaseNeeds.Iommufd | CaseNeeds.Compatibility : 0)
                | (target.DevicePath is not null ? CaseNeeds.DeviceNode : 0)
                | (IsEdu(first) ? CaseNeeds.Edu : 0),
        };
    }

    private static string? Group(string? device)
    {
        if (device is null || Directory.ResolveLinkTarget($"{Devices}/{device}/iommu_group", returnFinalTarget: true) is not { } link)
        {
            return null;
        }

        string path = $"/dev/vfio/{link.Name}";
        return File.Exists(path) ? path : null;
    }

    private static string? Node(string? device)
    {
        string folder = $"{Devices}/{device}/vfio-dev";
        return device is not null && Directory.Exists(folder)
            && Directory.EnumerateDirectories(folder).Select(Path.GetFileName).FirstOrDefault() is { } name
            && File.Exists($"/dev/vfio/devices/{name}")
            ? $"/dev/vfio/devices/{name}"
            : null;
    }

    private static bool IsEdu(string? device) =>
        device is not null
        && File.ReadAllText($"{Devices}/{device}/vendor").Trim() == "0x1234"
        && File.ReadAllText($"{Devices}/{device}/device").Trim() == "0x11e8";
}
