using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>A guest's first stages on a second stage of the host, in Linux's layouts, PASID by PASID.</summary>
public sealed class NestedTests : IDisposable
{
    // Guest-physical 0 to 16 MiB is at this host address; the guest builds its tables there.
    private const ulong GuestMemory = 0x1_0000_0000ul * 3;
    private const ulong GuestBytes = 16ul << 20;
    private const ulong Gva = 0x7654_3000;
    private const ulong TableArea = 8ul << 20;

    private readonly Rig _rig = new();
    private readonly IommuDevice _device;
    private readonly VtdPagingDomain _parent;

    public NestedTests()
    {
        _device = _rig.AddDevice(0x0110, pasidBits: 20, ats: true);
        _parent = _rig.NewDomain(_device, new() { NestParent = true });
        _parent.ShouldMap(0, GuestMemory, GuestBytes);
    }

    public void Dispose() => _rig.Dispose();

    [Fact]
    public void The_layouts_are_those_of_the_ABI()
    {
        VtdNestedDomain.DataType.ShouldBe(VtdUapi.HwptDataType);
        VtdNestedDomain.InvalidateType.ShouldBe(VtdUapi.InvalidateDataType);
        Marshal.SizeOf<IommuHwptVtdS1>().ShouldBe(VtdNestedDomain.DataSize);
        OffsetOf<IommuHwptVtdS1>(nameof(IommuHwptVtdS1.PageTableAddress)).ShouldBe(VtdNestedDomain.TableOffset);
        OffsetOf<IommuHwptVtdS1>(nameof(IommuHwptVtdS1.AddressWidth)).ShouldBe(VtdNestedDomain.WidthOffset);
        OffsetOf<IommuHwptVtdS1>(nameof(IommuHwptVtdS1.Reserved)).ShouldBe(VtdNestedDomain.DataReservedOffset);
        Marshal.SizeOf<IommuHwptVtdS1Invalidate>().ShouldBe(VtdNestedDomain.EntrySize);
        OffsetOf<IommuHwptVtdS1Invalidate>(nameof(IommuHwptVtdS1Invalidate.PageCount)).ShouldBe(VtdNestedDomain.PagesOffset);
        OffsetOf<IommuHwptVtdS1Invalidate>(nameof(IommuHwptVtdS1Invalidate.Flags)).ShouldBe(VtdNestedDomain.EntryFlagsOffset);
        OffsetOf<IommuHwptVtdS1Invalidate>(nameof(IommuHwptVtdS1Invalidate.Reserved)).ShouldBe(VtdNestedDomain.EntryReservedOffset);
    }

    [Fact]
    public void The_hardware_is_described_as_Linux_does()
    {
        byte[] bytes = new byte[Marshal.SizeOf<IommuHwInfoVtd>()];
        _rig.Driver.GetHardwareInfo(out uint type, bytes, out int needed).ShouldBe(Errno.Success);
        type.ShouldBe(VtdUapi.HardwareInfoType);
        needed.ShouldBe(bytes.Length);
        IommuHwInfoVtd info = MemoryMarshal.Read<IommuHwInfoVtd>(bytes);
        info.Capabilities.ShouldBe(_rig.Hardware.Options.Capabilities.Value);
        info.ExtendedCapabilities.ShouldBe(_rig.Hardware.Options.ExtendedCapabilities.Value);
        info.Flags.ShouldBe(IommuHwInfoVtdFlags.None);
    }

    [Fact]
    public void Each_PASID_has_a_guest_table_of_its_own_and_the_device_another()
    {
        GuestTable own = new(_rig, GuestMemory, TableArea);
        GuestTable first = new(_rig, GuestMemory, TableArea + 0x10_0000);
        GuestTable second = new(_rig, GuestMemory, TableArea + 0x20_0000);
        own.Map(Gva, 0x1000);
        first.Map(Gva, 0x2000);
        second.Map(Gva, 0x3000);
        _device.Group.Attach(NewNested(own.Root)).ShouldBe(Errno.Success, _rig.Log.ToString());
        _device.Group.AttachPasid(new(1), NewNested(first.Root)).ShouldBe(Errno.Success);
        _device.Group.AttachPasid(new(2), NewNested(second.Root)).ShouldBe(Errno.Success);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x1000);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x2000, pasid: new(1));
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x3000, pasid: new(2));
        _device.Group.DetachPasid(new(1)).ShouldBe(Errno.Success);
        _rig.Dma(_device, Gva, pasid: new(1)).Status.ShouldNotBe(DmaStatus.Success);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x3000, pasid: new(2));
        _parent.BondCount.ShouldBe(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_the_guest_invalidates_is_forgotten(bool wholly)
    {
        GuestTable table = new(_rig, GuestMemory, TableArea);
        table.Map(Gva, 0x1000);
        NestedDomain nested = NewNested(table.Root);
        _device.Group.AttachPasid(new(5), nested).ShouldBe(Errno.Success);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x1000, pasid: new(5));
        table.Unmap(Gva);
        table.Map(Gva, 0x5000);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x1000, pasid: new(5));
        _rig.Invalidations.Clear();
        IommuHwptVtdS1Invalidate entry = wholly
            ? new() { PageCount = ulong.MaxValue }
            : new() { Address = Gva, PageCount = 1, Flags = IommuHwptVtdS1InvalidateFlags.Leaf };
        Invalidate(nested, [entry], out uint done).ShouldBe(Errno.Success);
        done.ShouldBe(1u);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x5000, pasid: new(5));
        PcieMessage told = _rig.Invalidations.ShouldHaveSingleItem();
        told.Pasid.ShouldBe(new Pasid(5));
        told.Payload.ShouldBe(wholly ? PcieInvalidation.Everything : Gva);
    }

    [Fact]
    public void What_the_host_takes_from_the_parent_no_guest_table_reaches()
    {
        GuestTable table = new(_rig, GuestMemory, TableArea);
        table.Map(Gva, 0x1000);
        _device.Group.AttachPasid(new(5), NewNested(table.Root)).ShouldBe(Errno.Success);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x1000, pasid: new(5));
        _rig.Invalidations.Clear();
        _parent.ShouldUnmap(0x1000);
        _rig.Dma(_device, Gva, pasid: new(5)).Status.ShouldNotBe(DmaStatus.Success);

        // The device caches guest addresses: it has to forget all.
        _rig.Invalidations.ShouldHaveSingleItem().Payload.ShouldBe(PcieInvalidation.Everything);
    }

    [Fact]
    public void Entries_before_a_bad_one_are_carried_out_and_counted()
    {
        NestedDomain nested = NewNested(TableArea);
        IommuHwptVtdS1Invalidate good = new() { Address = Gva, PageCount = 1 };
        Invalidate(nested, [good, good, new() { Address = Gva + 1, PageCount = 1 }], out uint done).ShouldBe(Errno.InvalidArgument);
        done.ShouldBe(2u);
        Invalidate(nested, [good, new() { Address = Gva, PageCount = 1, Flags = (IommuHwptVtdS1InvalidateFlags)2 }], out done)
            .ShouldBe(Errno.NotSupported);
        done.ShouldBe(1u);
        Invalidate(nested, [new() { Address = Gva, PageCount = ulong.MaxValue }], out done).ShouldBe(Errno.InvalidArgument);
        Invalidate(nested, [new() { Address = Gva, PageCount = 1, Reserved = 1 }], out done).ShouldBe(Errno.NotSupported);
        done.ShouldBe(0u);
        uint count = 1;
        nested.Invalidate(7, MemoryMarshal.AsBytes<IommuHwptVtdS1Invalidate>([good]), VtdNestedDomain.EntrySize, ref count)
            .ShouldBe(Errno.InvalidArgument);
        count.ShouldBe(0u);

        // No entries ask only whether the kind is known; entries have one length.
        nested.Invalidate(VtdUapi.InvalidateDataType, [], 1, ref count).ShouldBe(Errno.Success);
        nested.Invalidate(7, [], 1, ref count).ShouldBe(Errno.InvalidArgument);
        count = 1;
        nested.Invalidate(VtdUapi.InvalidateDataType, new byte[32], 32, ref count).ShouldBe(Errno.InvalidArgument);
        count.ShouldBe(0u);
    }

    [Fact]
    public void Data_is_as_long_as_the_structure_and_what_it_says_beside_what_is_known_is_not_looked_at()
    {
        // Recorded from Linux: it looks at neither when a table is made.
        Try(new() { Flags = (IommuHwptVtdS1Flags)8, AddressWidth = 48 }).ShouldBe(Errno.Success);
        Try(new() { AddressWidth = 48, Reserved = 1 }).ShouldBe(Errno.Success);
        byte[] data = new byte[32];
        data[16] = 48;
        _rig.Driver.TryAllocateNestedDomain(_device, _parent, 1, data.AsSpan(0, 20), out _).ShouldBe(Errno.InvalidArgument);
        _rig.Driver.TryAllocateNestedDomain(_device, _parent, 1, data.AsSpan(0, 24), out _).ShouldBe(Errno.Success);
        _rig.Driver.TryAllocateNestedDomain(_device, _parent, 1, data, out _).ShouldBe(Errno.InvalidArgument);
        _rig.Driver.TryAllocateNestedDomain(_device, _parent, 3, data.AsSpan(0, 24), out _).ShouldBe(Errno.NotSupported);
        _rig.Driver.TryAllocateNestedDomain(_device, _rig.NewDomain(_device), 1, data.AsSpan(0, 24), out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void The_lowest_bits_of_the_address_of_a_guests_table_say_nothing()
    {
        GuestTable table = new(_rig, GuestMemory, TableArea);
        table.Map(Gva, 0x1000);
        _device.Group.AttachPasid(new(5), NewNested(table.Root | 0xfff)).ShouldBe(Errno.Success);
        _rig.ShouldReach(_device, Gva, GuestMemory + 0x1000, pasid: new(5));
    }

    [Fact]
    public void A_guests_table_beyond_what_the_host_mapped_faults()
    {
        _device.Group.AttachPasid(new(5), NewNested(1ul << 50)).ShouldBe(Errno.Success);
        _rig.Dma(_device, Gva, pasid: new(5)).Status.ShouldNotBe(DmaStatus.Success);
        _device.Group.DetachPasid(new(5)).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData(39u, IommuHwptVtdS1Flags.None)]
    [InlineData(57u, IommuHwptVtdS1Flags.None)]
    [InlineData(48u, IommuHwptVtdS1Flags.SupervisorRequests)]
    [InlineData(48u, IommuHwptVtdS1Flags.ExtendedAccessed)]
    public void What_the_hardware_cannot_walk_cannot_be_attached(uint width, IommuHwptVtdS1Flags flags)
    {
        using Rig rig = new(new RigOptions().With(
            withoutCapability: Capability.FirstStage5LevelBit,
            withoutExtended: ExtendedCapability.SupervisorRequestBit | ExtendedCapability.RidPrivilegeBit | ExtendedCapability.ExtendedAccessedBit));
        IommuDevice device = rig.AddDevice(0x0110, pasidBits: 20);
        VtdPagingDomain parent = rig.NewDomain(device, new() { NestParent = true });
        IommuHwptVtdS1 data = new() { AddressWidth = width, Flags = flags };
        rig.Driver.TryAllocateNestedDomain(device, parent, 1, MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptVtdS1>(in data)), out NestedDomain? nested)
            .ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(1), nested!).ShouldBe(Errno.InvalidArgument);
        parent.BondCount.ShouldBe(0);
    }

    private static int OffsetOf<T>(string field) => (int)Marshal.OffsetOf<T>(field);

    private Errno Try(IommuHwptVtdS1 data) => _rig.Driver.TryAllocateNestedDomain(
        _device, _parent, VtdUapi.HwptDataType, MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptVtdS1>(in data)), out _);

    private NestedDomain NewNested(ulong root)
    {
        IommuHwptVtdS1 data = new() { PageTableAddress = root, AddressWidth = 48 };
        _rig.Driver.TryAllocateNestedDomain(
            _device, _parent, VtdUapi.HwptDataType, MemoryMarshal.AsBytes(new ReadOnlySpan<IommuHwptVtdS1>(in data)), out NestedDomain? nested)
            .ShouldBe(Errno.Success);
        return nested!;
    }

    private static Errno Invalidate(NestedDomain nested, IommuHwptVtdS1Invalidate[] entries, out uint done)
    {
        done = (uint)entries.Length;
        return nested.Invalidate(VtdUapi.InvalidateDataType, MemoryMarshal.AsBytes<IommuHwptVtdS1Invalidate>(entries), VtdNestedDomain.EntrySize, ref done);
    }

    // A table of 4 levels that the guest builds in its own memory; entries hold guest-physical addresses.
    private sealed class GuestTable(Rig rig, ulong memory, ulong start)
    {
        private ulong _next = start + Rig.Page;

        public ulong Root => start;

        public void Map(ulong gva, ulong gpa) => Store(Leaf(gva), gpa | 7);

        public void Unmap(ulong gva) => Store(Leaf(gva), 0);

        private ulong Leaf(ulong gva)
        {
            ulong table = start;
            for (int shift = 39; shift > 12; shift -= 9)
            {
                ulong at = table + (((gva >> shift) & 0x1ff) * 8);
                rig.Memory.Read64(new(memory + at), out ulong entry).ShouldBe(MemoryStatus.Success);
                if ((entry & 1) == 0)
                {
                    entry = _next | 7;
                    _next += Rig.Page;
                    Store(at, entry);
                }

                table = entry & ~0xffful;
            }

            return table + (((gva >> 12) & 0x1ff) * 8);
        }

        private void Store(ulong gpa, ulong value) => rig.Memory.Write64(new(memory + gpa), value).ShouldBe(MemoryStatus.Success);
    }
}
