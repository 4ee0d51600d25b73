using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Several processes: descriptors, memory and accounts of their own; what a death undoes and what it leaves to others.</summary>
public sealed class ProcessTests
{
    private static ulong Page(int index) => FakeUserMemory.Start + ((ulong)index * 4096);

    private static int Map(IKernelAbi kernel, int fd, uint ioas, ulong memory, ulong length, ulong iova)
    {
        IommuIoasMap argument = new()
        {
            Flags = IoasMapFlags.FixedIova | IoasMapFlags.Readable | IoasMapFlags.Writable, IoasId = ioas, UserVa = memory,
            Length = length, Iova = iova,
        };
        return Rig.Call(kernel, fd, ref argument);
    }

    private static int SetMode(IKernelAbi kernel, int fd, ulong mode)
    {
        IommuOption argument = new() { OptionId = IommuOptionId.RlimitMode, Operation = IommuOptionOperation.Set, Value = mode };
        return Rig.Call(kernel, fd, ref argument);
    }

    [Fact]
    public void Descriptors_of_one_process_mean_nothing_in_another_until_they_are_passed()
    {
        Rig rig = new();
        KernelProcess other = rig.KernelSide.CreateProcess(new() { DescriptorLimit = 4 });
        int fd = rig.OpenIommu();
        IommuIoasAlloc argument = default;
        Rig.Call(other, fd, ref argument).ShouldBe(-(int)Errno.BadDescriptor);
        int passed = rig.Kernel.Pass(fd, other);
        passed.ShouldBe(3);
        Rig.Call(other, passed, ref argument).ShouldBe(0);
        rig.Kernel.Pass(fd, other).ShouldBe(-(int)Errno.TooManyOpenFiles);
        rig.Kernel.Pass(99, other).ShouldBe(-(int)Errno.BadDescriptor);
        rig.Kernel.Pass(fd, new Rig().Kernel).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Close(fd).ShouldBe(0);

        // The object that the other made is still there, and visible by its number.
        IommuDestroy destroy = new() { Id = argument.OutIoasId };
        Rig.Call(other, passed, ref destroy).ShouldBe(0);
        other.Exit();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void The_death_of_a_process_undoes_what_only_it_held_and_leaves_what_others_hold()
    {
        using HardwareRig rig = new();
        rig.Attach(rig.Space);
        FakeUserMemory memory = new();
        KernelProcess other = rig.KernelSide.CreateProcess(new() { Memory = memory });
        int shared = rig.Kernel.Pass(rig.Fd, other);
        int own = other.Open("/dev/iommu", OpenFlags.ReadWrite);
        IommuIoasAlloc space = default;
        Rig.Call(other, own, ref space).ShouldBe(0);
        Map(other, own, space.OutIoasId, Page(0), 0x1000, 0x1000).ShouldBe(0);
        Map(other, shared, rig.Space, Page(3), 0x2000, 0x10_0000).ShouldBe(0);

        // The memory is that of the process that called.
        memory.PinsOf(Page(3)).ShouldBe(1);
        rig.Rig.Memory.PinsOf(Page(3)).ShouldBe(0);
        rig.KernelSide.Audit.AddressSpaces.ShouldBe(2);
        other.Exit();
        rig.KernelSide.Audit.AddressSpaces.ShouldBe(1);
        memory.PinnedPages.ShouldBe(2);
        other.Open("/dev/iommu", OpenFlags.ReadWrite).ShouldBe(-(int)Errno.TooManyOpenFiles);
        rig.Rig.Unmap(rig.Fd, rig.Space, 0x10_0000, 0x2000, out _).ShouldBe(0);
        memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_process_that_waits_is_interrupted_when_it_dies()
    {
        Rig rig = new();
        KernelProcess other = rig.KernelSide.CreateProcess(new());
        int fd = other.Open("/dev/iommu", OpenFlags.ReadWrite);
        IommuFaultAlloc queue = default;
        Rig.Call(other, fd, ref queue).ShouldBe(0);
        int result = 0;
        using ManualResetEventSlim started = new();
        Thread waiter = new(() =>
        {
            started.Set();
            result = ((IKernelAbi)other).Poll((int)queue.OutFaultFd, PollEvents.In, -1, out _);
        });
        waiter.Start();
        started.Wait(TestContext.Current.CancellationToken);
        while (waiter.ThreadState != ThreadState.WaitSleepJoin)
        {
            Thread.Yield();
        }

        other.Exit();
        waiter.Join(TimeSpan.FromSeconds(30)).ShouldBeTrue();
        result.ShouldBe(-(int)Errno.Interrupted);
        rig.ShouldBeClean();
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, true)]
    public void Pins_count_by_user_or_by_process_and_the_limit_is_that_of_who_pins(ulong mode, bool secondFits)
    {
        using HardwareRig rig = new();
        KernelProcess one = rig.KernelSide.CreateProcess(new() { UserId = 7, PinnedMemoryLimit = 0x3000 });
        KernelProcess two = rig.KernelSide.CreateProcess(new() { UserId = 7, PinnedMemoryLimit = 0x3000 });
        KernelProcess stranger = rig.KernelSide.CreateProcess(new() { UserId = 8, PinnedMemoryLimit = 0x3000 });
        (_, string path) = rig.Rig.AddCapableDevice();
        int fd = one.Open("/dev/iommu", OpenFlags.ReadWrite);
        SetMode(one, fd, mode).ShouldBe(0);
        int device = one.Open(path, OpenFlags.ReadWrite);
        uint number = VfioTests.Bind(one, device, fd).Id;
        number.ShouldNotBe(0u);
        IommuIoasAlloc space = default;
        Rig.Call(one, fd, ref space).ShouldBe(0);
        VfioTests.Attach(one, device, space.OutIoasId).Result.ShouldBe(0);
        Map(one, fd, space.OutIoasId, Page(0), 0x4000, 0x1000).ShouldBe(-(int)Errno.OutOfMemory);
        Map(one, fd, space.OutIoasId, Page(0), 0x2000, 0x1000).ShouldBe(0);
        (one.PinnedBytes, one.PinnedBytesOfUser).ShouldBe(mode == 0 ? (0, 0x2000) : (0x2000, 0));

        int fdOfTwo = one.Pass(fd, two);
        int fdOfStranger = one.Pass(fd, stranger);
        Map(two, fdOfTwo, space.OutIoasId, Page(8), 0x2000, 0x10000).ShouldBe(secondFits ? 0 : -(int)Errno.OutOfMemory);
        Map(stranger, fdOfStranger, space.OutIoasId, Page(16), 0x3000, 0x20000).ShouldBe(0);
        rig.KernelSide.Audit.PinnedBytes.ShouldBe(secondFits ? 0x7000 : 0x5000);
        one.Exit();
        two.Exit();
        stranger.Exit();
        rig.KernelSide.Audit.PinnedBytes.ShouldBe(0);
    }
}
