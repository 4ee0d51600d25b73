using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerMapCases;
using static Ioasis.AbiSuite.Cases.IommufdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>IOMMU_IOAS_MAP, UNMAP and COPY, without a device: nothing is pinned then.</summary>
internal static class IommufdMapCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("ioas-map-arguments", "S3.5", CaseNeeds.Iommufd, Arguments),
        new("ioas-map-flags", "S3.5", CaseNeeds.Iommufd, Flags),
        new("ioas-map-overlaps", "S3.5", CaseNeeds.Iommufd, Overlaps),
        new("ioas-map-automatic", "S3.5", CaseNeeds.Iommufd, Automatic),
        new("ioas-unmap", "S3.4", CaseNeeds.Iommufd, Unmap),
        new("ioas-copy", "S3.5", CaseNeeds.Iommufd, Copy),
        new("ioas-map-file", "S3.5", CaseNeeds.Iommufd, MapFile),
    ];

    private static void Arguments(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        ClientPages memory = c.Pages(4);
        foreach (ulong length in (ulong[])[0, 1, 2049, 4096, 4097, 8192])
        {
            _ = c.Note(Label("length", length), MapAt(c, iommu, space, memory.Address, length, Iova));
            NoteUnmap(c, "  unmap", iommu, space, Iova, length);
        }

        foreach (ulong length in (ulong[])[ulong.MaxValue, ulong.MaxValue - 1, 0xffff_ffff_ffff_f000, 0x8000_0000_0000_0000, 0x7fff_ffff_ffff_ffff])
        {
            _ = c.Note(Label("length-at-0", length), MapAt(c, iommu, space, 0, length, 0));
            NoteUnmap(c, "  unmap", iommu, space, 0, ulong.MaxValue);
        }

        foreach (ulong iova in (ulong[])[0, 1, 4095, ulong.MaxValue, ulong.MaxValue - 4095, ulong.MaxValue - 4096])
        {
            _ = c.Note(Label("iova", iova), MapAt(c, iommu, space, memory.Address, 4096, iova));
            NoteUnmap(c, "  unmap", iommu, space, 0, ulong.MaxValue);
        }

        _ = c.Note("odd-memory", MapAt(c, iommu, space, memory.Address + 1, 4096, Iova));
        _ = c.Note("odd-both", MapAt(c, iommu, space, memory.Address + 5, 100, Iova + 0x10005));
        _ = c.Note("memory-wraps", MapAt(c, iommu, space, ulong.MaxValue - 4095, 8192, Iova + 0x20000));
        _ = c.Note("memory-not-there", MapAt(c, iommu, space, 0x1000, 4096, Iova + 0x30000));
        _ = c.Note("no-such-space", MapAt(c, iommu, 9999, memory.Address, 4096, Iova + 0x40000));
        IommuIoasMap reserved = new() { Flags = Fixed, IoasId = space, Reserved = 1, UserVa = memory.Address, Length = 4096, Iova = Iova + 0x50000 };
        _ = c.Note("reserved", c.Call(iommu, ref reserved));
    }

    private static void Flags(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        ClientPages memory = c.Pages(1);
        for (uint flags = 0; flags < 16; flags++)
        {
            ulong iova = Iova;
            _ = c.Note(Label("flags", flags), Map(c, iommu, space, memory.Address, 4096, ref iova, (IoasMapFlags)flags));
            NoteUnmap(c, "  unmap", iommu, space, 0, ulong.MaxValue);
        }

        _ = c.Note("bit-31", MapAt(c, iommu, space, memory.Address, 4096, Iova, Fixed | (IoasMapFlags)0x8000_0000));
    }

    private static void Overlaps(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        ClientPages memory = c.Pages(4);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 8192, Iova + 4096));
        _ = c.Note("same", MapAt(c, iommu, space, memory.Address, 8192, Iova + 4096));
        _ = c.Note("around", MapAt(c, iommu, space, memory.Address, 16384, Iova));
        _ = c.Note("into", MapAt(c, iommu, space, memory.Address, 8192, Iova));
        _ = c.Note("last-byte", MapAt(c, iommu, space, memory.Address, 1, Iova + 12287));
        _ = c.Note("next-byte", MapAt(c, iommu, space, memory.Address, 1, Iova + 12288));
        _ = c.Note("byte-before", MapAt(c, iommu, space, memory.Address, 1, Iova + 4095));
    }

    private static void Automatic(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        ClientPages memory = c.Pages(4);
        const IoasMapFlags Choose = IoasMapFlags.Readable | IoasMapFlags.Writable;
        foreach (ulong length in (ulong[])[0, 1, 4096, 8192, ulong.MaxValue, 0x8000_0000_0000_0000])
        {
            // Which IOVA is chosen is the kernel's affair.
            ulong iova = 0;
            _ = c.Note(Label("length", length), Map(c, iommu, space, memory.Address + 0x123, length, ref iova, Choose));
            NoteUnmap(c, "  unmap", iommu, space, 0, ulong.MaxValue);
        }

        ulong first = 0;
        ulong second = 0;
        _ = c.Note("one", Map(c, iommu, space, memory.Address, 4096, ref first, Choose));
        _ = c.Note("two", Map(c, iommu, space, memory.Address, 4096, ref second, Choose));
        c.NoteText("different", (first != second).ToString());
        NoteUnmap(c, "unmap-one", iommu, space, first, 4096);
        NoteUnmap(c, "unmap-two", iommu, space, second, 4096);
    }

    private static void Unmap(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        ClientPages memory = c.Pages(4);
        NoteUnmap(c, "nothing", iommu, space, Iova, 4096);
        NoteUnmap(c, "everything-of-nothing", iommu, space, 0, ulong.MaxValue);
        NoteUnmap(c, "length-0", iommu, space, Iova, 0);
        NoteUnmap(c, "iova-largest", iommu, space, ulong.MaxValue, 1);
        NoteUnmap(c, "length-largest", iommu, space, 1, ulong.MaxValue);
        NoteUnmap(c, "wrap", iommu, space, ulong.MaxValue - 4095, 8192);
        NoteUnmap(c, "no-such-space", iommu, 9999, Iova, 4096);
        _ = c.Note("map-1", MapAt(c, iommu, space, memory.Address, 8192, Iova));
        _ = c.Note("map-2", MapAt(c, iommu, space, memory.Address, 8192, Iova + 8192));
        NoteUnmap(c, "head", iommu, space, Iova, 4096);
        NoteUnmap(c, "tail", iommu, space, Iova + 4096, 4096);
        NoteUnmap(c, "cut-second", iommu, space, Iova, 12288);
        NoteUnmap(c, "second-then", iommu, space, Iova + 8192, 8192);
        _ = c.Note("map-3", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        _ = c.Note("map-4", MapAt(c, iommu, space, memory.Address, 4096, Iova + 65536));
        NoteUnmap(c, "with-hole", iommu, space, Iova, 69632);
        _ = c.Note("map-5", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        NoteUnmap(c, "wide", iommu, space, Iova - 65536, 1 << 20);
        _ = c.Note("map-6", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        NoteUnmap(c, "everything", iommu, space, 0, ulong.MaxValue);
    }

    private static void Copy(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        uint other = AllocateSpace(c, iommu);
        ClientPages memory = c.Pages(8);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 8192, Iova));
        _ = c.Note("map-next", MapAt(c, iommu, space, memory.Address + 8192, 8192, Iova + 8192));
        _ = c.Note("map-read-only", MapAt(c, iommu, space, memory.Address, 4096, Iova + 65536, IoasMapFlags.FixedIova | IoasMapFlags.Readable));
        _ = c.Note("copy", CopyTo(other, space, 8192, 0x10000, Iova));
        _ = c.Note("copy-again", CopyTo(other, space, 8192, 0x10000, Iova));
        _ = c.Note("copy-two-areas", CopyTo(other, space, 16384, 0x20000, Iova));
        _ = c.Note("copy-part", CopyTo(other, space, 4096, 0x30000, Iova + 4096));
        _ = c.Note("copy-hole", CopyTo(other, space, 32768, 0x40000, Iova));
        _ = c.Note("copy-nothing", CopyTo(other, space, 4096, 0x50000, Iova + 0x100000));
        _ = c.Note("copy-length-0", CopyTo(other, space, 0, 0x50000, Iova));
        _ = c.Note("copy-length-largest", CopyTo(other, space, ulong.MaxValue, 0x50000, Iova));
        _ = c.Note("copy-read-only-to-write", CopyTo(other, space, 4096, 0x60000, Iova + 65536));
        _ = c.Note("copy-read-only-to-read", CopyTo(other, space, 4096, 0x70000, Iova + 65536, IoasMapFlags.FixedIova | IoasMapFlags.Readable));
        _ = c.Note("copy-no-access", CopyTo(other, space, 4096, 0x80000, Iova, IoasMapFlags.FixedIova));
        _ = c.Note("copy-unknown-flag", CopyTo(other, space, 4096, 0x80000, Iova, Fixed | (IoasMapFlags)8));
        _ = c.Note("copy-into-itself", CopyTo(space, space, 4096, 0x90000, Iova));
        _ = c.Note("copy-no-source", CopyTo(other, 9999, 4096, 0xa0000, Iova));
        _ = c.Note("copy-no-destination", CopyTo(9999, space, 4096, 0xa0000, Iova));
        _ = c.Note("destroy-source", Destroy(c, iommu, space));
        NoteUnmap(c, "unmap-copies", iommu, other, 0, ulong.MaxValue);

        int CopyTo(uint to, uint from, ulong length, ulong iova, ulong source, IoasMapFlags flags = Fixed)
        {
            IommuIoasCopy copy = new()
            {
                Flags = flags,
                DestinationIoasId = to,
                SourceIoasId = from,
                Length = length,
                DestinationIova = iova,
                SourceIova = source,
            };
            return c.Call(iommu, ref copy);
        }
    }

    // struct iommu_ioas_map_file: size, flags, ioas, fd, start, length, iova.
    private static void MapFile(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        _ = c.Note("no-file", Call(-1, 0, 4096));
        _ = c.Note("closed-file", Call(9999, 0, 4096));
        _ = c.Note("not-a-memfd", Call(iommu, 0, 4096));
        _ = c.Note("unknown-flag", Call(-1, 0, 4096, Fixed | (IoasMapFlags)8));
        _ = c.Note("no-access", Call(-1, 0, 4096, IoasMapFlags.FixedIova));
        _ = c.Note("length-largest", Call(-1, 0, ulong.MaxValue));
        _ = c.Note("no-such-space", Call(-1, 0, 4096, Fixed, 9999));

        int Call(int file, ulong start, ulong length, IoasMapFlags flags = Fixed, uint? id = null)
        {
            byte[] argument = new byte[40];
            _ = BitConverter.TryWriteBytes(argument, 40);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(4), (uint)flags);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(8), id ?? space);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(12), file);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(16), start);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(24), length);
            _ = BitConverter.TryWriteBytes(argument.AsSpan(32), Iova);
            return c.Kernel.Ioctl(iommu, IommufdRequests.IoasMapFile, argument);
        }
    }
}
