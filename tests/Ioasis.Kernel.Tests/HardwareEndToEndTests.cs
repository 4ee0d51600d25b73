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
public abstract class HardwareEndToEndTests
{
    /// <summary>The IOMMU of the machines.</summary>
    private protected abstract IommuSlot Slot { get; }

    private GuestFirstStage Guest => GuestFirstStage.Of(Slot);

    private protected Machine NewMachine(CachingMode caching) =>
        new(new() { Iommus = [Slot], Caching = caching }, new() { PasidBits = 8, Ats = true, PageRequests = true }, attach: false);

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_guests_table_translates_on_top_of_the_hosts_until_the_guest_invalidates(CachingMode caching)
    {
        using Machine machine = NewMachine(caching);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "guest", 16 * 4096);

        // The guest's physical memory begins at 1 MiB; its root, the other tables and data are pages of it.
        const ulong GuestBase = 1ul << 20;
        memory.MapErrno(machine.Space, 0, memory.Length, new(GuestBase), Access.ReadWrite).ShouldBe(Errno.Success);
        void Store(int page, int index, ulong entry) => MemoryMarshal.Write(memory.Slice(((ulong)page * 4096) + ((ulong)index * 8), 8), entry);

        Guest.Write(Store, GuestBase, 0x5000, page: 8);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        using HardwarePageTable nested = Guest.Allocate(machine.Iommu, machine.Device, parent, GuestBase);
        _ = machine.Device.Attach(nested);

        machine.Endpoint.Write(new(0x5010), "guest"u8).ShouldBe(DmaStatus.Success);
        memory.Slice((8 * 4096) + 0x10, 5).ToArray().ShouldBe("guest"u8.ToArray());
        machine.Endpoint.Write(new(0x6000), "x"u8).ShouldNotBe(DmaStatus.Success);

        // The guest moves the page and tells its IOMMU.
        Guest.Point(Store, GuestBase, 0x5000, page: 9);
        Guest.Invalidate(nested, 0x5000);
        machine.Endpoint.Write(new(0x5010), "moved"u8).ShouldBe(DmaStatus.Success);
        memory.Slice((9 * 4096) + 0x10, 5).ToArray().ShouldBe("moved"u8.ToArray());
        memory.Slice((8 * 4096) + 0x10, 5).ToArray().ShouldBe("guest"u8.ToArray());

        // What cannot be asked for is refused, and what came before it was done.
        Guest.TryInvalidateWrongly(nested, 0x5000, out int done).ShouldBe(Errno.InvalidArgument);
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
        using Machine machine = NewMachine(caching);
        HardwareInfo info = machine.Iommu.GetHardwareInfo(machine.Device);
        info.Type.ShouldBe(Guest.HardwareInfoType);
        info.Data.Length.ShouldBe(Guest.HardwareInfoSize);
        DescribesTheHardware(info.Data.Span).ShouldBeTrue();
        info.PasidBits.ShouldBe(8);
        info.Capabilities.ShouldBe(HwCapabilities.DirtyTracking);

        // A leaf is dirty as a whole, and how large leaves can be depends on where the memory happens to lie.
        machine.Space.SetHugePages(false);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "memory", 200 * 4096);
        memory.MapErrno(machine.Space, 0, memory.Length, new(0x10_0000), Access.ReadWrite).ShouldBe(Errno.Success);
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
        using Machine machine = NewMachine(CachingMode.Hostile);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "memory", 4096);
        using FaultQueue queue = machine.Iommu.AllocateFaultQueue();
        using HardwarePageTable table = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, queue);
        _ = machine.Device.Attach(table);
        EndpointAts ats = machine.Endpoint.Ats.ShouldNotBeNull();
        Thread pager = new(() =>
        {
            queue.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken).ShouldBeTrue();
            IommuHwptPgfault[] faults = new IommuHwptPgfault[4];
            queue.Read(faults).ShouldBe(1);
            faults[0].DeviceId.ShouldBe(machine.Device.Id);
            faults[0].Address.ShouldBe(0x7000ul);
            memory.MapErrno(machine.Space, 0, 4096, new(0x7000), Access.ReadWrite).ShouldBe(Errno.Success);
            queue.RespondErrno(faults[0].Cookie, IommuPageResponseCode.Success).ShouldBe(Errno.Success);
            queue.RespondErrno(faults[0].Cookie, IommuPageResponseCode.Success).ShouldBe(Errno.InvalidArgument);
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

    /// <summary>Whether the information is of the hardware model that is there.</summary>
    private protected abstract bool DescribesTheHardware(ReadOnlySpan<byte> data);
}
