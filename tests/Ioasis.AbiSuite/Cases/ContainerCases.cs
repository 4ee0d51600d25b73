using System.Globalization;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Containers: what they answer before and after a kind of IOMMU is chosen.</summary>
internal static class ContainerCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("container-empty", "S3.8", CaseNeeds.Container, Empty),
        new("container-extensions", "S3.8", CaseNeeds.Container, Extensions),
        new("container-open-order", "S3.4", CaseNeeds.Container, OpenOrder),
        new("container-unknown-calls", "S3.8", CaseNeeds.Container, UnknownCalls),
        new("container-last-group-leaves", "S3.4", CaseNeeds.Container, LastGroupLeaves),
        new("container-two-groups", "S3.1", CaseNeeds.Container | CaseNeeds.SecondGroup, TwoGroups),
    ];

    private static void Empty(CaseContext c)
    {
        int container = c.Open(c.ContainerPath);
        _ = c.Note("open", Math.Min(container, 0));
        _ = c.Note("api-version", c.Kernel.Ioctl(container, VfioRequests.GetApiVersion, 0));
        _ = c.Note("map", Map(c, container, 0x10000, Iova, 4096));
        NoteUnmap(c, "unmap", container, Iova, 4096);
        byte[] buffer = new byte[128];
        _ = c.Note("get-info", GetInfo(c, container, 128, buffer));
        _ = c.Note("set-iommu-v2", SetIommu(c, container, VfioExtension.Type1V2));
        _ = c.Note("set-iommu-v1", SetIommu(c, container, VfioExtension.Type1));
        _ = c.Note("set-iommu-99", SetIommu(c, container, (VfioExtension)99));
        _ = c.Note("group-call", c.Kernel.Ioctl(container, VfioRequests.GroupGetStatus, new byte[8]));
        _ = c.Note("device-call", c.Kernel.Ioctl(container, VfioRequests.DeviceGetInfo, new byte[64]));
        _ = c.Note("not-of-vfio", c.Kernel.Ioctl(container, 0x5401, new byte[4]));
        _ = c.Note("read", (int)c.Kernel.Read(container, new byte[8]));
        _ = c.Note("write", (int)c.Kernel.Write(container, new byte[8]));
    }

    private static void Extensions(CaseContext c)
    {
        int container = c.Open(c.ContainerPath);
        NoteAll("empty");
        int group = c.Open(c.Target.GroupPath);
        _ = c.Note("set-container", SetContainer(c, group, container));
        NoteAll("with-group");
        _ = c.Note("set-iommu", SetIommu(c, container, VfioExtension.Type1));
        NoteAll("type1");

        void NoteAll(string label)
        {
            foreach (int extension in (int[])[.. Enumerable.Range(0, 16), 99, -1])
            {
                // Whether DMA is coherent is a property of the machine, not of the ABI.
                if (extension != (int)VfioExtension.CoherentDma)
                {
                    _ = c.Note(
                        string.Create(CultureInfo.InvariantCulture, $"{label}-{extension}"),
                        c.Kernel.Ioctl(container, VfioRequests.CheckExtension, extension));
                }
            }
        }
    }

    private static void OpenOrder(CaseContext c)
    {
        int container = c.Open(c.ContainerPath);
        int group = c.Open(c.Target.GroupPath);
        _ = c.Note("open-group-again", c.Open(c.Target.GroupPath));
        NoteStatus(c, "status-alone", group);
        _ = c.Note("unset-alone", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        _ = c.Note("device-alone", GetDevice(c, group, c.Target.DeviceName!));
        _ = c.Note("container-minus-1", SetContainer(c, group, -1));
        _ = c.Note("container-closed", SetContainer(c, group, 9999));
        _ = c.Note("container-group", SetContainer(c, group, group));
        _ = c.Note("set-container", SetContainer(c, group, container));
        _ = c.Note("set-container-again", SetContainer(c, group, container));
        NoteStatus(c, "status-set", group);
        _ = c.Note("device-before-iommu", Math.Min(GetDevice(c, group, c.Target.DeviceName!), 0));
        _ = c.Note("set-iommu-0", SetIommu(c, container, 0));
        _ = c.Note("set-iommu-2", SetIommu(c, container, (VfioExtension)2));
        _ = c.Note("set-iommu-nesting", SetIommu(c, container, (VfioExtension)6));
        _ = c.Note("set-iommu-noiommu", SetIommu(c, container, (VfioExtension)8));
        _ = c.Note("set-iommu-unmap-all", SetIommu(c, container, VfioExtension.UnmapAll));
        _ = c.Note("set-iommu-99", SetIommu(c, container, (VfioExtension)99));
        _ = c.Note("set-iommu", SetIommu(c, container, VfioExtension.Type1V2));
        _ = c.Note("set-iommu-again", SetIommu(c, container, VfioExtension.Type1V2));
        _ = c.Note("set-iommu-other", SetIommu(c, container, VfioExtension.Type1));
        int device = GetDevice(c, group, c.Target.DeviceName!);
        _ = c.Note("device", Math.Min(device, 0));
        _ = c.Note("unset-with-device", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        _ = c.Note("close-device", c.Close(device));
        _ = c.Note("unset", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        NoteStatus(c, "status-unset", group);
    }

    private static void UnknownCalls(CaseContext c)
    {
        (int container, _) = Prepare(c);
        uint[] requests =
        [
            VfioRequests.GroupGetStatus, VfioRequests.GroupSetContainer, VfioRequests.DeviceGetInfo,
            VfioRequests.DeviceReset, VfioRequests.IommuEnable, VfioRequests.IommuDisable,
            VfioRequests.DeviceBindIommufd, VfioRequests.DeviceAttachIommufdPt, VfioRequests.DeviceDetachIommufdPt,
            0x3b80, 0x3b00, 0x5401, 0,
        ];
        foreach (uint request in requests)
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"0x{request:x}"), c.Kernel.Ioctl(container, request, argument));
        }

        _ = c.Note("read", (int)c.Kernel.Read(container, new byte[8]));
        _ = c.Note("write", (int)c.Kernel.Write(container, new byte[8]));
    }

    private static void LastGroupLeaves(CaseContext c)
    {
        (int container, int group) = Prepare(c);
        ClientPages memory = c.Pages(1);
        _ = c.Note("map", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("unset", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        NoteStatus(c, "status", group);
        _ = c.Note("map-without-group", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("set-iommu-without-group", SetIommu(c, container, VfioExtension.Type1));
        _ = c.Note("set-container-again", SetContainer(c, group, container));
        _ = c.Note("map-before-iommu", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("set-iommu-other-kind", SetIommu(c, container, VfioExtension.Type1));
        NoteAvailable(c, "available", container);
        _ = c.Note("map-again", Map(c, container, memory.Address, Iova, 4096));
        NoteAvailable(c, "available-after-map", container);
        _ = c.Note("close-group", c.Close(group));
        _ = c.Note("map-after-close", Map(c, container, memory.Address, Iova, 4096));
        group = c.Open(c.Target.GroupPath);
        _ = c.Note("open-again", Math.Min(group, 0));
        _ = c.Note("set-container-third", SetContainer(c, group, container));
    }

    private static void TwoGroups(CaseContext c)
    {
        (int container, int group) = Prepare(c);
        int second = c.Open(c.Target.SecondGroupPath);
        _ = c.Note("open-second", Math.Min(second, 0));
        _ = c.Note("device-of-other-group", GetDevice(c, group, c.Target.SecondDeviceName!));
        _ = c.Note("set-second", SetContainer(c, second, container));
        NoteStatus(c, "status-second", second);
        int device = GetDevice(c, second, c.Target.SecondDeviceName!);
        _ = c.Note("device-second", Math.Min(device, 0));
        ClientPages memory = c.Pages(2);
        _ = c.Note("map", Map(c, container, memory.Address, Iova, 8192));
        _ = c.Note("unset-first", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        NoteAvailable(c, "available", container);
        _ = c.Note("set-first-again", SetContainer(c, group, container));
        NoteUnmap(c, "unmap", container, Iova, 8192);
        int other = c.Open(c.ContainerPath);
        _ = c.Note("set-into-another", SetContainer(c, second, other));
        _ = c.Note("close-device", c.Close(device));
        _ = c.Note("unset-second", c.Kernel.Ioctl(second, VfioRequests.GroupUnsetContainer, 0));
        _ = c.Note("set-into-another-then", SetContainer(c, second, other));
        _ = c.Note("set-iommu-another", SetIommu(c, other, VfioExtension.Type1));
        NoteStatus(c, "status-second-then", second);
    }
}
