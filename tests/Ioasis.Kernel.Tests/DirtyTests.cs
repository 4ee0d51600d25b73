using System.Buffers.Binary;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Dirty pages through the ABI.</summary>
public sealed class DirtyTests
{
    private static ulong Page(int index) => FakeUserMemory.Start + ((ulong)index * 4096);

    private static int Track(HardwareRig rig, uint table, bool enable)
    {
        IommuHwptSetDirtyTracking argument = new()
        {
            HwptId = table, Flags = enable ? HwptDirtyTrackingFlags.Enable : HwptDirtyTrackingFlags.None,
        };
        return rig.Call(ref argument);
    }

    private static int Read(
        HardwareRig rig, uint table, ulong iova, ulong length, ulong pageSize = 4096, bool clear = true, ulong data = FakeUserMemory.ArgumentStart)
    {
        IommuHwptGetDirtyBitmap argument = new()
        {
            HwptId = table, Iova = iova, Length = length, PageSize = pageSize, Data = data,
            Flags = clear ? HwptDirtyBitmapFlags.None : HwptDirtyBitmapFlags.NoClear,
        };
        return rig.Call(ref argument);
    }

    private static (HardwareRig Rig, uint Table, FakeDomain Domain) Prepare(int pages)
    {
        HardwareRig rig = new();
        uint table = rig.AllocateTable(HwptAllocFlags.DirtyTracking);
        rig.Attach(table);
        rig.Rig.MapFixed(rig.Fd, rig.Space, Page(0), (ulong)pages * 4096, 0x10_0000).ShouldBe(0);
        return (rig, table, rig.Iommu.Domains[0]);
    }

    [Fact]
    public void Written_pages_are_told_once_and_other_bits_of_the_callers_bitmap_stay()
    {
        (HardwareRig rig, uint table, FakeDomain domain) = Prepare(200);
        using HardwareRig held = rig;
        domain.Touch(0x10_0000);
        Track(rig, table, true).ShouldBe(0);
        domain.Touch(0x10_3000);
        domain.Touch(0x10_0000 + (150 * 4096));
        rig.Arguments[1] = 0x80;
        Read(rig, table, 0x10_0000, 200 * 4096, clear: false).ShouldBe(0);
        for (int round = 0; round < 2; round++)
        {
            rig.Arguments[..26].ToArray().Select(static (b, i) => (b, i)).Where(static x => x.b != 0).ShouldBe(
                [((byte)8, 0), ((byte)0x80, 1), ((byte)(1 << (150 % 8)), 150 / 8)]);
            Read(rig, table, 0x10_0000, 200 * 4096).ShouldBe(0);
        }

        rig.Arguments[..32].Clear();
        Read(rig, table, 0x10_0000, 200 * 4096).ShouldBe(0);
        rig.Arguments[..32].ToArray().ShouldAllBe(static b => b == 0);

        // A part, with larger pages, from a bit of its own.
        domain.Touch(0x10_9000);
        Read(rig, table, 0x10_8000, 0x8000, 0x4000).ShouldBe(0);
        rig.Arguments[0].ShouldBe((byte)1);
        Track(rig, table, false).ShouldBe(0);
        domain.Touch(0x10_9000);
        Read(rig, table, 0x10_8000, 0x8000).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void Every_wrong_dirty_call_has_its_error_number_and_makes_nothing_clean()
    {
        (HardwareRig rig, uint table, FakeDomain domain) = Prepare(16);
        using HardwareRig held = rig;
        Track(rig, table, true).ShouldBe(0);
        domain.Touch(0x10_0000);
        Read(rig, table, 0x10_0000, 0x10001).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, 0x10_0001, 0xffff).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, 0x10_0000, 0x10000, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, 0x10_0000, 0x3000, 0x2000).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, ulong.MaxValue - 0xfff, 0x2000).ShouldBe(-(int)Errno.Overflow);
        Read(rig, table, 0x10_0000, 0).ShouldBe(-(int)Errno.Overflow);
        Read(rig, table, 0, 0).ShouldBe(-(int)Errno.InvalidArgument);

        // A hole, before, within or behind.
        Read(rig, table, 0xf_f000, 0x2000).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, 0x10_0000, 0x11000).ShouldBe(-(int)Errno.InvalidArgument);
        Read(rig, table, 0x10_0000, 0x1000, data: 1).ShouldBe(-(int)Errno.BadAddress);
        Read(rig, rig.Space, 0x10_0000, 0x1000).ShouldBe(-(int)Errno.NoEntry);
        Read(rig, 99, 0x10_0000, 0x1000).ShouldBe(-(int)Errno.NoEntry);
        IommuHwptGetDirtyBitmap flags = new() { HwptId = table, Flags = (HwptDirtyBitmapFlags)2, Length = 4096, PageSize = 4096 };
        rig.Call(ref flags).ShouldBe(-(int)Errno.NotSupported);
        IommuHwptSetDirtyTracking wrong = new() { HwptId = table, Flags = (HwptDirtyTrackingFlags)2 };
        rig.Call(ref wrong).ShouldBe(-(int)Errno.NotSupported);

        uint plain = rig.AllocateTable();
        Track(rig, plain, true).ShouldBe(-(int)Errno.NotSupported);
        Track(rig, rig.Space, true).ShouldBe(-(int)Errno.NoEntry);
        Read(rig, plain, 0x10_0000, 0x1000).ShouldBe(-(int)Errno.NotSupported);

        Read(rig, table, 0x10_0000, 0x10000).ShouldBe(0);
        rig.Arguments[0].ShouldBe((byte)1);
    }

    [Fact]
    public void A_range_over_several_mappings_is_one_bitmap()
    {
        (HardwareRig rig, uint table, FakeDomain domain) = Prepare(3);
        using HardwareRig held = rig;
        rig.Rig.MapFixed(rig.Fd, rig.Space, Page(9), 5 * 4096, 0x10_3000).ShouldBe(0);
        Track(rig, table, true).ShouldBe(0);
        domain.Touch(0x10_2000);
        domain.Touch(0x10_3000);
        domain.Touch(0x10_7000);
        Read(rig, table, 0x10_1000, 7 * 4096).ShouldBe(0);
        BinaryPrimitives.ReadUInt64LittleEndian(rig.Arguments).ShouldBe(0b1000110ul);
    }
}
