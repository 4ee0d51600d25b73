using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Address spaces: map, unmap, copy, options, and the error number of everything that is wrong.</summary>
public sealed class IoasTests
{
    private const IoasMapFlags ReadWrite = IoasMapFlags.Readable | IoasMapFlags.Writable;

    private static ulong Page(int index) => FakeUserMemory.Start + ((ulong)index * 4096);

    [Fact]
    public void Every_wrong_map_has_its_error_number_and_changes_nothing()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        int fd = attached.Fd;
        uint ioas = attached.Space.Id;
        rig.MapFixed(fd, ioas, Page(0), 0x2000, 0x10000).ShouldBe(0);

        int Try(ulong memory, ulong length, ulong iova, IoasMapFlags flags = IoasMapFlags.FixedIova | ReadWrite, uint? id = null) =>
            rig.Map(fd, id ?? ioas, memory, length, ref iova, flags);

        Try(Page(1), 4096, 0x20000, (IoasMapFlags)8 | ReadWrite).ShouldBe(-(int)Errno.NotSupported);
        Try(Page(1), 4096, 0x20000, IoasMapFlags.FixedIova).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 4096, ulong.MaxValue).ShouldBe(-(int)Errno.Overflow);
        Try(Page(1), ulong.MaxValue, 0x20000).ShouldBe(-(int)Errno.Overflow);
        Try(Page(1), ulong.MaxValue - 4095, 0x20000).ShouldBe(-(int)Errno.Overflow);
        Try(ulong.MaxValue - 4095, 8192, 0x20000).ShouldBe(-(int)Errno.Overflow);
        Try(0, ulong.MaxValue - 1, 0x20000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 0, 0x20000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 4096, 0x20000, id: 99).ShouldBe(-(int)Errno.NoEntry);
        Try(Page(1), 4096, 0x20000, id: attached.Vfio.Id).ShouldBe(-(int)Errno.NoEntry);
        Try(Page(1), 4095, 0x20000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 4096, 0x20001).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1) + 8, 4096, 0x20000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 4096, 0x11000).ShouldBe(-(int)Errno.Exists);
        Try(Page(1), 0x10000, 0x8000).ShouldBe(-(int)Errno.Exists);
        Try(Page(1), 4096, 1ul << 47).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 8192, (1ul << 47) - 4096).ShouldBe(-(int)Errno.InvalidArgument);
        Try(Page(1), 8192, ulong.MaxValue - 4095).ShouldBe(-(int)Errno.Overflow);
        Try(0x5000, 4096, 0x20000).ShouldBe(-(int)Errno.BadAddress);
        Try(FakeUserMemory.Start + rig.Memory.Size - 4096, 8192, 0x20000).ShouldBe(-(int)Errno.BadAddress);

        IommuIoasMap reserved = new()
        {
            Flags = ReadWrite | IoasMapFlags.FixedIova, IoasId = ioas, UserVa = Page(1), Length = 4096, Iova = 0x20000, Reserved = 1,
        };
        rig.Call(fd, ref reserved).ShouldBe(-(int)Errno.NotSupported);
        attached.Domain.MappedPages.ShouldBe(2);
        rig.Memory.PinnedPages.ShouldBe(2);
        rig.KernelSide.Audit.Areas.ShouldBe(1);
        rig.KernelSide.Audit.Memories.ShouldBe(1);
    }

    [Fact]
    public void Without_a_domain_nothing_is_pinned_and_any_alignment_will_do()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(fd);
        rig.MapFixed(fd, ioas, 0x123, 77, 5).ShouldBe(0);
        rig.MapFixed(fd, ioas, 0x123, 1, 82).ShouldBe(0);
        rig.MapFixed(fd, ioas, 0x123, 1, 81).ShouldBe(-(int)Errno.Exists);
        rig.MapFixed(fd, ioas, 0x123, 2, ulong.MaxValue - 1).ShouldBe(0);
        rig.Memory.PinCalls.ShouldBe(0);
        rig.Unmap(fd, ioas, 5, 77, out ulong unmapped).ShouldBe(0);
        unmapped.ShouldBe(77ul);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_mapping_that_a_domain_cannot_hold_refuses_the_attach()
    {
        foreach ((ulong memory, ulong length, ulong iova) in (IEnumerable<(ulong, ulong, ulong)>)
            [(Page(0), 100, 0x1000), (Page(0), 4096, 0x1001), (Page(0) + 16, 4096, 0x1000)])
        {
            Rig rig = new();
            int fd = rig.OpenIommu();
            uint ioas = rig.AllocateSpace(fd);
            rig.MapFixed(fd, ioas, memory, length, iova).ShouldBe(0);
            int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
            _ = VfioTests.Bind(rig, device, fd);
            VfioTests.Attach(rig, device, ioas).Result.ShouldBe(-(int)Errno.AddressInUse);
            rig.Memory.PinnedPages.ShouldBe(0);
            rig.Iommu.Domains.ShouldBeEmpty();
            rig.Unmap(fd, ioas, iova, length, out _).ShouldBe(0);
            VfioTests.Attach(rig, device, ioas).Result.ShouldBe(0);
        }
    }

    [Fact]
    public void An_attach_pins_what_was_mapped_before_and_reports_memory_that_is_not_there()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(fd);
        rig.MapFixed(fd, ioas, Page(0), 0x3000, 0x1000).ShouldBe(0);
        rig.MapFixed(fd, ioas, 0x7000_0000, 4096, 0x8000).ShouldBe(0);
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, device, fd);
        VfioTests.Attach(rig, device, ioas).Result.ShouldBe(-(int)Errno.BadAddress);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Iommu.Domains.ShouldBeEmpty();
        rig.Unmap(fd, ioas, 0x8000, 4096, out _).ShouldBe(0);
        VfioTests.Attach(rig, device, ioas).Result.ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(3);
    }

    [Fact]
    public void Access_is_handed_to_the_table_and_writable_memory_is_asked_for_only_then()
    {
        Rig rig = new(new() { ReadOnly = new(Page(4), Page(5) - 1) });
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(4), 4096), new(0x1000), Access.Read);
        attached.Space.MapErrno(new(Page(4), 4096), new(0x2000), Access.Write).ShouldBe(Errno.BadAddress);
        attached.Space.MapErrno(new(Page(4), 4096), new(0x2000), Access.ReadWrite).ShouldBe(Errno.BadAddress);
        attached.Space.Map(new(Page(5), 4096), new(0x2000), Access.Write);
        attached.Domain.TryTranslate(new(0x1000), out _, out Access access, out _).ShouldBeTrue();
        access.ShouldBe(Access.Read);
        attached.Domain.TryTranslate(new(0x2000), out _, out access, out _).ShouldBeTrue();
        access.ShouldBe(Access.Write);
        attached.Space.MapErrno(new(Page(5), 4096), new(0x3000), Access.None).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Memory_in_pieces_is_mapped_piece_by_piece_and_contiguous_pieces_at_once()
    {
        Rig rig = new(new() { RunPages = 5 });
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(3), 20 * 4096), new(0x100000), Access.Read);
        for (int i = 0; i < 20; i++)
        {
            attached.Domain.TryTranslate(new(0x100000 + ((ulong)i * 4096)), out PhysicalAddress address, out _, out _)
                .ShouldBeTrue();
            address.Value.ShouldBe(rig.Memory.ToPhysical(Page(3 + i)));
        }

        attached.Domain.MapCalls.ShouldBe(5);
        attached.Space.Unmap(new(0x100000), 20 * 4096).ShouldBe(20ul * 4096);
        rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void Unmap_takes_whole_areas_only()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        int fd = attached.Fd;
        uint ioas = attached.Space.Id;
        rig.MapFixed(fd, ioas, Page(0), 0x2000, 0x10000).ShouldBe(0);
        rig.MapFixed(fd, ioas, Page(4), 0x1000, 0x14000).ShouldBe(0);
        rig.MapFixed(fd, ioas, Page(8), 0x3000, 0x18000).ShouldBe(0);
        rig.Unmap(fd, ioas, 0x10000, 0x1000, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.Unmap(fd, ioas, 0x11000, 0x1000, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.Unmap(fd, ioas, 0x12000, 0x2000, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.Unmap(fd, ioas, 0x10000, 0, out _).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Unmap(fd, ioas, ulong.MaxValue, 1, out _).ShouldBe(-(int)Errno.Overflow);
        rig.Unmap(fd, ioas, 1, ulong.MaxValue, out _).ShouldBe(-(int)Errno.Overflow);
        rig.Unmap(fd, ioas, 3, ulong.MaxValue - 1, out _).ShouldBe(-(int)Errno.Overflow);
        rig.Unmap(fd, 99, 0x10000, 0x2000, out _).ShouldBe(-(int)Errno.NoEntry);
        attached.Domain.MappedPages.ShouldBe(6);

        // A range that cuts the last area: those below it are gone, and the error says that it is not all.
        rig.Unmap(fd, ioas, 0x10000, 0xa000, out ulong length).ShouldBe(-(int)Errno.NoEntry);
        length.ShouldBe(0xa000ul);
        attached.Domain.MappedPages.ShouldBe(3);
        rig.MapFixed(fd, ioas, Page(0), 0x2000, 0x10000).ShouldBe(0);

        // A superset counts only what was mapped.
        rig.Unmap(fd, ioas, 0, 0x1_0000_0000, out ulong unmapped).ShouldBe(0);
        unmapped.ShouldBe(0x5000ul);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Unmap(fd, ioas, 0, 0x1_0000_0000, out _).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    public void Iova_zero_with_the_largest_length_unmaps_everything_even_if_that_is_nothing()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.UnmapAll().ShouldBe(0ul);
        for (ulong i = 0; i < 1000; i++)
        {
            attached.Space.Map(new(Page((int)i), 4096), new(i * 0x3000), Access.Read);
        }

        int before = rig.Iommu.Synchronisations;
        attached.Space.UnmapAll().ShouldBe(1000ul * 4096);
        rig.Memory.PinnedPages.ShouldBe(0);

        // One invalidation serves many areas.
        (rig.Iommu.Synchronisations - before).ShouldBeLessThan(10);
    }

    [Fact]
    public void A_strict_unmap_lets_the_memory_go_only_after_the_invalidation()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(0), 0x4000), new(0x4000), Access.ReadWrite);
        _ = attached.Space.Unmap(new(0x4000), 0x4000);
        rig.Iommu.Synchronisations.ShouldBeGreaterThan(0);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void Memory_stays_pinned_while_an_iommu_cannot_complete_the_invalidation()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(0), 0x1000), new(0x4000), Access.ReadWrite);
        rig.Iommu.FailsToComplete = true;
        attached.Space.UnmapErrno(new(0x4000), 0x1000, out _).ShouldBe(Errno.IoError);
        rig.Memory.PinnedPages.ShouldBe(1);
        attached.Space.UnmapErrno(new(0x4000), 0x1000, out _).ShouldBe(Errno.NoEntry);
        attached.Space.MapErrno(new(Page(1), 0x1000), new(0x4000), Access.Read).ShouldBe(Errno.IoError);

        // Once it works again, the next call that needs the IOVA completes it.
        rig.Iommu.FailsToComplete = false;
        attached.Space.MapErrno(new(Page(1), 0x1000), new(0x4000), Access.Read).ShouldBe(Errno.Success);
        rig.Memory.PinsOf(Page(0)).ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void Pinned_memory_is_limited_and_freed_again()
    {
        Rig rig = new(pinnedLimit: 4 * 4096);
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(0), 0x3000), new(0x10000), Access.Read);
        attached.Space.MapErrno(new(Page(8), 0x2000), new(0x20000), Access.Read).ShouldBe(Errno.OutOfMemory);
        rig.KernelSide.Audit.PinnedBytes.ShouldBe(0x3000);
        attached.Space.Map(new(Page(8), 0x1000), new(0x20000), Access.Read);
        _ = attached.Space.UnmapAll();
        attached.Space.Map(new(Page(8), 0x4000), new(0x20000), Access.Read);
    }

    [Fact]
    public void A_copy_shares_the_memory_and_is_not_pinned_again()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        using IoAddressSpace other = attached.Iommu.AllocateAddressSpace();
        using HardwarePageTable table = attached.Iommu.AllocatePageTable(attached.Vfio, other);
        attached.Space.Map(new(Page(0), 0x4000), new(0x10000), Access.ReadWrite);
        attached.Space.Map(new(Page(9), 0x2000), new(0x14000), Access.ReadWrite);
        int pins = rig.Memory.PinCalls;
        other.CopyErrno(attached.Space, new(0x12000), 0x4000, new(0x80000), Access.ReadWrite).ShouldBe(Errno.Success);
        rig.Memory.PinCalls.ShouldBe(pins);
        FakeDomain copy = rig.Iommu.Domains.Single(domain => domain != attached.Domain);
        foreach ((ulong iova, int page) in (IEnumerable<(ulong, int)>)[(0x80000, 2), (0x81000, 3), (0x82000, 9), (0x83000, 10)])
        {
            copy.TryTranslate(new(iova), out PhysicalAddress address, out _, out _).ShouldBeTrue();
            address.Value.ShouldBe(rig.Memory.ToPhysical(Page(page)));
        }

        // The memory outlives the original mapping.
        _ = attached.Space.UnmapAll();
        rig.Memory.PinsOf(Page(2)).ShouldBe(1);
        other.UnmapAll().ShouldBe(0x4000ul);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void Every_wrong_copy_has_its_error_number_and_changes_nothing()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        using IoAddressSpace other = attached.Iommu.AllocateAddressSpace();
        using HardwarePageTable table = attached.Iommu.AllocatePageTable(attached.Vfio, other);
        attached.Space.Map(new(Page(0), 0x2000), new(0x10000), Access.ReadWrite);
        attached.Space.Map(new(Page(2), 0x2000), new(0x12000), Access.Read);
        attached.Space.Map(new(Page(4), 0x1000), new(0x15000), Access.ReadWrite);
        other.Map(new(Page(20), 0x1000), new(0x93000), Access.Read);

        Errno Try(ulong source, ulong length, ulong destination, Access access = Access.Read) =>
            other.CopyErrno(attached.Space, new(source), length, new(destination), access);

        Try(0x10000, 0, 0x80000).ShouldBe(Errno.InvalidArgument);
        Try(0x10000, ulong.MaxValue, 0x80000).ShouldBe(Errno.Overflow);
        Try(ulong.MaxValue, 4096, 0x80000).ShouldBe(Errno.Overflow);
        Try(0x10000, 4096, ulong.MaxValue).ShouldBe(Errno.Overflow);
        Try(ulong.MaxValue - 4095, 8192, 0x80000).ShouldBe(Errno.Overflow);
        Try(0x10000, 4096, 0x80000, Access.None).ShouldBe(Errno.InvalidArgument);
        Try(0x13000, 0x3000, 0x80000).ShouldBe(Errno.NoEntry);
        Try(0xf000, 0x2000, 0x80000).ShouldBe(Errno.NoEntry);
        Try(0x10000, 0x100, 0x80000).ShouldBe(Errno.InvalidArgument);
        Try(0x10000, 0x1000, 0x80001).ShouldBe(Errno.InvalidArgument);
        Try(0x10000, 0x4000, 0x90000).ShouldBe(Errno.Exists);

        // The first piece may be written, the second not: none of it is mapped.
        Try(0x11000, 0x2000, 0x80000, Access.ReadWrite).ShouldBe(Errno.NotPermitted);
        rig.Iommu.Domains.Single(domain => domain != attached.Domain).MappedPages.ShouldBe(1);
        rig.KernelSide.Audit.Areas.ShouldBe(4);
        rig.KernelSide.Audit.Memories.ShouldBe(4);
        IommuIoasCopy unknown = new()
        {
            Flags = IoasMapFlags.Readable, SourceIoasId = 99, DestinationIoasId = other.Id, SourceIova = 0x10000, Length = 4096,
        };
        rig.Call(attached.Fd, ref unknown).ShouldBe(-(int)Errno.NoEntry);
        unknown.SourceIoasId = attached.Space.Id;
        unknown.DestinationIoasId = 99;
        rig.Call(attached.Fd, ref unknown).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    public void A_copy_within_one_space_gives_a_second_view()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(0), 0x2000), new(0x10000), Access.ReadWrite);
        attached.Space.CopyErrno(attached.Space, new(0x11000), 0x1000, Access.Read, out Iova iova).ShouldBe(Errno.Success);
        attached.Domain.TryTranslate(iova, out PhysicalAddress address, out Access access, out _).ShouldBeTrue();
        (address.Value, access).ShouldBe((rig.Memory.ToPhysical(Page(1)), Access.Read));
        rig.Memory.PinsOf(Page(1)).ShouldBe(1);
    }

    [Fact]
    public void Large_pages_can_be_forbidden_only_before_something_is_in_a_domain()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.GetOptionErrno(IommuOptionId.HugePages, out ulong value).ShouldBe(Errno.Success);
        value.ShouldBe(1ul);
        attached.Space.Map(new(Page(0), 0x8000), new(0x10000), Access.Read);
        (attached.Domain.MapCalls, attached.Domain.GranuleCalls).ShouldBe((1, 0));
        attached.Space.SetOptionErrno(IommuOptionId.HugePages, 0).ShouldBe(Errno.InvalidArgument);
        _ = attached.Space.UnmapAll();
        attached.Space.SetHugePages(false);
        attached.Space.Map(new(Page(0), 0x8000), new(0x10000), Access.Read);
        (attached.Domain.MapCalls, attached.Domain.GranuleCalls).ShouldBe((2, 1));
        attached.Space.SetOptionErrno(IommuOptionId.HugePages, 2).ShouldBe(Errno.InvalidArgument);
        attached.Space.SetHugePages(true);
        attached.Space.GetOptionErrno(IommuOptionId.HugePages, out value).ShouldBe(Errno.Success);
        value.ShouldBe(1ul);
    }

    [Fact]
    public void Without_large_pages_mappings_are_whole_pages_even_before_a_domain()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(fd);
        rig.MapFixed(fd, ioas, 0, 100, 100).ShouldBe(0);
        IommuOption option = new() { OptionId = IommuOptionId.HugePages, ObjectId = ioas };
        rig.Call(fd, ref option).ShouldBe(-(int)Errno.AddressInUse);
        rig.Unmap(fd, ioas, 100, 100, out _).ShouldBe(0);
        rig.Call(fd, ref option).ShouldBe(0);
        rig.MapFixed(fd, ioas, 0, 100, 100).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void Options_check_their_argument_like_Linux()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        int Try(IommuOption argument) => rig.Call(fd, ref argument);

        IommuOption rlimit = new() { OptionId = IommuOptionId.RlimitMode, Operation = IommuOptionOperation.Set, Value = 1 };
        Try(rlimit).ShouldBe(0);
        Try(rlimit with { Value = 2 }).ShouldBe(-(int)Errno.InvalidArgument);
        Try(rlimit with { ObjectId = 1 }).ShouldBe(-(int)Errno.NotSupported);
        Try(rlimit with { Operation = (IommuOptionOperation)2 }).ShouldBe(-(int)Errno.NotSupported);
        Try(rlimit with { Reserved = 1 }).ShouldBe(-(int)Errno.NotSupported);
        IommuOption get = new() { OptionId = IommuOptionId.RlimitMode, Operation = IommuOptionOperation.Get };
        rig.Call(fd, ref get).ShouldBe(0);
        get.Value.ShouldBe(1ul);
        uint ioas = rig.AllocateSpace(fd);
        Try(rlimit).ShouldBe(-(int)Errno.Busy);
        Try(new() { OptionId = (IommuOptionId)2, ObjectId = ioas }).ShouldBe(-(int)Errno.NotSupported);
        Try(new() { OptionId = IommuOptionId.HugePages, ObjectId = 99, Value = 1 }).ShouldBe(-(int)Errno.NoEntry);
        Try(new() { OptionId = IommuOptionId.HugePages, ObjectId = ioas, Operation = (IommuOptionOperation)7 })
            .ShouldBe(-(int)Errno.NotSupported);
        Try(new() { OptionId = IommuOptionId.LazyInvalidation, ObjectId = ioas, Value = 2 })
            .ShouldBe(-(int)Errno.InvalidArgument);
        Try(new() { OptionId = IommuOptionId.Flush, ObjectId = ioas, Value = 0 }).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void The_space_of_VFIO_compatibility_is_remembered_until_it_is_cleared_or_destroyed()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(fd);
        int Try(VfioIoasOperation operation, uint id, out uint answer, ushort reserved = 0)
        {
            IommuVfioIoas argument = new() { IoasId = id, Operation = operation, Reserved = reserved };
            int result = rig.Call(fd, ref argument);
            answer = argument.IoasId;
            return result;
        }

        Try(VfioIoasOperation.Get, 0, out _).ShouldBe(-(int)Errno.NoDevice);
        Try(VfioIoasOperation.Set, 99, out _).ShouldBe(-(int)Errno.NoEntry);
        Try(VfioIoasOperation.Set, ioas, out _, 1).ShouldBe(-(int)Errno.NotSupported);
        Try((VfioIoasOperation)3, ioas, out _).ShouldBe(-(int)Errno.NotSupported);
        Try(VfioIoasOperation.Set, ioas, out _).ShouldBe(0);
        Try(VfioIoasOperation.Get, 0, out uint found).ShouldBe(0);
        found.ShouldBe(ioas);
        Try(VfioIoasOperation.Clear, 0, out _).ShouldBe(0);
        Try(VfioIoasOperation.Get, 0, out _).ShouldBe(-(int)Errno.NoDevice);
        Try(VfioIoasOperation.Set, ioas, out _).ShouldBe(0);
        IommuDestroy destroy = new() { Id = ioas };
        rig.Call(fd, ref destroy).ShouldBe(0);
        Try(VfioIoasOperation.Get, 0, out _).ShouldBe(-(int)Errno.NoDevice);
    }

    [Fact]
    public void Object_numbers_start_at_one_and_are_the_lowest_free()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        for (uint id = 1; id <= 40; id++)
        {
            rig.AllocateSpace(fd).ShouldBe(id);
        }

        IommuDestroy destroy = new() { Id = 7 };
        rig.Call(fd, ref destroy).ShouldBe(0);
        rig.Call(fd, ref destroy).ShouldBe(-(int)Errno.NoEntry);
        destroy.Id = 0;
        rig.Call(fd, ref destroy).ShouldBe(-(int)Errno.NoEntry);
        rig.AllocateSpace(fd).ShouldBe(7u);
        rig.AllocateSpace(fd).ShouldBe(41u);
        IommuIoasAlloc flags = new() { Flags = 1 };
        rig.Call(fd, ref flags).ShouldBe(-(int)Errno.NotSupported);
    }

    [Fact]
    public void The_kernel_does_not_choose_the_first_page_nor_what_is_taken()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach(new ReservedRegion(new(0x3000, 0x3fff), ReservedRegionKind.Reserved));
        attached.Space.Map(new(Page(0), 4096), Access.Read).ShouldBe(new Iova(0x1000));
        attached.Space.Map(new(Page(1), 4096), Access.Read).ShouldBe(new Iova(0x2000));
        attached.Space.Map(new(Page(2), 4096), Access.Read).ShouldBe(new Iova(0x4000));
        _ = attached.Space.Unmap(new(0x2000), 4096);
        attached.Space.Map(new(Page(3), 4096), Access.Read).ShouldBe(new Iova(0x2000));
    }

    [Fact]
    public void A_chosen_iova_keeps_the_alignment_that_large_leaves_need()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(1), 4096), Access.Read);
        (attached.Space.Map(new(FakeUserMemory.Start + (4ul << 20), 2 << 20), Access.Read).Value % (2 << 20)).ShouldBe(0ul);
        (attached.Space.Map(new(FakeUserMemory.Start + 0x1_0000, 2 << 20), Access.Read).Value % 0x1_0000).ShouldBe(0ul);
        (attached.Space.Map(new(FakeUserMemory.Start + (4ul << 20), 17 << 12), Access.Read).Value % 0x1_0000).ShouldBe(0ul);

        // Every power of two, as Linux has it, in the lowest place that is so: 5 pages want 8. Memory that is less aligned wants less.
        attached.Space.Map(new(FakeUserMemory.Start + (4ul << 20), 5 << 12), Access.Read).ShouldBe(new(0x8000));
        attached.Space.Map(new(FakeUserMemory.Start + 0x1000, 5 << 12), Access.Read).ShouldBe(new(0x2000));
    }

    [Fact]
    public void Alignment_up_to_2_MiB_does_not_give_way_where_there_is_no_room_for_it()
    {
        Rig rig = new(iommu: new() { Aperture = new(0, (3ul << 20) - 1) });
        using Rig.Attached attached = rig.Attach();
        attached.Space.MapErrno(new(FakeUserMemory.Start + (4ul << 20), 2 << 20), Access.Read, out _).ShouldBe(Errno.NoSpace);
        attached.Space.MapErrno(new(FakeUserMemory.Start + (1ul << 20), 2 << 20), Access.Read, out Iova iova).ShouldBe(Errno.Success);
        iova.ShouldBe(new(1ul << 20));
    }

    [Fact]
    public void A_space_without_a_gap_is_ENOSPC()
    {
        Rig rig = new(iommu: new() { Aperture = new(0, 0xffff) });
        using Rig.Attached attached = rig.Attach();
        for (int i = 0; i < 15; i++)
        {
            attached.Space.MapErrno(new(Page(i), 4096), Access.Read, out _).ShouldBe(Errno.Success);
        }

        attached.Space.MapErrno(new(Page(15), 4096), Access.Read, out _).ShouldBe(Errno.NoSpace);
        attached.Space.MapErrno(new(Page(15), 4096), new(0), Access.Read).ShouldBe(Errno.Success);
        attached.Space.MapErrno(new(Page(15), 1ul << 63), Access.Read, out _).ShouldBe(Errno.Overflow);
    }

    [Fact]
    public void A_destroyed_space_takes_its_mappings_along_and_a_used_one_is_EBUSY()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.Map(new(Page(0), 4096), new(0x1000), Access.Read);
        attached.Space.DestroyErrno().ShouldBe(Errno.Busy);
        attached.Vfio.Detach();
        attached.Space.DestroyErrno().ShouldBe(Errno.Success);
        rig.KernelSide.Audit.Areas.ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void A_refused_call_tells_errno_call_and_values()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        IommuException error = Should.Throw<IommuException>(
            () => attached.Space.Map(new(0xdead000, 0x2000), new(0x7000), Access.Read));
        error.Error.ShouldBe(Errno.BadAddress);
        error.Call.ShouldBe("IOMMU_IOAS_MAP");
        error.Message.ShouldContain("0xdead000");
        error.Message.ShouldContain("0x7000");
        error.Message.ShouldContain("errno 14");
    }

    [Fact]
    public async Task Maps_of_many_threads_into_one_space_and_one_domain_do_not_disturb_each_other()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(
            () =>
            {
                Random random = new(worker);
                List<Iova> mine = [];
                for (int i = 0; i < 3000; i++)
                {
                    if (mine.Count < 20 || random.Next(2) == 0)
                    {
                        mine.Add(attached.Space.Map(new(Page(random.Next(1000)), 4096), Access.Read));
                    }
                    else
                    {
                        int victim = random.Next(mine.Count);
                        attached.Space.Unmap(mine[victim], 4096).ShouldBe(4096ul);
                        mine.RemoveAt(victim);
                    }
                }

                foreach (Iova iova in mine)
                {
                    _ = attached.Space.Unmap(iova, 4096);
                }
            },
            TestContext.Current.CancellationToken)));
        attached.Domain.MappedPages.ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void In_the_steady_state_nothing_is_allocated_on_the_managed_heap()
    {
        Rig rig = new();
        using IommuFd iommu = IommuFd.Open(rig.Kernel);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        void Once(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _ = space.MapErrno(new(Page(i), 4096), Access.Read, out _);
            }

            for (int i = 0; i < count; i++)
            {
                _ = space.UnmapErrno(new((ulong)(i + 1) * 4096), 4096, out _);
            }
        }

        SteadyState.AllocatedBytes(() => Once(2000)).ShouldBe(0);
        rig.KernelSide.Audit.Areas.ShouldBe(0);
    }

}
