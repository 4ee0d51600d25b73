using System.Globalization;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>VFIO_IOMMU_MAP_DMA: every refusal, and what succeeds at the edge of each.</summary>
internal static class ContainerMapCases
{
    private const ulong MsiFirst = 0xfee0_0000;
    private const ulong MsiLast = 0xfeef_ffff;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("map-arguments", "S3.8", CaseNeeds.Container, Arguments),
        new("map-flags", "S3.5", CaseNeeds.Container, Flags),
        new("map-overlaps", "S3.5", CaseNeeds.Container, Overlaps),
        new("map-msi-window", "S3.5", CaseNeeds.Container, MsiWindow),
        new("map-aperture", "S3.12", CaseNeeds.Container, Aperture),
        new("map-memory", "S3.5", CaseNeeds.Container, Memory),
        new("map-order-of-checks", "S3.5", CaseNeeds.Container, OrderOfChecks),
    ];

    private static void Arguments(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(4);
        foreach (uint argsz in (uint[])[0, 4, 16, 24, 31, 32, 33, 64, 4096, uint.MaxValue])
        {
            _ = c.Note(Label("argsz", argsz), Map(c, container, memory.Address, Iova, 4096, Both, argsz));
            NoteUnmap(c, "  unmap", container, Iova, 4096);
        }

        foreach (ulong size in (ulong[])[0, 1, 4095, 4097, 8191, ulong.MaxValue, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_f000])
        {
            _ = c.Note(Label("size", size), Map(c, container, memory.Address, Iova, size));
        }

        foreach (ulong offset in (ulong[])[1, 8, 512, 2048, 4095])
        {
            _ = c.Note(Label("vaddr-plus", offset), Map(c, container, memory.Address + offset, Iova, 4096));
            _ = c.Note(Label("iova-plus", offset), Map(c, container, memory.Address, Iova + offset, 4096));
        }

        _ = c.Note("iova-wrap", Map(c, container, memory.Address, 0xffff_ffff_ffff_f000, 8192));
        _ = c.Note("iova-last-page", Map(c, container, memory.Address, 0xffff_ffff_ffff_f000, 4096));
        _ = c.Note("vaddr-wrap", Map(c, container, 0xffff_ffff_ffff_f000, Iova, 8192));
        _ = c.Note("vaddr-last-page", Map(c, container, 0xffff_ffff_ffff_f000, Iova, 4096));
        byte[] truncated = new byte[16];
        truncated[0] = 32;
        _ = c.Note("truncated", c.Kernel.Ioctl(container, VfioRequests.IommuMapDma, truncated));
        _ = c.Note("null", c.Kernel.Ioctl(container, VfioRequests.IommuMapDma, 0));
        NoteAvailable(c, "available", container);
    }

    private static void Flags(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(1);
        for (uint flags = 0; flags < 16; flags++)
        {
            _ = c.Note(Label("flags", flags), Map(c, container, memory.Address, Iova, 4096, (VfioDmaMapFlags)flags));
            NoteUnmap(c, "  unmap", container, Iova, 4096);
        }

        for (int bit = 4; bit < 32; bit++)
        {
            _ = c.Note(Label("bit", (ulong)bit), Map(c, container, memory.Address, Iova, 4096, Both | (VfioDmaMapFlags)(1u << bit)));
        }
    }

    private static void Overlaps(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(4);
        _ = c.Note("map", Map(c, container, memory.Address, Iova + 4096, 8192));
        _ = c.Note("same", Map(c, container, memory.Address, Iova + 4096, 8192));
        _ = c.Note("first-page", Map(c, container, memory.Address, Iova + 4096, 4096));
        _ = c.Note("last-page", Map(c, container, memory.Address, Iova + 8192, 4096));
        _ = c.Note("around", Map(c, container, memory.Address, Iova, 16384));
        _ = c.Note("into-start", Map(c, container, memory.Address, Iova, 8192));
        _ = c.Note("over-end", Map(c, container, memory.Address, Iova + 8192, 8192));
        _ = c.Note("before", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("after", Map(c, container, memory.Address, Iova + 12288, 4096));
        NoteAvailable(c, "available", container);
        NoteUnmap(c, "unmap-all", container, 0, 0, VfioDmaUnmapFlags.All);
    }

    private static void MsiWindow(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(16);
        _ = c.Note("before", Map(c, container, memory.Address, MsiFirst - 4096, 4096));
        _ = c.Note("first", Map(c, container, memory.Address, MsiFirst, 4096));
        _ = c.Note("middle", Map(c, container, memory.Address, MsiFirst + 0x8_0000, 4096));
        _ = c.Note("last", Map(c, container, memory.Address, MsiLast - 4095, 4096));
        _ = c.Note("after", Map(c, container, memory.Address, MsiLast + 1, 4096));
        _ = c.Note("into", Map(c, container, memory.Address, MsiFirst - 8192, 12288));
        _ = c.Note("out-of", Map(c, container, memory.Address, MsiLast - 4095, 8192));
        NoteAvailable(c, "available", container);
    }

    private static void Aperture(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(2);
        _ = c.Note("iova-0", Map(c, container, memory.Address, 0, 4096));
        for (int bit = 37; bit < 64; bit++)
        {
            ulong end = 1ul << bit;
            _ = c.Note(Label("ends-at-2^", (ulong)bit), Map(c, container, memory.Address, end - 4096, 4096));
            NoteUnmap(c, "  unmap", container, end - 4096, 4096);
            _ = c.Note(Label("crosses-2^", (ulong)bit), Map(c, container, memory.Address, end - 4096, 8192));
            NoteUnmap(c, "  unmap-cross", container, end - 4096, 8192);
        }
    }

    private static void Memory(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(8);
        _ = c.Note("nothing-there", Map(c, container, 0x1000, Iova, 4096));
        memory.Remove(4, 1);
        _ = c.Note("hole", Map(c, container, memory.Address, Iova, 8 * 4096));
        NoteAvailable(c, "available-after-hole", container);
        _ = c.Note("below-hole", Map(c, container, memory.Address, Iova, 4 * 4096));
        ClientPages readOnly = c.Pages(1);
        readOnly.Protect();
        _ = c.Note("read-only-for-write", Map(c, container, readOnly.Address, Iova + 0x10_0000, 4096));
        _ = c.Note("read-only-for-read", Map(c, container, readOnly.Address, Iova + 0x20_0000, 4096, VfioDmaMapFlags.Read));
        NoteAvailable(c, "available", container);
    }

    // Two things wrong at a time: which is told?
    private static void OrderOfChecks(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(2);
        _ = c.Note("map", Map(c, container, memory.Address, Iova, 4096));
        _ = c.Note("overlap-and-no-memory", Map(c, container, 0x1000, Iova, 4096));
        _ = c.Note("overlap-and-size-0", Map(c, container, memory.Address, Iova, 0));
        _ = c.Note("msi-and-no-memory", Map(c, container, 0x1000, MsiFirst, 4096));
        _ = c.Note("aperture-and-no-memory", Map(c, container, 0x1000, 1ul << 60, 4096));
        _ = c.Note("flags-and-argsz", Map(c, container, memory.Address, Iova, 4096, (VfioDmaMapFlags)0x80, 8));
        _ = c.Note("vaddr-flag-missing", Map(c, container, memory.Address, Iova + 0x10_0000, 4096, VfioDmaMapFlags.Vaddr));
        _ = c.Note("vaddr-flag-there", Map(c, container, memory.Address, Iova, 4096, VfioDmaMapFlags.Vaddr));
        _ = c.Note("vaddr-flag-and-read", Map(c, container, memory.Address, Iova, 4096, VfioDmaMapFlags.Vaddr | VfioDmaMapFlags.Read));
        NoteUnmap(c, "unmap-vaddr", container, Iova, 4096, VfioDmaUnmapFlags.Vaddr);
        NoteUnmap(c, "unmap", container, Iova, 4096);
    }

    internal static string Label(string what, ulong value) => string.Create(CultureInfo.InvariantCulture, $"{what}-{value:x}");
}
