using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Descriptors: duplicates, closes in any order, and what lives on.</summary>
internal static class DescriptorCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("descriptor-container-closes-first", "S1.15", CaseNeeds.Container, ContainerClosesFirst),
        new("descriptor-group-closes-before-device", "S1.15", CaseNeeds.Container, GroupClosesBeforeDevice),
        new("descriptor-duplicates", "S1.15", CaseNeeds.Container, Duplicates),
        new("descriptor-mappings-go-with-the-container", "S1.15", CaseNeeds.Container, MappingsGo),
        new("descriptor-paths", "S1.15", CaseNeeds.None, Paths),
        new("descriptor-iommufd-duplicates", "S1.15", CaseNeeds.Iommufd, IommufdDuplicates),
    ];

    private static void ContainerClosesFirst(CaseContext c)
    {
        (int container, int group) = Prepare(c);
        int device = GetDevice(c, group, c.Target.DeviceName!);
        _ = c.Note("close-container", c.Close(container));
        _ = c.Note("map", Map(c, container, 0x10000, Iova, 4096));
        NoteStatus(c, "status", group);
        VfioDeviceInfo info = new() { Argsz = 24 };
        _ = c.Note("device-lives", c.Call(device, VfioRequests.DeviceGetInfo, ref info));
        _ = c.Note("open-group-again", c.Open(c.Target.GroupPath));
        _ = c.Note("close-device", c.Close(device));
        _ = c.Note("unset", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        NoteStatus(c, "status-then", group);
    }

    private static void GroupClosesBeforeDevice(CaseContext c)
    {
        (int container, int group) = Prepare(c);
        int device = GetDevice(c, group, c.Target.DeviceName!);
        _ = c.Note("close-group", c.Close(group));
        int again = c.Open(c.Target.GroupPath);
        _ = c.Note("open-again-while-device-lives", Math.Min(again, 0));
        VfioDeviceInfo info = new() { Argsz = 24 };
        _ = c.Note("device-lives", c.Call(device, VfioRequests.DeviceGetInfo, ref info));
        ClientPages memory = c.Pages(1);
        _ = c.Note("container-lives", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("close-device", c.Close(device));
        int then = c.Open(c.Target.GroupPath);
        _ = c.Note("open-then", Math.Min(then, 0));
        _ = c.Note("container-then", Map(c, container, memory.Address, Iova + 8192, 4096));
    }

    private static void Duplicates(CaseContext c)
    {
        (int container, int group) = Prepare(c);
        int other = c.Own(c.Kernel.Dup(container));
        _ = c.Note("dup-container", Math.Min(other, 0));
        _ = c.Note("close-container", c.Close(container));
        ClientPages memory = c.Pages(1);
        _ = c.Note("map-by-duplicate", Map(c, other, memory.Address, Iova, 4096));
        int otherGroup = c.Own(c.Kernel.Dup(group));
        _ = c.Note("dup-group", Math.Min(otherGroup, 0));
        _ = c.Note("close-group", c.Close(group));
        NoteStatus(c, "status-by-duplicate", otherGroup);
        _ = c.Note("open-group-while-duplicate-lives", c.Open(c.Target.GroupPath));
        _ = c.Note("close-duplicate", c.Close(otherGroup));
        _ = c.Note("map-without-group", Map(c, other, memory.Address, Iova + 8192, 4096));
        _ = c.Note("close-again", c.Kernel.Close(otherGroup));
        _ = c.Note("dup-of-closed", c.Kernel.Dup(otherGroup));
    }

    private static void MappingsGo(CaseContext c)
    {
        ClientPages memory = c.Pages(2);
        for (int round = 0; round < 3; round++)
        {
            (int container, int group) = Prepare(c);
            NoteAvailable(c, "available", container);
            _ = c.Note("map", Map(c, container, memory.Address, Iova, 8192));
            _ = c.Note("close-group", c.Close(group));
            _ = c.Note("close-container", c.Close(container));
        }
    }

    private static void Paths(CaseContext c)
    {
        _ = c.Note("no-such-group", c.Open("/dev/vfio/9999"));
        _ = c.Note("no-such-device", c.Open("/dev/vfio/devices/vfio9999"));
        _ = c.Note("empty", c.Open(string.Empty));
        _ = c.Note("close-minus-1", c.Kernel.Close(-1));
        _ = c.Note("close-9999", c.Kernel.Close(9999));
        _ = c.Note("ioctl-9999", c.Kernel.Ioctl(9999, VfioRequests.GetApiVersion, 0));
        _ = c.Note("dup-9999", c.Kernel.Dup(9999));
    }

    private static void IommufdDuplicates(CaseContext c)
    {
        int iommu = c.Open("/dev/iommu");
        IommuIoasAlloc alloc = default;
        _ = c.Note("alloc", c.Call(iommu, ref alloc));
        int other = c.Own(c.Kernel.Dup(iommu));
        _ = c.Note("close", c.Close(iommu));
        IommuDestroy destroy = new() { Id = alloc.OutIoasId };
        _ = c.Note("destroy-by-duplicate", c.Call(other, ref destroy));
        _ = c.Note("destroy-again", c.Call(other, ref destroy));
        _ = c.Note("close-duplicate", c.Close(other));
        _ = c.Note("destroy-by-closed", c.Call(other, ref destroy));
        int fresh = c.Open("/dev/iommu");
        alloc = default;
        _ = c.Note("alloc-in-another", c.Call(fresh, ref alloc));
        _ = c.Note("read", (int)c.Kernel.Read(fresh, new byte[8]));
        _ = c.Note("write", (int)c.Kernel.Write(fresh, new byte[8]));
    }
}
