using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

public sealed class DescriptorTests
{
    [Fact]
    public void Descriptors_are_the_lowest_free_numbers_from_three_on()
    {
        Rig rig = new();
        rig.OpenIommu().ShouldBe(3);
        rig.OpenIommu().ShouldBe(4);
        rig.Kernel.Dup(3).ShouldBe(5);
        rig.Kernel.Close(4).ShouldBe(0);
        rig.Kernel.Dup(5).ShouldBe(4);
        rig.OpenIommu().ShouldBe(6);
    }

    [Fact]
    public void A_bad_descriptor_is_EBADF_for_every_call()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        rig.Kernel.Close(fd).ShouldBe(0);
        foreach (int bad in (int[])[fd, -1, 0, 2, 1000, int.MaxValue, int.MinValue])
        {
            int expected = -(int)Errno.BadDescriptor;
            rig.Kernel.Ioctl(bad, IommufdRequests.IoasAlloc, new byte[12]).ShouldBe(expected);
            rig.Kernel.Ioctl(bad, IommufdRequests.IoasAlloc, (nint)1).ShouldBe(expected);
            rig.Kernel.Read(bad, new byte[1]).ShouldBe(expected);
            rig.Kernel.Write(bad, new byte[1]).ShouldBe(expected);

            // A negative one is passed over, as poll(2) says.
            ((IKernelAbi)rig.Kernel).Poll(bad, PollEvents.In, 0, out _).ShouldBe(bad < 0 ? 0 : expected);
            rig.Kernel.Dup(bad).ShouldBe(expected);
            rig.Kernel.Close(bad).ShouldBe(expected);
        }
    }

    [Fact]
    public void An_unknown_path_is_ENOENT()
    {
        Rig rig = new();
        foreach (string path in (string[])["", "/dev/iommu/", "/dev/Iommu", "/dev/vfio/devices/vfio0", "/etc/passwd", "iommu"])
        {
            rig.Kernel.Open(path, OpenFlags.ReadWrite).ShouldBe(-(int)Errno.NoEntry);
        }
    }

    [Fact]
    public void The_limit_of_descriptors_is_EMFILE_and_leaves_nothing()
    {
        Rig rig = new(descriptorLimit: 5);
        int first = rig.OpenIommu();
        int second = rig.OpenIommu();
        rig.OpenIommu().ShouldBe(-(int)Errno.TooManyOpenFiles);
        rig.Kernel.Dup(first).ShouldBe(-(int)Errno.TooManyOpenFiles);
        rig.Kernel.Close(second).ShouldBe(0);
        rig.Kernel.Dup(first).ShouldBe(second);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_duplicate_is_the_same_open_file_and_keeps_it_alive()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(fd);
        int duplicate = rig.Kernel.Dup(fd);
        rig.Kernel.Close(fd).ShouldBe(0);
        rig.MapFixed(duplicate, ioas, FakeUserMemory.Start, 4096, 4096).ShouldBe(0);
        rig.KernelSide.Audit.AddressSpaces.ShouldBe(1);
        rig.Kernel.Close(duplicate).ShouldBe(0);
        rig.ShouldBeClean();
    }

    [Fact]
    public void Files_without_bytes_refuse_read_and_write_and_are_always_ready()
    {
        Rig rig = new();
        int fd = rig.OpenIommu();
        rig.Kernel.Read(fd, new byte[8]).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Write(fd, new byte[8]).ShouldBe(-(int)Errno.InvalidArgument);
        ((IKernelAbi)rig.Kernel).Poll(fd, PollEvents.In, 0, out PollEvents ready).ShouldBe(1);
        ready.ShouldBe(PollEvents.In);
    }

    [Theory]
    [Trait("Requirement", "S1.15")]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void Closing_in_any_order_undoes_everything(int order)
    {
        Rig rig = new();
        (_, string path0) = rig.AddDevice();
        (_, string path1) = rig.AddDevice();
        int iommu = rig.OpenIommu();
        int[] devices = [rig.Kernel.Open(path0, OpenFlags.ReadWrite), rig.Kernel.Open(path1, OpenFlags.ReadWrite)];
        uint ioas = rig.AllocateSpace(iommu);
        foreach (int device in devices)
        {
            VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
            VfioTests.Attach(rig, device, ioas).Result.ShouldBe(0);
        }

        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 16 * 4096, 0x10000).ShouldBe(0);
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 4096, 0x100000).ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(16);
        int[][] orders =
        [
            [iommu, devices[0], devices[1]], [iommu, devices[1], devices[0]], [devices[0], iommu, devices[1]],
            [devices[1], iommu, devices[0]], [devices[0], devices[1], iommu], [devices[1], devices[0], iommu],
        ];
        foreach (int fd in orders[order])
        {
            rig.Kernel.Close(fd).ShouldBe(0);
        }

        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void The_death_of_the_process_undoes_everything()
    {
        Rig rig = new();
        Rig.Attached first = rig.Attach();
        Rig.Attached second = rig.Attach();
        first.Space.Map(new(FakeUserMemory.Start, 1 << 20), new(0x100000), Access.ReadWrite);
        second.Space.SetLazyInvalidation(true);
        second.Space.Map(new(FakeUserMemory.Start, 1 << 20), new(0x100000), Access.Read);
        _ = second.Space.Unmap(new(0x100000), 1 << 20);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
        GC.KeepAlive(first);
        GC.KeepAlive(second);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public async Task Closing_while_calls_run_neither_breaks_them_nor_leaves_anything()
    {
        for (int round = 0; round < 40; round++)
        {
            Rig rig = new();
            int fd = rig.OpenIommu();
            uint ioas = rig.AllocateSpace(fd);
            using Barrier barrier = new(3);
            Task[] callers = [.. Enumerable.Range(0, 2).Select(worker => Task.Run(() =>
            {
                barrier.SignalAndWait(TestContext.Current.CancellationToken);
                for (ulong i = 0; ; i++)
                {
                    ulong iova = ((ulong)worker << 32) + (i << 12);
                    int result = rig.MapFixed(fd, ioas, FakeUserMemory.Start, 4096, iova);
                    if (result == -(int)Errno.BadDescriptor)
                    {
                        return;
                    }

                    result.ShouldBe(0);
                }
            }, TestContext.Current.CancellationToken))];
            barrier.SignalAndWait(TestContext.Current.CancellationToken);
            await Task.Delay(2, TestContext.Current.CancellationToken);
            rig.Kernel.Close(fd).ShouldBe(0);
            await Task.WhenAll(callers);
            rig.ShouldBeClean();
        }
    }

    [Fact]
    public void A_client_handle_that_is_disposed_twice_closes_once()
    {
        Rig rig = new();
        IommuFd iommu = IommuFd.Open(rig.Kernel);
        IoAddressSpace space = iommu.AllocateAddressSpace();
        iommu.Dispose();
        iommu.Dispose();

        // The address space still holds the descriptor.
        rig.KernelSide.Audit.Descriptors.ShouldBe(1);
        space.Dispose();
        space.Dispose();
        rig.ShouldBeClean();
        Should.Throw<ObjectDisposedException>(() => iommu.AllocateAddressSpaceErrno(out _));
    }
}
