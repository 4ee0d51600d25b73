using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Tables of guests, dirty pages, files and page requests, from the typed client down to the hardware model.</summary>
public sealed class HardwareEndToEndTests
{
    private sealed class Machine : IDisposable
    {
        public Machine(CachingMode caching)
        {
            Platform = new(new() { Caching = caching });
            Endpoint = Platform.AddEndpoint(
                DeviceId.FromPci(0, 0, 3, 0), new() { PasidBits = 8, Ats = true, PageRequests = true });
            Iommu = IommuFd.Open(Platform.Kernel);
            Device = VfioDevice.Open(Platform.Kernel, Endpoint.DevicePath);
            _ = Device.Bind(Iommu);
            Space = Iommu.AllocateAddressSpace();
        }

        public EmbeddedPlatform Platform { get; }

        public EmbeddedEndpoint Endpoint { get; }

        public IommuFd Iommu { get; }

        public VfioDevice Device { get; }

        public IoAddressSpace Space { get; }

        public void Dispose()
        {
            Device.Dispose();
            Space.Dispose();
            Iommu.Dispose();
            Platform.Audit.ShouldBe(default);
            Platform.Dispose();
            Platform.TableBytes.ShouldBe(0);
        }
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_guests_table_translates_on_top_of_the_hosts_until_the_guest_invalidates(CachingMode caching)
    {
        using Machine machine = new(caching);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "guest", 16 * 4096);

        // The guest's physical memory begins at 1 MiB; its root, two further tables and data are pages of it.
        const ulong GuestBase = 1ul << 20;
        memory.TryMap(machine.Space, 0, memory.Length, new(GuestBase), Access.ReadWrite).ShouldBe(Errno.Success);
        ulong Table(int page) => ((GuestBase >> 12) + (ulong)page) << 10 | 1;
        void Store(int page, int index, ulong entry) => MemoryMarshal.Write(memory.Slice(((ulong)page * 4096) + ((ulong)index * 8), 8), entry);
        const ulong Leaf = 0xd7;
        Store(0, 0, Table(1));
        Store(1, 0, Table(2));
        Store(2, 5, Table(8) | Leaf);

        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        IommuHwptRiscV guest = new()
        {
            TranslationAttributes = 7ul << 12,
            FirstStageContext = (8ul << 60) | (GuestBase >> 12),
        };
        using HardwarePageTable nested = machine.Iommu.AllocateNestedPageTable(machine.Device, parent, RiscVUapi.HwptDataType, guest);
        _ = machine.Device.Attach(nested);

        machine.Endpoint.Write(new(0x5010), "guest"u8).ShouldBe(DmaStatus.Success);
        memory.Slice((8 * 4096) + 0x10, 5).ToArray().ShouldBe("guest"u8.ToArray());
        machine.Endpoint.Write(new(0x6000), "x"u8).ShouldNotBe(DmaStatus.Success);

        // The guest moves the page and tells its IOMMU: IOTINVAL.VMA with AV and PSCV.
        Store(2, 5, Table(9) | Leaf);
        IommuInvalidateRiscV invalidate = new() { Word0 = 1 | (7ul << 12) | (1ul << 32) | (1ul << 10), Word1 = 5ul << 10 };
        nested.Invalidate(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[invalidate]);
        machine.Endpoint.Write(new(0x5010), "moved"u8).ShouldBe(DmaStatus.Success);
        memory.Slice((9 * 4096) + 0x10, 5).ToArray().ShouldBe("moved"u8.ToArray());
        memory.Slice((8 * 4096) + 0x10, 5).ToArray().ShouldBe("guest"u8.ToArray());

        // A fence is nothing to ask for, and what came before it was done.
        IommuInvalidateRiscV fence = new() { Word0 = 2 };
        nested.TryInvalidate(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[invalidate, fence], out int done)
            .ShouldBe(Errno.InvalidArgument);
        done.ShouldBe(1);

        // The host takes the memory away: nothing is reachable any more, whatever the guest's table says.
        machine.Space.Unmap(new(GuestBase), memory.Length).ShouldBe(memory.Length);
        machine.Endpoint.Write(new(0x5010), "x"u8).ShouldNotBe(DmaStatus.Success);
        machine.Device.Detach();
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Hostile)]
    public void Pages_that_a_device_writes_are_told_once(CachingMode caching)
    {
        using Machine machine = new(caching);
        HardwareInfo info = machine.Iommu.GetHardwareInfo(machine.Device);
        info.Type.ShouldBe(RiscVUapi.HardwareInfoType);
        info.Data.Length.ShouldBe(Marshal.SizeOf<IommuHwInfoRiscV>());
        (MemoryMarshal.Read<IommuHwInfoRiscV>(info.Data.Span).Capabilities & 0xff).ShouldBe(0x10ul);
        info.PasidBits.ShouldBe(8);
        info.Capabilities.ShouldBe(HwCapabilities.DirtyTracking);

        // A leaf is dirty as a whole, and how large leaves can be depends on where the memory happens to lie.
        machine.Space.SetHugePages(false);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "memory", 200 * 4096);
        memory.TryMap(machine.Space, 0, memory.Length, new(0x10_0000), Access.ReadWrite).ShouldBe(Errno.Success);
        using HardwarePageTable table = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.DirtyTracking);
        _ = machine.Device.Attach(table);
        machine.Endpoint.Write(new(0x10_0000), "before"u8).ShouldBe(DmaStatus.Success);
        table.SetDirtyTracking(true);
        ulong[] bitmap = new ulong[4];
        for (int round = 0; round < 3; round++)
        {
            machine.Endpoint.Write(new(0x10_0000 + (70 * 4096)), "after"u8).ShouldBe(DmaStatus.Success);
            machine.Endpoint.Read(new(0x10_0000 + (3 * 4096)), new byte[8]).ShouldBe(DmaStatus.Success);
            Array.Clear(bitmap);
            table.ReadDirty(new(0x10_0000), memory.Length, 4096, bitmap, clear: false);
            table.ReadDirty(new(0x10_0000), memory.Length, 4096, bitmap);
            bitmap.ShouldBe([0ul, 1ul << 6, 0ul, 0ul], $"round {round}");
            Array.Clear(bitmap);
            table.ReadDirty(new(0x10_0000), memory.Length, 4096, bitmap);
            bitmap.ShouldAllBe(static word => word == 0);
        }

        Should.Throw<ArgumentException>(() => table.ReadDirty(new(0x10_0000), memory.Length, 4096, bitmap.AsSpan(0, 3)));
        machine.Device.Detach();
    }

    [Fact]
    public void A_page_request_is_read_mapped_and_answered_and_the_device_goes_on()
    {
        using Machine machine = new(CachingMode.Hostile);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "memory", 4096);
        using FaultQueue queue = machine.Iommu.AllocateFaultQueue();
        using HardwarePageTable table = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, queue);
        _ = machine.Device.Attach(table);
        EndpointAts ats = machine.Endpoint.Ats.ShouldNotBeNull();
        Thread pager = new(() =>
        {
            queue.Wait(30_000).ShouldBeTrue();
            IommuHwptPgfault[] faults = new IommuHwptPgfault[4];
            queue.Read(faults).ShouldBe(1);
            faults[0].DeviceId.ShouldBe(machine.Device.Id);
            faults[0].Address.ShouldBe(0x7000ul);
            memory.TryMap(machine.Space, 0, 4096, new(0x7000), Access.ReadWrite).ShouldBe(Errno.Success);
            queue.TryRespond(faults[0].Cookie, IommuPageResponseCode.Success).ShouldBe(Errno.Success);
            queue.TryRespond(faults[0].Cookie, IommuPageResponseCode.Success).ShouldBe(Errno.InvalidArgument);
        });
        pager.Start();

        // The device writes; the page is missing, so it asks, and writes when the answer is there.
        ats.Write(Pasid.None, 0x7008, "demand"u8, out _).ShouldBe(AtsStatus.PageMissing);
        ats.RequestPage(Pasid.None, 0x7008, Access.ReadWrite, out PageTicket? ticket).ShouldBe(Errno.Success);
        SpinWait.SpinUntil(() => ticket!.IsAnswered, TimeSpan.FromSeconds(30)).ShouldBeTrue();
        ticket!.IsSuccess.ShouldBeTrue();
        ats.Write(Pasid.None, 0x7008, "demand"u8, out int done).ShouldBe(AtsStatus.Success);
        done.ShouldBe(6);
        pager.Join(TimeSpan.FromSeconds(30)).ShouldBeTrue();
        memory.Slice(8, 6).ToArray().ShouldBe("demand"u8.ToArray());
        machine.Device.Detach();
    }

    [Fact]
    public void A_guest_has_its_own_names_for_devices_its_own_invalidations_and_its_own_faults()
    {
        using Machine machine = new(CachingMode.Hostile);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "guest", 16 * 4096);
        const ulong GuestBase = 1ul << 20;
        memory.TryMap(machine.Space, 0, memory.Length, new(GuestBase), Access.ReadWrite).ShouldBe(Errno.Success);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        using VirtualIommu part = machine.Iommu.AllocateVirtualIommu(machine.Device, parent, RiscVUapi.ViommuType);
        using VirtualDevice known = part.AddDevice(machine.Device, 0x0008);
        part.TryAddDevice(machine.Device, 0x0010, out _).ShouldBe(Errno.Exists);
        using VirtualEventQueue events = part.AllocateEventQueue(RiscVUapi.VeventqType, 4);
        IommuHwptRiscV guest = new() { TranslationAttributes = 7ul << 12, FirstStageContext = (8ul << 60) | (GuestBase >> 12) };
        using HardwarePageTable nested = part.AllocateNestedPageTable(machine.Device, RiscVUapi.HwptDataType, guest);
        _ = machine.Device.Attach(nested);

        // The guest's table is empty: a page fault, the guest's own, with the guest's name of the device.
        machine.Endpoint.Read(new(0x5000), new byte[8]).ShouldNotBe(DmaStatus.Success);
        _ = machine.Platform.FaultCount;
        events.Wait(10_000).ShouldBeTrue();
        events.TryRead(out VirtualEvent<IommuVeventRiscV> next).ShouldBeTrue();
        (next.Sequence, next.IsLoss).ShouldBe((0u, false));
        (next.Data.Word0 & 0xfff).ShouldBe(13ul);
        (next.Data.Word0 >> 40).ShouldBe(0x0008ul);
        next.Data.Iotval.ShouldBe(0x5000ul);
        events.TryRead(out next).ShouldBeFalse();

        // IODIR.INVAL_DDT for a device that the guest knows, and for one that it does not.
        IommuInvalidateRiscV Forget(ulong device) => new() { Word0 = 3 | (1ul << 33) | (device << 40) };
        part.TryInvalidate(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[Forget(0x0008)], out int done)
            .ShouldBe(Errno.Success);
        done.ShouldBe(1);
        machine.Device.Detach();
    }
}
