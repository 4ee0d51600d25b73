using System.Globalization;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Groups and the devices that come from them.</summary>
internal static class GroupCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("group-status-argsz", "S3.8", CaseNeeds.Container, StatusArgsz),
        new("group-device-names", "S3.4", CaseNeeds.Container, DeviceNames),
        new("group-unknown-calls", "S3.4", CaseNeeds.Container, UnknownCalls),
        new("device-info-argsz", "S1.11", CaseNeeds.Container, DeviceInfo),
        new("device-unknown-calls", "S1.11", CaseNeeds.Container, DeviceUnknownCalls),
    ];

    private static void StatusArgsz(CaseContext c)
    {
        int group = c.Open(c.Target.GroupPath);
        foreach (uint argsz in (uint[])[0, 4, 7, 8, 9, 64, uint.MaxValue])
        {
            VfioGroupStatus status = new() { Argsz = argsz, Flags = (VfioGroupFlags)0xffff };
            int result = c.Call(group, VfioRequests.GroupGetStatus, ref status);
            _ = c.Note(ContainerMapCases.Label("argsz", argsz), result, (ulong)status.Flags);
        }

        _ = c.Note("truncated", c.Kernel.Ioctl(group, VfioRequests.GroupGetStatus, new byte[4]));
    }

    private static void DeviceNames(CaseContext c)
    {
        (_, int group) = Prepare(c);
        _ = c.Note("nobody", GetDevice(c, group, "nobody"));
        _ = c.Note("empty", GetDevice(c, group, string.Empty));
        _ = c.Note("prefix", GetDevice(c, group, c.Target.DeviceName![..^1]));
        _ = c.Note("longer", GetDevice(c, group, c.Target.DeviceName + "0"));
        _ = c.Note("null", c.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, 0));
        int first = GetDevice(c, group, c.Target.DeviceName!);
        int second = GetDevice(c, group, c.Target.DeviceName!);
        _ = c.Note("first", Math.Min(first, 0));
        _ = c.Note("second", Math.Min(second, 0));
        _ = c.Note("close-first", c.Close(first));
        _ = c.Note("unset-with-second", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
        _ = c.Note("close-second", c.Close(second));
        _ = c.Note("unset", c.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));
    }

    private static void UnknownCalls(CaseContext c)
    {
        int group = c.Open(c.Target.GroupPath);
        foreach (uint request in (uint[])[VfioRequests.GetApiVersion, VfioRequests.IommuGetInfo, VfioRequests.DeviceGetInfo, VfioRequests.DeviceBindIommufd, 0x3b80, 0x5401, 0])
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"0x{request:x}"), c.Kernel.Ioctl(group, request, argument));
        }

        _ = c.Note("read", (int)c.Kernel.Read(group, new byte[8]));
        _ = c.Note("write", (int)c.Kernel.Write(group, new byte[8]));
    }

    private static void DeviceInfo(CaseContext c)
    {
        (_, int group) = Prepare(c);
        int device = GetDevice(c, group, c.Target.DeviceName!);
        for (uint argsz = 0; argsz <= 40; argsz++)
        {
            byte[] buffer = new byte[64];
            buffer.AsSpan().Fill(0xa5);
            _ = BitConverter.TryWriteBytes(buffer, argsz);
            int result = c.Kernel.Ioctl(device, VfioRequests.DeviceGetInfo, buffer);
            _ = c.Note(ContainerMapCases.Label("argsz", argsz), result, buffer, 0xa5);
        }

        _ = c.Note("truncated", c.Kernel.Ioctl(device, VfioRequests.DeviceGetInfo, new byte[8]));
    }

    private static void DeviceUnknownCalls(CaseContext c)
    {
        (_, int group) = Prepare(c);
        int device = GetDevice(c, group, c.Target.DeviceName!);
        foreach (uint request in (uint[])
            [VfioRequests.GetApiVersion, VfioRequests.IommuGetInfo, VfioRequests.IommuMapDma, VfioRequests.GroupGetStatus,
             VfioRequests.DeviceBindIommufd, VfioRequests.DeviceAttachIommufdPt, VfioRequests.DeviceDetachIommufdPt, 0x3b80, 0x5401, 0])
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"0x{request:x}"), c.Kernel.Ioctl(device, request, argument));
        }
    }
}
