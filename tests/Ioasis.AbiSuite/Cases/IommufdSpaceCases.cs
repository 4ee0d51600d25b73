using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.IommufdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Address spaces, options, ranges and allow-lists, without a device.</summary>
internal static class IommufdSpaceCases
{
    public static IEnumerable<AbiCase> All { get; } =
    [
        new("ioas-alloc-destroy", "S1.15", CaseNeeds.Iommufd, AllocDestroy),
        new("ioas-ranges", "S3.12", CaseNeeds.Iommufd, Ranges),
        new("ioas-allow", "S3.12", CaseNeeds.Iommufd, AllowList),
        new("ioas-options", "S1.9", CaseNeeds.Iommufd, Options),
        new("ioas-vfio", "S1.9", CaseNeeds.Iommufd, VfioSpace),
        new("ioas-change-process", "S1.9", CaseNeeds.Iommufd, ChangeProcess),
    ];

    private static void AllocDestroy(CaseContext c)
    {
        int iommu = c.Open(IommuPath);
        foreach (uint flags in (uint[])[0, 1, 0x8000_0000])
        {
            IommuIoasAlloc alloc = new() { Flags = flags };
            _ = c.Note(ContainerMapCases.Label("alloc-flags", flags), c.Call(iommu, ref alloc));
        }

        uint first = AllocateSpace(c, iommu);
        uint second = AllocateSpace(c, iommu);
        c.NoteText("different", (first != second && first != 0).ToString());
        _ = c.Note("destroy-0", Destroy(c, iommu, 0));
        _ = c.Note("destroy-9999", Destroy(c, iommu, 9999));
        _ = c.Note("destroy-largest", Destroy(c, iommu, uint.MaxValue));
        _ = c.Note("destroy", Destroy(c, iommu, first));
        _ = c.Note("destroy-again", Destroy(c, iommu, first));
        NoteUnmap(c, "unmap-in-destroyed", iommu, first, 0, ulong.MaxValue);
        NoteUnmap(c, "unmap-in-second", iommu, second, 0, ulong.MaxValue);
        int other = c.Open(IommuPath);
        _ = c.Note("destroy-by-another-file", Destroy(c, other, second));
        _ = c.Note("destroy-second", Destroy(c, iommu, second));
    }

    private static void Ranges(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        foreach (uint room in (uint[])[0, 1, 2, 16])
        {
            NoteRanges(c, ContainerMapCases.Label("room", room), iommu, space, room);
        }

        NoteRanges(c, "no-such-space", iommu, 9999, 4);
        IommuIoasIovaRanges argument = new() { IoasId = space, NumIovas = 4, Reserved = 1 };
        _ = c.Note("reserved", c.Call(iommu, ref argument));
        argument = new() { IoasId = space, NumIovas = 4, AllowedIovas = 0 };
        _ = c.Note("null-array", c.Call(iommu, ref argument));
        argument = new() { IoasId = space, NumIovas = uint.MaxValue, AllowedIovas = 0 };
        _ = c.Note("huge-count", c.Call(iommu, ref argument));
    }

    private static void AllowList(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        _ = c.Note("none", Allow(c, iommu, space));
        _ = c.Note("one", Allow(c, iommu, space, (0x10000, 0x1ffff)));
        _ = c.Note("two", Allow(c, iommu, space, (0x10000, 0x1ffff), (0x30000, 0x3ffff)));
        _ = c.Note("unsorted", Allow(c, iommu, space, (0x30000, 0x3ffff), (0x10000, 0x1ffff)));
        _ = c.Note("touching", Allow(c, iommu, space, (0x10000, 0x1ffff), (0x20000, 0x3ffff)));
        _ = c.Note("overlapping", Allow(c, iommu, space, (0x10000, 0x20000), (0x20000, 0x3ffff)));
        _ = c.Note("one-byte", Allow(c, iommu, space, (0x10000, 0x10000)));
        _ = c.Note("two-bytes", Allow(c, iommu, space, (0x10000, 0x10001)));
        _ = c.Note("reversed", Allow(c, iommu, space, (0x1ffff, 0x10000)));
        _ = c.Note("everything", Allow(c, iommu, space, (0, ulong.MaxValue)));
        _ = c.Note("last-byte", Allow(c, iommu, space, (ulong.MaxValue - 1, ulong.MaxValue)));
        _ = c.Note("no-such-space", Allow(c, iommu, 9999, (0x10000, 0x1ffff)));
        IommuIoasAllowIovas argument = new() { IoasId = space, NumIovas = 1, AllowedIovas = 0 };
        _ = c.Note("null-array", c.Call(iommu, ref argument));
        argument = new() { IoasId = space, Reserved = 1 };
        _ = c.Note("reserved", c.Call(iommu, ref argument));

        // The kernel's own choice keeps to the list.
        ClientPages memory = c.Pages(16);
        _ = c.Note("choose-set", Allow(c, iommu, space, (0x50000, 0x51fff)));
        ulong iova = 0;
        const IoasMapFlags Automatic = IoasMapFlags.Readable | IoasMapFlags.Writable;
        int result = Map(c, iommu, space, memory.Address, 8192, ref iova, Automatic);
        c.NoteText("choose-in-list", $"{ErrnoNames.Describe(result)} {iova >= 0x50000 && iova + 8191 <= 0x51fff}");
        _ = c.Note("choose-full", Map(c, iommu, space, memory.Address, 4096, ref iova, Automatic));
        _ = c.Note("fixed-outside", MapAt(c, iommu, space, memory.Address, 4096, 0x90000));
        _ = c.Note("allow-elsewhere-with-mappings", Allow(c, iommu, space, (0x10_0000, 0x1f_ffff)));
    }

    private static void Options(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        NoteOption("rlimit-get", IommuOptionId.RlimitMode, IommuOptionOperation.Get, 0, 0);
        NoteOption("rlimit-set-1-with-space", IommuOptionId.RlimitMode, IommuOptionOperation.Set, 0, 1);
        NoteOption("rlimit-set-2", IommuOptionId.RlimitMode, IommuOptionOperation.Set, 0, 2);
        NoteOption("rlimit-with-object", IommuOptionId.RlimitMode, IommuOptionOperation.Get, space, 0);
        NoteOption("huge-get", IommuOptionId.HugePages, IommuOptionOperation.Get, space, 0);
        NoteOption("huge-set-0", IommuOptionId.HugePages, IommuOptionOperation.Set, space, 0);
        NoteOption("huge-get-0", IommuOptionId.HugePages, IommuOptionOperation.Get, space, 0);
        NoteOption("huge-set-1", IommuOptionId.HugePages, IommuOptionOperation.Set, space, 1);
        NoteOption("huge-set-2", IommuOptionId.HugePages, IommuOptionOperation.Set, space, 2);
        NoteOption("huge-no-object", IommuOptionId.HugePages, IommuOptionOperation.Get, 0, 0);
        NoteOption("huge-operation-2", IommuOptionId.HugePages, (IommuOptionOperation)2, space, 0);
        NoteOption("unknown", (IommuOptionId)2, IommuOptionOperation.Get, space, 0);
        IommuOption reserved = new() { OptionId = IommuOptionId.HugePages, Operation = IommuOptionOperation.Get, ObjectId = space, Reserved = 1 };
        _ = c.Note("reserved", c.Call(iommu, ref reserved));
        int fresh = c.Open(IommuPath);
        IommuOption mode = new() { OptionId = IommuOptionId.RlimitMode, Operation = IommuOptionOperation.Set, Value = 1 };
        _ = c.Note("rlimit-set-1-fresh", c.Call(fresh, ref mode));
        mode.Value = 0;
        _ = c.Note("rlimit-set-0-fresh", c.Call(fresh, ref mode));

        void NoteOption(string label, IommuOptionId id, IommuOptionOperation operation, uint target, ulong value)
        {
            IommuOption option = new() { OptionId = id, Operation = operation, ObjectId = target, Value = value };
            int result = c.Call(iommu, ref option);
            _ = c.Note(label, result, option.Value);
        }
    }

    private static void VfioSpace(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        _ = c.Note("get-none", Call(VfioIoasOperation.Get, 0));
        _ = c.Note("set-9999", Call(VfioIoasOperation.Set, 9999));
        _ = c.Note("set", Call(VfioIoasOperation.Set, space));
        _ = c.Note("get", Call(VfioIoasOperation.Get, 0));
        _ = c.Note("destroy-chosen", Destroy(c, iommu, space));
        uint second = AllocateSpace(c, iommu);
        _ = c.Note("set-second", Call(VfioIoasOperation.Set, second));
        _ = c.Note("clear", Call(VfioIoasOperation.Clear, 0));
        _ = c.Note("clear-again", Call(VfioIoasOperation.Clear, 0));
        _ = c.Note("get-cleared", Call(VfioIoasOperation.Get, 0));
        _ = c.Note("operation-3", Call((VfioIoasOperation)3, 0));
        IommuVfioIoas reserved = new() { Operation = VfioIoasOperation.Get, Reserved = 1 };
        _ = c.Note("reserved", c.Call(iommu, ref reserved));

        int Call(VfioIoasOperation operation, uint id)
        {
            IommuVfioIoas argument = new() { Operation = operation, IoasId = id };
            return c.Call(iommu, ref argument);
        }
    }

    private static void ChangeProcess(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        byte[] argument = new byte[8];
        argument[0] = 8;
        _ = c.Note("empty", c.Kernel.Ioctl(iommu, IommufdRequests.IoasChangeProcess, argument));
        ClientPages memory = c.Pages(1);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        _ = c.Note("with-user-memory", c.Kernel.Ioctl(iommu, IommufdRequests.IoasChangeProcess, argument));
        argument[4] = 1;
        _ = c.Note("reserved", c.Kernel.Ioctl(iommu, IommufdRequests.IoasChangeProcess, argument));
    }
}
