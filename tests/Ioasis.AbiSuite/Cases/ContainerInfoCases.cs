using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>VFIO_IOMMU_GET_INFO, byte for byte.</summary>
internal static class ContainerInfoCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("info-every-argsz-type1v2", "S3.9", CaseNeeds.Container, static c => EveryArgsz(c, VfioExtension.Type1V2)),
        new("info-every-argsz-type1", "S3.9", CaseNeeds.Container, static c => EveryArgsz(c, VfioExtension.Type1)),
        new("info-short-buffers", "S3.8", CaseNeeds.Container, ShortBuffers),
        new("info-chain", "S3.11", CaseNeeds.Container, Chain),
        new("info-ranges-two-groups", "S3.1", CaseNeeds.Container | CaseNeeds.SecondGroup, RangesOfTwoGroups),
    ];

    // The whole reply for every argsz from 0 to 256; the buffer is larger, so that a byte too many shows.
    private static void EveryArgsz(CaseContext c, VfioExtension kind)
    {
        (int container, _) = Prepare(c, kind);
        byte[] buffer = new byte[320];
        for (uint argsz = 0; argsz <= 256; argsz++)
        {
            int result = GetInfo(c, container, argsz, buffer);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"argsz-{argsz}"), result, buffer, 0xa5);
        }

        foreach (uint argsz in (uint[])[257, 320, 4096, 0x7fff_ffff, 0x8000_0000, uint.MaxValue])
        {
            byte[] large = new byte[4096];
            int result = GetInfo(c, container, argsz, large);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"argsz-{argsz}"), result, large, 0xa5);
        }
    }

    // Memory that ends before the oldest version, or before what argsz promises.
    private static void ShortBuffers(CaseContext c)
    {
        (int container, _) = Prepare(c);
        foreach ((int length, uint argsz) in ((int, uint)[])[(0, 0), (8, 16), (15, 16), (16, 16), (16, 24), (20, 24), (24, 24), (24, 96), (64, 256), (100, 256)])
        {
            byte[] buffer = new byte[length];
            buffer.AsSpan().Fill(0xa5);
            if (length >= 4)
            {
                MemoryMarshal.Write(buffer, argsz);
            }

            int result = c.Kernel.Ioctl(container, VfioRequests.IommuGetInfo, buffer);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"length-{length}-argsz-{argsz}"), result);
        }
    }

    private static void Chain(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(4);
        NoteChain("fresh");
        for (uint page = 0; page < 3; page++)
        {
            _ = c.Note("map", Map(c, container, memory.Address + (page * 4096), Iova + (page * 8192), 4096));
        }

        NoteChain("three-mapped");
        NoteUnmap(c, "unmap-all", container, 0, 0, VfioDmaUnmapFlags.All);
        NoteChain("unmapped");

        void NoteChain(string label)
        {
            byte[] buffer = new byte[512];
            int result = GetInfo(c, container, 512, buffer);
            _ = c.Note(label, result, buffer, 0xa5);
        }
    }

    private static void RangesOfTwoGroups(CaseContext c)
    {
        (int container, _) = Prepare(c);
        int second = c.Open(c.Target.SecondGroupPath);
        byte[] buffer = new byte[512];
        _ = c.Note("set-second", SetContainer(c, second, container));
        int result = GetInfo(c, container, 512, buffer);
        _ = c.Note("both", result, buffer, 0xa5);
        _ = c.Note("unset-second", c.Kernel.Ioctl(second, VfioRequests.GroupUnsetContainer, 0));
        result = GetInfo(c, container, 512, buffer);
        _ = c.Note("one", result, buffer, 0xa5);
    }
}
