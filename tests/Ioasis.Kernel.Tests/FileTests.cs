using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Memory of files, mapped for devices, and who pays for it.</summary>
public sealed class FileTests
{
    private const IoasMapFlags ReadWrite = IoasMapFlags.Readable | IoasMapFlags.Writable;

    private static int Map(IKernelAbi kernel, int fd, uint ioas, int file, ulong start, ulong length, ref ulong iova, IoasMapFlags flags)
    {
        IommuIoasMapFile argument = new() { Flags = flags, IoasId = ioas, Fd = file, Start = start, Length = length, Iova = iova };
        int result = Rig.Call(kernel, fd, ref argument);
        iova = argument.Iova;
        return result;
    }

    private static int MapFixed(IKernelAbi kernel, int fd, uint ioas, int file, ulong start, ulong length, ulong iova) =>
        Map(kernel, fd, ioas, file, start, length, ref iova, ReadWrite | IoasMapFlags.FixedIova);

    private static int ChangeProcess(IKernelAbi kernel, int fd, uint reserved = 0)
    {
        IommuIoasChangeProcess argument = new() { Reserved = reserved };
        return Rig.Call(kernel, fd, ref argument);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_file_is_mapped_and_its_memory_lives_as_long_as_it_is_mapped()
    {
        using HardwareRig rig = new();
        rig.Attach(rig.Space);
        int file = rig.Kernel.CreateMemory("test", 0x8000);
        MapFixed(rig.Kernel, rig.Fd, rig.Space, file, 0x2000, 0x3000, 0x10_0000).ShouldBe(0);
        ulong iova = 0;
        Map(rig.Kernel, rig.Fd, rig.Space, file, 0, 0x1000, ref iova, IoasMapFlags.Readable).ShouldBe(0);
        ulong address = FakeUserMemory.Start + (rig.Rig.Memory.Size / 2);
        rig.Rig.Memory.PinsOf(address + 0x2000).ShouldBe(1);
        rig.Rig.Memory.PinsOf(address + 0x5000).ShouldBe(0);
        rig.Iommu.Domains[0].TryTranslate(new(0x10_0000), out PhysicalAddress physical, out _, out _).ShouldBeTrue();
        physical.Value.ShouldBe(rig.Rig.Memory.ToPhysical(address + 0x2000));
        rig.Kernel.Map(file, 0x1000, 0x2000, MemoryProtection.Read, out nint mapped).ShouldBe(0);
        mapped.ShouldBe((nint)(address + 0x1000));
        rig.Kernel.Close(file).ShouldBe(0);
        rig.Rig.Unmap(rig.Fd, rig.Space, 0, ulong.MaxValue, out _).ShouldBe(0);
        rig.Rig.Files.Live.ShouldBe(1);
        rig.Kernel.Unmap(mapped, 0x2000).ShouldBe(0);
        rig.Rig.Files.Live.ShouldBe(0);
    }

    [Fact]
    public void Every_wrong_call_with_a_file_has_its_error_number_and_leaves_nothing()
    {
        using HardwareRig rig = new();
        rig.Attach(rig.Space);
        int file = rig.Kernel.CreateMemory("test", 0x8000);
        int Try(int fd, ulong start, ulong length, ulong at = 0x10_0000, IoasMapFlags flags = ReadWrite | IoasMapFlags.FixedIova, uint? id = null) =>
            Map(rig.Kernel, rig.Fd, id ?? rig.Space, fd, start, length, ref at, flags);

        Try(file, 0, 0x1000, flags: ReadWrite | (IoasMapFlags)8).ShouldBe(-(int)Errno.NotSupported);
        Try(file, 0, 0x1000, flags: IoasMapFlags.FixedIova).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, 0, ulong.MaxValue).ShouldBe(-(int)Errno.Overflow);
        Try(file, 0, 0x1000, ulong.MaxValue).ShouldBe(-(int)Errno.Overflow);
        Try(file, 0, 0x1000, id: 99).ShouldBe(-(int)Errno.NoEntry);
        Try(-1, 0, 0x1000).ShouldBe(-(int)Errno.BadDescriptor);
        Try(99, 0, 0x1000).ShouldBe(-(int)Errno.BadDescriptor);
        Try(rig.Fd, 0, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, 0, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, 0x8000, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, 0, 0x9000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, ulong.MaxValue - 0xfff, 0x2000).ShouldBe(-(int)Errno.Overflow);
        Try(file, 8, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Try(file, 0, 0x1000, 0x10_0008).ShouldBe(-(int)Errno.InvalidArgument);
        rig.KernelSide.Audit.Areas.ShouldBe(0);
        rig.KernelSide.Audit.Memories.ShouldBe(0);
        rig.Kernel.CreateMemory("none", 0).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.CreateMemory("too large", 1ul << 60).ShouldBe(-(int)Errno.OutOfMemory);
        rig.Kernel.Map(file, 0x8000, 0x1000, MemoryProtection.Read, out _).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void Another_process_takes_over_what_is_mapped_of_files_within_its_limit_or_nothing_changes()
    {
        using HardwareRig rig = new();
        rig.Attach(rig.Space);
        uint second = rig.Rig.AllocateSpace(rig.Fd);
        int file = rig.Kernel.CreateMemory("test", 0x8000);
        MapFixed(rig.Kernel, rig.Fd, rig.Space, file, 0, 0x3000, 0x10_0000).ShouldBe(0);
        MapFixed(rig.Kernel, rig.Fd, rig.Space, file, 0x4000, 0x2000, 0x20_0000).ShouldBe(0);
        IommuIoasCopy copy = new()
        {
            Flags = ReadWrite, DestinationIoasId = second, SourceIoasId = rig.Space, Length = 0x3000, SourceIova = 0x10_0000,
        };
        rig.Call(ref copy).ShouldBe(0);

        KernelProcess poor = rig.KernelSide.CreateProcess(new() { UserId = 1, PinnedMemoryLimit = 0x4000 });
        KernelProcess rich = rig.KernelSide.CreateProcess(new() { UserId = 2, PinnedMemoryLimit = 0x5000 });
        int poorFd = rig.Kernel.Pass(rig.Fd, poor);
        int richFd = rig.Kernel.Pass(rig.Fd, rich);
        ChangeProcess(poor, poorFd, 1).ShouldBe(-(int)Errno.NotSupported);
        ChangeProcess(poor, poorFd).ShouldBe(-(int)Errno.OutOfMemory);
        rig.Kernel.PinnedBytesOfUser.ShouldBe(0x5000);
        poor.PinnedBytesOfUser.ShouldBe(0);
        ChangeProcess(rich, richFd).ShouldBe(0);
        rig.Kernel.PinnedBytesOfUser.ShouldBe(0);
        rich.PinnedBytesOfUser.ShouldBe(0x5000);

        // Memory of a process cannot be taken over.
        rig.Rig.MapFixed(rig.Fd, second, FakeUserMemory.Start, 0x1000, 0x40_0000).ShouldBe(0);
        ChangeProcess(rig.Kernel, rig.Fd).ShouldBe(-(int)Errno.InvalidArgument);
        rich.PinnedBytesOfUser.ShouldBe(0x5000);
        rig.Rig.Unmap(rig.Fd, second, 0x40_0000, 0x1000, out _).ShouldBe(0);
        poor.Exit();
        rich.Exit();
        rig.KernelSide.Audit.PinnedBytes.ShouldBe(0x5000);
        rig.Rig.Unmap(rig.Fd, rig.Space, 0, ulong.MaxValue, out _).ShouldBe(0);
        rich.PinnedBytesOfUser.ShouldBe(0);
    }
}
