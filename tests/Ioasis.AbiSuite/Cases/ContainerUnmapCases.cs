using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>VFIO_IOMMU_UNMAP_DMA: arguments, and what a range that cuts a mapping does in version 1 and 2.</summary>
internal static class ContainerUnmapCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("unmap-arguments", "S3.8", CaseNeeds.Container, Arguments),
        new("unmap-all", "S3.4", CaseNeeds.Container, UnmapAll),
        new("unmap-parts-type1v2", "S3.4", CaseNeeds.Container, static c => Parts(c, VfioExtension.Type1V2)),
        new("unmap-parts-type1", "S3.4", CaseNeeds.Container, static c => Parts(c, VfioExtension.Type1)),
        new("unmap-many", "S3.4", CaseNeeds.Container, Many),
        new("dirty-pages", "S3.8", CaseNeeds.Container, DirtyPages),
    ];

    private static void Arguments(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(2);
        _ = c.Note("map", Map(c, container, memory.Address, Iova, 8192));
        foreach (uint argsz in (uint[])[0, 4, 16, 23])
        {
            _ = c.Note(
                ContainerMapCases.Label("argsz", argsz),
                Unmap(c, container, Iova, 8192, out _, VfioDmaUnmapFlags.None, argsz));
        }

        for (int bit = 0; bit < 32; bit++)
        {
            _ = c.Note(
                ContainerMapCases.Label("flag-bit", (ulong)bit),
                Unmap(c, container, 0x8000_0000, 4096, out _, (VfioDmaUnmapFlags)(1u << bit)));
        }

        NoteUnmap(c, "size-0", container, Iova, 0);
        NoteUnmap(c, "size-0-iova-0", container, 0, 0);
        NoteUnmap(c, "size-1", container, Iova, 1);
        NoteUnmap(c, "size-2049", container, Iova, 2049);
        NoteUnmap(c, "iova-plus-1", container, Iova + 1, 8192);
        NoteUnmap(c, "wrap", container, 0xffff_ffff_ffff_f000, 8192);
        NoteUnmap(c, "last-page", container, 0xffff_ffff_ffff_f000, 4096);
        NoteUnmap(c, "whole-but-a-page", container, 0, 0xffff_ffff_ffff_f000);
        NoteUnmap(c, "again", container, Iova, 8192);
        byte[] truncated = new byte[16];
        truncated[0] = 24;
        _ = c.Note("truncated", c.Kernel.Ioctl(container, VfioRequests.IommuUnmapDma, truncated));
        _ = c.Note("null", c.Kernel.Ioctl(container, VfioRequests.IommuUnmapDma, 0));
    }

    private static void UnmapAll(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(4);
        NoteUnmap(c, "all-of-nothing", container, 0, 0, VfioDmaUnmapFlags.All);
        for (uint page = 0; page < 4; page++)
        {
            _ = c.Note("map", Map(c, container, memory.Address + (page * 4096), Iova + (page * 65536), 4096));
        }

        NoteUnmap(c, "all-with-iova", container, Iova, 0, VfioDmaUnmapFlags.All);
        NoteUnmap(c, "all-with-size", container, 0, 4096, VfioDmaUnmapFlags.All);
        NoteUnmap(c, "all-with-bitmap", container, 0, 0, VfioDmaUnmapFlags.All | VfioDmaUnmapFlags.GetDirtyBitmap);
        NoteAvailable(c, "available", container);
        NoteUnmap(c, "all", container, 0, 0, VfioDmaUnmapFlags.All);
        NoteAvailable(c, "available-then", container);
        NoteUnmap(c, "all-again", container, 0, 0, VfioDmaUnmapFlags.All);
    }

    private static void Parts(CaseContext c, VfioExtension kind)
    {
        (int container, _) = Prepare(c, kind);
        ClientPages memory = c.Pages(16);
        (string Name, ulong Offset, ulong Size)[] parts =
        [
            ("head", 0, 4096), ("middle", 8192, 4096), ("tail", 12288, 4096), ("head-and-before", ulong.MaxValue - 4095, 8192),
            ("tail-and-after", 12288, 8192), ("all", 0, 16384), ("around", ulong.MaxValue - 4095, 24576), ("before", ulong.MaxValue - 4095, 4096),
            ("after", 16384, 4096),
        ];
        foreach ((string name, ulong offset, ulong size) in parts)
        {
            _ = c.Note($"{name}-map", Map(c, container, memory.Address, Iova, 16384));
            NoteUnmap(c, $"{name}-unmap", container, unchecked(Iova + offset), size);
            NoteAvailable(c, $"{name}-available", container);
            NoteUnmap(c, $"{name}-rest", container, Iova, 16384);
            NoteUnmap(c, $"{name}-clear", container, 0, 0, VfioDmaUnmapFlags.All);
        }

        // Two neighbours, and a range that takes one and cuts the other.
        _ = c.Note("two-map-1", Map(c, container, memory.Address, Iova, 8192));
        _ = c.Note("two-map-2", Map(c, container, memory.Address + 8192, Iova + 8192, 8192));
        NoteUnmap(c, "two-cut-second", container, Iova, 12288);
        NoteAvailable(c, "two-available-1", container);
        NoteUnmap(c, "two-cut-first", container, Iova + 4096, 12288);
        NoteAvailable(c, "two-available-2", container);
        NoteUnmap(c, "two-both", container, Iova, 16384);
        NoteUnmap(c, "two-clear", container, 0, 0, VfioDmaUnmapFlags.All);
    }

    private static void Many(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(1);
        int failed = 0;
        for (ulong i = 0; i < 256; i++)
        {
            failed |= Map(c, container, memory.Address, Iova + (i * 8192), 4096);
        }

        _ = c.Note("map-256-times-the-same-page", failed);
        NoteAvailable(c, "available", container);
        NoteUnmap(c, "unmap-half", container, Iova, 128 * 8192);
        NoteAvailable(c, "available-half", container);
        NoteUnmap(c, "unmap-holes-only", container, Iova + (128 * 8192) + 4096, 4096);
        NoteUnmap(c, "unmap-rest", container, 0, 1ul << 36);
        NoteAvailable(c, "available-none", container);
    }

    private static void DirtyPages(CaseContext c)
    {
        (int container, _) = Prepare(c);
        ClientPages memory = c.Pages(8);
        _ = c.Note("map", Map(c, container, memory.Address, Iova, 8 * 4096));
        _ = c.Note("no-flags", Dirty(0));
        _ = c.Note("get-before-start", Dirty(4, Iova, 8 * 4096));
        _ = c.Note("two-flags", Dirty(3));
        _ = c.Note("unknown-flag", Dirty(8));
        _ = c.Note("stop-before-start", Dirty(2));
        _ = c.Note("start", Dirty(1));
        _ = c.Note("start-again", Dirty(1));
        _ = c.Note("get", Dirty(4, Iova, 8 * 4096), memory.Span[0]);
        _ = c.Note("get-part", Dirty(4, Iova, 4096));
        _ = c.Note("get-other", Dirty(4, Iova + 0x10_0000, 8 * 4096));
        _ = c.Note("get-size-0", Dirty(4, Iova, 0));
        _ = c.Note("get-iova-odd", Dirty(4, Iova + 1, 8 * 4096));
        _ = c.Note("get-page-8k", Dirty(4, Iova, 8 * 4096, 8192));
        _ = c.Note("get-page-3000", Dirty(4, Iova, 8 * 4096, 3000));
        _ = c.Note("get-bitmap-short", Dirty(4, Iova, 8 * 4096, 4096, 4));
        _ = c.Note("argsz-7", Dirty(1, argsz: 7));
        _ = c.Note("get-argsz-8", Dirty(4, Iova, 8 * 4096, argsz: 8));
        _ = c.Note("stop", Dirty(2));
        _ = c.Note("stop-again", Dirty(2));

        // struct vfio_iommu_type1_dirty_bitmap and, behind it, _get: iova, size, bitmap (page size, bytes, address).
        int Dirty(uint flags, ulong iova = 0, ulong size = 0, ulong pageSize = 4096, ulong bitmapSize = 8, uint argsz = 48)
        {
            ulong bitmap = 0;
            unsafe
            {
                DirtyBitmap argument = new()
                {
                    Argsz = argsz,
                    Flags = flags,
                    Iova = iova,
                    Size = size,
                    PageSize = pageSize,
                    BitmapSize = bitmapSize,
                    Bitmap = (ulong)&bitmap,
                };
                int result = c.Call(container, VfioRequests.IommuDirtyPages, ref argument);
                if ((flags & 4) != 0 && result == 0)
                {
                    _ = c.Note("  bitmap", 0, bitmap);
                }

                return result;
            }
        }
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential)]
    private struct DirtyBitmap
    {
        public uint Argsz;
        public uint Flags;
        public ulong Iova;
        public ulong Size;
        public ulong PageSize;
        public ulong BitmapSize;
        public ulong Bitmap;
    }
}
