using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;
using SharedMemory = Ioasis.Client.SharedMemory;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>
/// A guest's own page table under a PASID. Where the IOMMU has a second stage for each PASID, <c>/dev/ioasid</c> binds it (here: an
/// IOMMU that remembers what it is told). A RISC-V IOMMU has one second stage for the device and reaches the process directory
/// through it: there the guest has its PASIDs by a process directory of its own, and a host PASID beside it is refused.
/// </summary>
public sealed class IoasidGuestTableTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.6")]
    [Trait("Requirement", "S1.7")]
    [Trait("Requirement", "S1.10")]
    public void A_guests_table_is_bound_before_or_after_the_devices_are_allowed_and_wiped_at_the_end(bool allowFirst)
    {
        using IoasidRig rig = new();
        using HardwarePageTable parent = rig.Iommu.AllocatePageTable(rig.Devices[0], rig.Space, HwptAllocFlags.NestParent | HwptAllocFlags.Pasid);
        IommuHwptRiscV data = new() { TranslationAttributes = 7ul << 12, FirstStageContext = 8ul << 60 };
        uint plain = Nest(rig, parent, data, HwptAllocFlags.None);
        uint table = Nest(rig, parent, data, HwptAllocFlags.Pasid);
        PasidHandle pasid = rig.Set.Allocate(new() { Guest = new GuestPasid(5) });
        Bind(rig, pasid, plain).ShouldBe(Errno.InvalidArgument, "it was not made for PASIDs");
        if (allowFirst)
        {
            rig.Devices[0].Allow(pasid);
            rig.Devices[1].Allow(pasid);
            rig.Rig.Iommu.DomainOf(rig.Nodes[0], pasid.Pasid).ShouldBe(BlockedDomain.Instance);
        }

        Bind(rig, pasid, table).ShouldBe(Errno.Success);
        Bind(rig, pasid, table).ShouldBe(Errno.Busy);
        if (!allowFirst)
        {
            rig.Devices[0].Allow(pasid);
            rig.Devices[1].Allow(pasid);
        }

        // Both stages: the guest's, as the guest wrote it, on the host's, which has the memory of the address space.
        foreach (IommuDevice device in rig.Nodes)
        {
            FakeNestedDomain both = rig.Rig.Iommu.DomainOf(device, pasid.Pasid).ShouldBeOfType<FakeNestedDomain>();
            MemoryMarshal.Read<IommuHwptRiscV>(both.Data).FirstStageContext.ShouldBe(8ul << 60);
            ((FakeDomain)both.Parent).TryTranslate(new(IoasidRig.Iova), out _, out _, out _).ShouldBeTrue();
        }

        // It is used, and so is what it stands on.
        Destroy(rig, table).ShouldBe(Errno.Busy);
        parent.DestroyErrno().ShouldBe(Errno.Busy);

        // Taken away and bound again, while the devices stay allowed.
        pasid.UnbindErrno().ShouldBe(Errno.Success);
        rig.Rig.Iommu.DomainOf(rig.Nodes[1], pasid.Pasid).ShouldBe(BlockedDomain.Instance);
        Bind(rig, pasid, table).ShouldBe(Errno.Success);

        // The end wipes it, on every device, while they still have the number.
        pasid.FreeErrno().ShouldBe(Errno.Success);
        foreach (IommuDevice device in rig.Nodes)
        {
            rig.Rig.Iommu.DomainOf(device, pasid.Pasid).ShouldBe(BlockedDomain.Instance);
        }

        Destroy(rig, table).ShouldBe(Errno.Success);
        Destroy(rig, plain).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    [Trait("Requirement", "S1.6")]
    public void On_RISC_V_a_guest_names_its_own_processes_and_both_stages_translate_their_DMA(CachingMode caching)
    {
        using GuestMachine machine = new(caching);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);

        // The guest's memory: page 0 a process directory of one level, page 1 the root of process 5, then two tables, then data.
        machine.Store(0, 5 * 2, 1 | (7ul << 12));
        machine.Store(0, (5 * 2) + 1, (8ul << 60) | machine.Frame(1));
        machine.Store(1, 0, machine.Table(2));
        machine.Store(2, 0, machine.Table(3));
        machine.Store(3, 5, machine.Leaf(8));
        IommuHwptRiscV guest = new()
        {
            TranslationControl = DeviceTranslationControl.PdtValidBit, FirstStageContext = (1ul << 60) | machine.Frame(0),
        };
        using HardwarePageTable nested = machine.Iommu.AllocateNestedPageTable(machine.Device, parent, RiscVUapi.HwptDataType, guest);
        _ = machine.Device.Attach(nested);

        machine.Write(new(5), 0x5010, "guest").ShouldBeTrue();
        machine.Text(8, 0x10, 5).ShouldBe("guest");
        machine.Write(new(6), 0x5010, "x").ShouldBeFalse("the guest has no process 6");
        machine.Write(new(5), 0x6010, "x").ShouldBeFalse("process 5 has no such page");

        // The guest moves the page and says so; then the host takes the memory away.
        machine.Store(3, 5, machine.Leaf(9));
        machine.Invalidate(nested, 5, pscid: 7);
        machine.Write(new(5), 0x5010, "moved").ShouldBeTrue();
        (machine.Text(8, 0x10, 5), machine.Text(9, 0x10, 5)).ShouldBe(("guest", "moved"));
        machine.Space.Unmap(new(GuestMachine.Base), 16 * 4096).ShouldBe(16 * 4096ul);
        machine.Write(new(5), 0x5010, "x").ShouldBeFalse("the second stage has no such page, whatever the guest's tables say");
        machine.Device.Detach();
        machine.Write(new(5), 0x5010, "x").ShouldBeFalse();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.6")]
    [Trait("Requirement", "S1.10")]
    public void On_RISC_V_a_guests_table_under_a_host_PASID_is_refused_and_nothing_has_changed(bool allowFirst)
    {
        using GuestMachine machine = new(CachingMode.Hostile);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        IommuHwptRiscV guest = new() { TranslationAttributes = 7ul << 12, FirstStageContext = (8ul << 60) | machine.Frame(1) };
        using HardwarePageTable table = machine.Iommu.AllocateNestedPageTable(
            machine.Device, parent, RiscVUapi.HwptDataType, guest, flags: HwptAllocFlags.Pasid);
        using PasidFd pasids = PasidFd.Open(machine.Platform.Kernel);
        using PasidSet set = pasids.CreateSet(2);
        PasidHandle pasid = set.Allocate();
        if (allowFirst)
        {
            machine.Device.Allow(pasid);
            pasid.BindErrno(machine.Iommu, table).ShouldBe(Errno.InvalidArgument);
        }
        else
        {
            pasid.BindErrno(machine.Iommu, table).ShouldBe(Errno.Success, "it only assigns");
            machine.Device.AllowErrno(pasid).ShouldBe(Errno.InvalidArgument);
            pasid.UnbindErrno().ShouldBe(Errno.Success);
            machine.Device.Allow(pasid);
        }

        // The PASID is as it was: it takes the host's memory.
        machine.Write(pasid.Pasid, GuestMachine.Base, "x").ShouldBeFalse();
        pasid.Bind(machine.Space);
        machine.Write(pasid.Pasid, GuestMachine.Base + 0x8010, "host").ShouldBeTrue();
        machine.Text(8, 0x10, 4).ShouldBe("host");

        // And the guest's table does not take the device while the host's PASIDs are on it.
        machine.Device.AttachErrno(table.Id, out _).ShouldBe(Errno.Busy);
        Pasid number = pasid.Pasid;
        pasid.Dispose();
        machine.Write(number, GuestMachine.Base + 0x8010, "x").ShouldBeFalse();
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    [Trait("Requirement", "S1.6")]
    [Trait("Requirement", "S1.7")]
    [Trait("Requirement", "S1.12")]
    public void On_VTd_each_host_PASID_has_a_guests_table_of_its_own(CachingMode caching)
    {
        VtdIommuSlot slot = new();
        GuestFirstStage first = GuestFirstStage.Of(slot);
        using GuestMachine machine = new(caching, slot);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(
            machine.Device, machine.Space, HwptAllocFlags.NestParent | HwptAllocFlags.Pasid);

        // Two processes of the guest: one address, two roots (pages 0 and 4), two pages of the guest's memory.
        first.Write(machine.Store, GuestMachine.Base, 0x5000, page: 8);
        first.Write(machine.Store, GuestMachine.Base, 0x5000, page: 9, first: 4);
        using HardwarePageTable one = first.Allocate(machine.Iommu, machine.Device, parent, GuestMachine.Base, HwptAllocFlags.Pasid);
        using HardwarePageTable two = first.Allocate(
            machine.Iommu, machine.Device, parent, GuestMachine.Base + (4 * 4096), HwptAllocFlags.Pasid);
        using PasidFd pasids = PasidFd.Open(machine.Platform.Kernel);
        using PasidSet set = pasids.CreateSet(3);
        PasidHandle a = set.Allocate(new() { Guest = new GuestPasid(5) });
        PasidHandle b = set.Allocate(new() { Guest = new GuestPasid(6) });
        PasidHandle host = set.Allocate();

        // Bound first and allowed then, the other way round, and a PASID with the host's memory beside them.
        a.BindErrno(machine.Iommu, one).ShouldBe(Errno.Success);
        machine.Device.Allow(a);
        machine.Device.Allow(b);
        b.BindErrno(machine.Iommu, two).ShouldBe(Errno.Success);
        host.Bind(machine.Space);
        machine.Device.Allow(host);
        machine.Write(a.Pasid, 0x5010, "one").ShouldBeTrue();
        machine.Write(b.Pasid, 0x5010, "two").ShouldBeTrue();
        machine.Write(host.Pasid, GuestMachine.Base + 0xa010, "host").ShouldBeTrue();
        (machine.Text(8, 0x10, 3), machine.Text(9, 0x10, 3), machine.Text(10, 0x10, 4)).ShouldBe(("one", "two", "host"));
        machine.Write(a.Pasid, 0x6010, "x").ShouldBeFalse("the guest's table has no such page");

        // The guest moves a page of the first and says so: the second stays.
        first.Point(machine.Store, GuestMachine.Base, 0x5000, page: 11);
        first.Invalidate(one, 0x5000);
        machine.Write(a.Pasid, 0x5010, "moved").ShouldBeTrue();
        machine.Write(b.Pasid, 0x5010, "again").ShouldBeTrue();
        (machine.Text(8, 0x10, 3), machine.Text(9, 0x10, 5), machine.Text(11, 0x10, 5)).ShouldBe(("one", "again", "moved"));

        // One ends; then the host takes the memory away under the other.
        Pasid number = a.Pasid;
        a.Dispose();
        machine.Write(number, 0x5010, "x").ShouldBeFalse();
        machine.Write(b.Pasid, 0x5010, "still").ShouldBeTrue();
        machine.Space.Unmap(new(GuestMachine.Base), 16 * 4096).ShouldBe(16 * 4096ul);
        machine.Write(b.Pasid, 0x5010, "x").ShouldBeFalse("the second stage has no such page, whatever the guest's tables say");
        b.Dispose();
        host.Dispose();
    }

    private static uint Nest(IoasidRig rig, HardwarePageTable parent, IommuHwptRiscV data, HwptAllocFlags flags)
    {
        MemoryMarshal.Write(rig.Rig.Memory.Arguments, data);
        IommuHwptAlloc argument = new()
        {
            Flags = flags, DeviceId = rig.Devices[0].Id, PageTableId = parent.Id, DataType = (HwptDataType)RiscVUapi.HwptDataType,
            DataLength = (uint)Marshal.SizeOf<IommuHwptRiscV>(), DataAddress = FakeUserMemory.ArgumentStart,
        };
        rig.Rig.Call(rig.Iommu.Descriptor.Number, ref argument).ShouldBe(0);
        return argument.OutHwptId;
    }

    private static Errno Bind(IoasidRig rig, PasidHandle pasid, uint table) => (Errno)(-rig.Raw(rig.Fd, new IoasidBind
    {
        Ioasid = pasid.Pasid.Value, Kind = IoasidBindKind.Hwpt, Iommufd = rig.Iommu.Descriptor.Number, ObjectId = table,
    }));

    private static Errno Destroy(IoasidRig rig, uint table) =>
        (Errno)(-rig.Raw(rig.Iommu.Descriptor.Number, new IommuDestroy { Id = table }));

    // A device, an address space with the memory of a guest in it, and that memory.
    private sealed class GuestMachine : IDisposable
    {
        public const ulong Base = 1ul << 20;

        private readonly SharedMemory _memory;

        public GuestMachine(CachingMode caching, IommuSlot? slot = null)
        {
            Platform = new(new() { Caching = caching, Iommus = [slot ?? new RiscVIommuSlot()] });
            Endpoint = Platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0), new() { PasidBits = 8 });
            Iommu = IommuFd.Open(Platform.Kernel);
            Device = VfioDevice.Open(Platform.Kernel, Endpoint.DevicePath);
            _ = Device.Bind(Iommu);
            Space = Iommu.AllocateAddressSpace();
            _memory = SharedMemory.Create(Platform.Kernel, "guest", 16 * 4096);
            _memory.MapErrno(Space, 0, _memory.Length, new(Base), Access.ReadWrite).ShouldBe(Errno.Success);
        }

        public EmbeddedPlatform Platform { get; }

        public EmbeddedEndpoint Endpoint { get; }

        public IommuFd Iommu { get; }

        public VfioDevice Device { get; }

        public IoAddressSpace Space { get; }

        public ulong Frame(int page) => (Base >> 12) + (ulong)page;

        public ulong Table(int page) => Frame(page) << 10 | 1;

        public ulong Leaf(int page) => Frame(page) << 10 | 0xd7;

        public void Store(int page, int index, ulong value) =>
            MemoryMarshal.Write(_memory.Slice(((ulong)page * 4096) + ((ulong)index * 8), 8), value);

        public string Text(int page, int at, int length) =>
            Encoding.ASCII.GetString(_memory.Slice(((ulong)page * 4096) + (ulong)at, length));

        public bool Write(Pasid pasid, ulong address, string text) => Endpoint.Port.Write(
            new DmaRequest(Endpoint.RequesterId, new(address), DmaFlags.Write | DmaFlags.PasidValid, Pasid: pasid), Encoding.ASCII.GetBytes(text)) == DmaStatus.Success;

        // IOTINVAL.VMA with AV and PSCV.
        public void Invalidate(HardwarePageTable table, ulong page, ulong pscid)
        {
            IommuInvalidateRiscV invalidate = new() { Word0 = 1 | (pscid << 12) | (1ul << 32) | (1ul << 10), Word1 = page << 10 };
            table.Invalidate(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[invalidate]);
        }

        public void Dispose()
        {
            Device.Dispose();
            Space.Dispose();
            Iommu.Dispose();
            _memory.Dispose();
            Platform.Audit.ShouldBe(default);
            Platform.Pasids.Audit.IsEmpty.ShouldBeTrue(Platform.Pasids.Audit.ToString());
            Platform.Dispose();
            Platform.TableBytes.ShouldBe(0);
        }
    }
}
