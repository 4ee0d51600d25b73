using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.IommufdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The rule of extensible arguments, for every call of <c>/dev/iommu</c>.</summary>
internal static class IommufdSizeCases
{
    // Call, oldest size, size in Linux 7.2 (include/uapi/linux/iommufd.h).
    private static readonly (string Name, uint Request, int Oldest, int Newest)[] Calls =
    [
        ("destroy", IommufdRequests.Destroy, 8, 8),
        ("ioas-alloc", IommufdRequests.IoasAlloc, 12, 12),
        ("ioas-allow-iovas", IommufdRequests.IoasAllowIovas, 24, 24),
        ("ioas-copy", IommufdRequests.IoasCopy, 40, 40),
        ("ioas-iova-ranges", IommufdRequests.IoasIovaRanges, 32, 32),
        ("ioas-map", IommufdRequests.IoasMap, 40, 40),
        ("ioas-unmap", IommufdRequests.IoasUnmap, 24, 24),
        ("option", IommufdRequests.Option, 24, 24),
        ("vfio-ioas", IommufdRequests.VfioIoas, 12, 12),
        ("hwpt-alloc", IommufdRequests.HwptAlloc, 24, 48),
        ("get-hw-info", IommufdRequests.GetHwInfo, 32, 40),
        ("set-dirty-tracking", IommufdRequests.HwptSetDirtyTracking, 16, 16),
        ("get-dirty-bitmap", IommufdRequests.HwptGetDirtyBitmap, 48, 48),
        ("hwpt-invalidate", IommufdRequests.HwptInvalidate, 32, 32),
        ("fault-queue-alloc", IommufdRequests.FaultQueueAlloc, 16, 16),
        ("ioas-map-file", IommufdRequests.IoasMapFile, 40, 40),
        ("viommu-alloc", IommufdRequests.ViommuAlloc, 40, 40),
        ("vdevice-alloc", IommufdRequests.VdeviceAlloc, 24, 24),
        ("ioas-change-process", IommufdRequests.IoasChangeProcess, 8, 8),
        ("veventq-alloc", IommufdRequests.VeventqAlloc, 32, 32),
        ("hw-queue-alloc", IommufdRequests.HwQueueAlloc, 48, 48),
    ];

    public static IEnumerable<AbiCase> All { get; } =
    [
        .. Calls.Select(static call => new AbiCase(
            $"size-{call.Name}", "S1.9", CaseNeeds.Iommufd, c => Sizes(c, call.Request, call.Oldest, call.Newest))),
        new("size-unknown-calls", "S1.9", CaseNeeds.Iommufd, UnknownCalls),
    ];

    // All fields but the size are zero: what is told is whether the size was taken, and then whatever zeros mean.
    private static void Sizes(CaseContext c, uint request, int oldest, int newest)
    {
        int iommu = c.Open(IommuPath);
        foreach (int size in (int[])[0, 1, 3, 4, oldest - 4, oldest - 1, oldest, newest, newest + 1, newest + 8, 256, 4088])
        {
            byte[] argument = new byte[4096];
            MemoryMarshal.Write(argument, size);
            int result = c.Kernel.Ioctl(iommu, request, argument);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"size-{size}"), Math.Min(result, 0));
            if (result == 0 && request == IommufdRequests.FaultQueueAlloc)
            {
                // It gave a descriptor: out_fault_fd.
                _ = c.Own(MemoryMarshal.Read<int>(argument.AsSpan(12)));
            }
        }

        foreach (int at in (int[])[newest, newest + 7, 255])
        {
            byte[] argument = new byte[4096];
            MemoryMarshal.Write(argument, 256);
            argument[at] = 1;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"tail-at-{at}"), c.Kernel.Ioctl(iommu, request, argument));
        }

        byte[] huge = new byte[4096];
        MemoryMarshal.Write(huge, uint.MaxValue);
        _ = c.Note("size-largest", c.Kernel.Ioctl(iommu, request, huge));
        byte[] truncated = new byte[4];
        MemoryMarshal.Write(truncated, newest);
        _ = c.Note("truncated", c.Kernel.Ioctl(iommu, request, truncated));
        _ = c.Note("null", c.Kernel.Ioctl(iommu, request, 0));
    }

    private static void UnknownCalls(CaseContext c)
    {
        int iommu = c.Open(IommuPath);
        foreach (uint request in (uint[])[0x3b7f, 0x3b95, 0x3b96, 0x3bff, 0x5401, 0, uint.MaxValue])
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"0x{request:x}"), c.Kernel.Ioctl(iommu, request, argument));
        }
    }
}
