using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Page requests of devices, read from a descriptor and answered through it.</summary>
public sealed class FaultQueueTests
{
    private static readonly Pasid s_none = Pasid.None;

    private static PageRequest Page(ulong address, Access access = Access.Read, bool privileged = false) =>
        new(new(address), access, privileged);

    private static IommuHwptPgfault[] Read(HardwareRig rig, int fd, int capacity, int expected)
    {
        IommuHwptPgfault[] faults = new IommuHwptPgfault[capacity];
        rig.Kernel.Read(fd, MemoryMarshal.AsBytes(faults.AsSpan())).ShouldBe(expected * Unsafe.SizeOf<IommuHwptPgfault>());
        return faults[..expected];
    }

    private static nint Answer(HardwareRig rig, int fd, params (uint Cookie, uint Code)[] answers)
    {
        IommuHwptPageResponse[] responses =
            [.. answers.Select(static answer => new IommuHwptPageResponse { Cookie = answer.Cookie, Code = (IommuPageResponseCode)answer.Code })];
        return rig.Kernel.Write(fd, MemoryMarshal.AsBytes(responses.AsSpan()));
    }

    [Fact]
    public void A_group_is_read_whole_with_the_number_of_its_device_and_answered_by_its_cookie()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        uint table = rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue);
        rig.Attach(table);
        rig.Ready(fd).ShouldBe(PollEvents.Out);
        Read(rig, fd, 4, 0).ShouldBeEmpty();

        rig.Iommu.Ask(rig.Device, s_none, 7, Page(0x1000, Access.Read | Access.Execute), Page(0x2000, Access.Write, true));
        rig.Iommu.Ask(rig.Device, s_none, 8, Page(0x3000));
        rig.Ready(fd).ShouldBe(PollEvents.In | PollEvents.Out);

        // Not enough room for the first group: nothing, and nothing is lost.
        rig.Kernel.Read(fd, new byte[Unsafe.SizeOf<IommuHwptPgfault>()]).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Read(fd, []).ShouldBe(-(int)Errno.InvalidArgument);
        IommuHwptPgfault[] faults = Read(rig, fd, 5, 3);
        faults[0].ShouldBe(new()
        {
            DeviceId = rig.DeviceNumber, GroupIndex = 7, Address = 0x1000, Cookie = faults[0].Cookie,
            Permissions = PageFaultPermissions.Read | PageFaultPermissions.Execute,
        });
        faults[1].ShouldBe(new()
        {
            Flags = PageFaultFlags.LastPage, DeviceId = rig.DeviceNumber, GroupIndex = 7, Address = 0x2000, Cookie = faults[0].Cookie,
            Permissions = PageFaultPermissions.Write | PageFaultPermissions.Privileged,
        });
        faults[2].GroupIndex.ShouldBe(8u);
        faults[2].Cookie.ShouldNotBe(faults[0].Cookie);
        rig.Ready(fd).ShouldBe(PollEvents.Out);

        // In the other order.
        rig.Iommu.Responses.ShouldBeEmpty();
        Answer(rig, fd, (faults[2].Cookie, 1), (faults[0].Cookie, 0)).ShouldBe(16);
        rig.Iommu.Responses.Select(static response => (response.Group.Index, response.Code))
            .ShouldBe([(8, PageResponseCode.InvalidRequest), (7, PageResponseCode.Success)]);
        Answer(rig, fd, (faults[0].Cookie, 0)).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void Wrong_reads_and_answers_have_their_error_numbers()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        rig.Attach(rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
        rig.Iommu.Ask(rig.Device, s_none, 1, Page(0x1000));
        rig.Iommu.Ask(rig.Device, s_none, 2, Page(0x1000));
        rig.Kernel.Read(fd, new byte[41]).ShouldBe(-(int)Errno.IllegalSeek);
        rig.Kernel.Read(fd, new byte[40], 0).ShouldBe(-(int)Errno.IllegalSeek);
        rig.Kernel.Write(fd, new byte[9]).ShouldBe(-(int)Errno.IllegalSeek);
        IommuHwptPgfault[] faults = Read(rig, fd, 2, 2);
        Answer(rig, fd, (faults[0].Cookie, 2)).ShouldBe(-(int)Errno.InvalidArgument);
        Answer(rig, fd, (99, 0)).ShouldBe(-(int)Errno.InvalidArgument);

        // What stands before the first wrong one is taken.
        Answer(rig, fd, (faults[0].Cookie, 0), (faults[1].Cookie, 15)).ShouldBe(8);
        rig.Iommu.Responses.Count.ShouldBe(1);
        rig.Kernel.Ioctl(fd, IommufdRequests.IoasAlloc, new byte[12]).ShouldBe(-(int)Errno.NotTypewriter);

        IommuFaultAlloc argument = new() { Flags = 1 };
        rig.Call(ref argument).ShouldBe(-(int)Errno.NotSupported);
    }

    [Fact]
    public void Cookies_of_answered_groups_are_given_out_again_lowest_first()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        rig.Attach(rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
        for (int i = 0; i < 3; i++)
        {
            rig.Iommu.Ask(rig.Device, s_none, i, Page(0x1000));
        }

        uint[] cookies = [.. Read(rig, fd, 3, 3).Select(static fault => fault.Cookie)];
        cookies.ShouldBe([1u, 2u, 3u]);
        Answer(rig, fd, (3, 0), (1, 0)).ShouldBe(16);
        rig.Iommu.Ask(rig.Device, s_none, 5, Page(0x1000));
        Read(rig, fd, 1, 1)[0].Cookie.ShouldBe(1u);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_detach_answers_what_was_read_and_what_was_not_and_late_answers_find_nothing()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        rig.Attach(rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
        rig.Iommu.Ask(rig.Device, s_none, 1, Page(0x1000));
        uint cookie = Read(rig, fd, 1, 1)[0].Cookie;
        rig.Iommu.Ask(rig.Device, s_none, 2, Page(0x2000));
        rig.Detach();
        rig.Iommu.Responses.Select(static response => (response.Group.Index, response.Code))
            .ShouldBe([(1, PageResponseCode.InvalidRequest), (2, PageResponseCode.InvalidRequest)], ignoreOrder: true);
        rig.Ready(fd).ShouldBe(PollEvents.Out);
        Answer(rig, fd, (cookie, 0)).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Iommu.Responses.Count.ShouldBe(2);
    }

    [Fact]
    public void A_queue_that_a_table_or_an_open_descriptor_uses_cannot_be_destroyed()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        uint table = rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue);
        rig.Destroy(queue).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.Destroy(queue).ShouldBe(-(int)Errno.Busy);
        rig.Destroy(table).ShouldBe(0);
        rig.Destroy(queue).ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void The_queue_lives_on_its_own_descriptor_when_dev_iommu_is_closed_first()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        rig.Attach(rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
        rig.Kernel.Close(rig.Fd).ShouldBe(0);
        rig.Iommu.Ask(rig.Device, s_none, 3, Page(0x5000));
        uint cookie = Read(rig, fd, 1, 1)[0].Cookie;
        Answer(rig, fd, (cookie, 0)).ShouldBe(8);
        rig.Kernel.Close(rig.DeviceFd).ShouldBe(0);
        rig.KernelSide.Audit.AddressSpaces.ShouldBe(1);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.Rig.ShouldBeClean();
    }

    [Fact]
    public void A_fault_queue_needs_a_device_that_asks_for_pages_and_no_parent_of_nested_tables()
    {
        using HardwareRig rig = new();
        (uint queue, _) = rig.AllocateFaultQueue();
        rig.TryAllocateTable(HwptAllocFlags.FaultIdValid | HwptAllocFlags.NestParent, rig.Space, queue, out _)
            .ShouldBe(-(int)Errno.NotSupported);
        rig.TryAllocateTable(HwptAllocFlags.FaultIdValid, rig.Space, 77, out _).ShouldBe(-(int)Errno.NoEntry);
        rig.TryAllocateTable(HwptAllocFlags.FaultIdValid, rig.Space, rig.Space, out _).ShouldBe(-(int)Errno.NoEntry);
        uint table = rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue);
        (int plain, _) = rig.BindPlainDevice();
        rig.TryAttach(plain, table).ShouldBe(-(int)Errno.NoDevice);
    }

    [Fact]
    public void A_poll_that_waits_wakes_when_a_device_asks()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        rig.Attach(rig.AllocateTable(HwptAllocFlags.FaultIdValid, queue));
        PollEvents ready = PollEvents.None;
        int result = -1;
        Thread waiter = new(() => result = ((IKernelAbi)rig.Kernel).Poll(fd, PollEvents.In, 30_000, out ready));
        waiter.Start();
        rig.Iommu.Ask(rig.Device, s_none, 3, Page(0x5000));
        waiter.Join(TimeSpan.FromSeconds(30)).ShouldBeTrue();
        result.ShouldBe(1);
        ready.ShouldBe(PollEvents.In);
    }

    [Fact]
    public void Requests_with_a_PASID_tell_it()
    {
        using HardwareRig rig = new();
        (uint queue, int fd) = rig.AllocateFaultQueue();
        uint table = rig.AllocateTable(HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid, queue);
        rig.TryAttachPasid(rig.DeviceFd, 5, table).ShouldBe(0);
        rig.Iommu.Ask(rig.Device, new(5), 3, Page(0x5000));
        IommuHwptPgfault fault = Read(rig, fd, 1, 1)[0];
        fault.Pasid.ShouldBe(5u);
        fault.Flags.ShouldBe(PageFaultFlags.PasidValid | PageFaultFlags.LastPage);
        rig.TryDetachPasid(rig.DeviceFd, 5).ShouldBe(0);
        rig.Iommu.Responses.ShouldHaveSingleItem().Code.ShouldBe(PageResponseCode.InvalidRequest);
    }
}
