using System.Buffers.Binary;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Linux.Tests;

/// <summary>The transport on the machine at hand, which needs no IOMMU for this.</summary>
public sealed class TransportTests
{
    private static LinuxKernelAbi Kernel => LinuxKernelAbi.Instance;

    private static int Poll(int fd, PollEvents events, int timeout, out PollEvents ready) =>
        ((IKernelAbi)Kernel).Poll(fd, events, timeout, out ready);

    private static int Error(Errno error) => -(int)error;

    [Fact]
    public void A_path_that_is_not_there_is_ENOENT() =>
        Kernel.Open("/dev/ioasis-has-no-such-node", OpenFlags.ReadWrite).ShouldBe(Error(Errno.NoEntry));

    [Fact]
    public void An_errno_that_Ioasis_has_no_name_for_passes_as_it_is() =>
        Kernel.Open("/dev/null/below", OpenFlags.ReadWrite | OpenFlags.CloseOnExec).ShouldBe(-20);

    [Fact]
    public void An_ioctl_of_a_file_that_has_none_is_ENOTTY_in_either_form()
    {
        int file = Kernel.Open("/dev/null", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        file.ShouldBeGreaterThan(2);
        byte[] argument = new byte[12];
        Kernel.Ioctl(file, IommufdRequests.IoasAlloc, argument).ShouldBe(Error(Errno.NotTypewriter));
        Kernel.Ioctl(file, VfioRequests.GetApiVersion, 0).ShouldBe(Error(Errno.NotTypewriter));
        Kernel.Close(file).ShouldBe(0);
        Kernel.Close(file).ShouldBe(Error(Errno.BadDescriptor));
        Kernel.Ioctl(file, IommufdRequests.IoasAlloc, argument).ShouldBe(Error(Errno.BadDescriptor));
    }

    [Fact]
    public void Reads_and_writes_carry_bytes_and_errors()
    {
        int zero = Kernel.Open("/dev/zero", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        byte[] buffer = [1, 2, 3, 4];
        Kernel.Read(zero, buffer).ShouldBe(4);
        buffer.ShouldBe([0, 0, 0, 0]);
        Kernel.Write(zero, buffer).ShouldBe(4);
        Kernel.Close(zero).ShouldBe(0);
        Kernel.Read(zero, buffer).ShouldBe(Error(Errno.BadDescriptor));

        int full = Kernel.Open("/dev/full", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        Kernel.Write(full, buffer).ShouldBe(Error(Errno.NoSpace));
        Kernel.Close(full).ShouldBe(0);
    }

    [Fact]
    public void A_duplicate_lives_on_when_the_first_descriptor_is_closed()
    {
        int first = Kernel.Open("/dev/zero", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        int second = Kernel.Dup(first);
        second.ShouldNotBe(first);
        Kernel.Close(first).ShouldBe(0);
        byte[] buffer = [1];
        Kernel.Read(second, buffer).ShouldBe(1);
        Kernel.Close(second).ShouldBe(0);
        Kernel.Dup(second).ShouldBe(Error(Errno.BadDescriptor));
    }

    [Fact]
    public void Poll_tells_what_is_ready_and_of_a_descriptor_that_is_none()
    {
        int zero = Kernel.Open("/dev/zero", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        Poll(zero, PollEvents.In, -1, out PollEvents ready).ShouldBe(1);
        ready.ShouldBe(PollEvents.In);
        Kernel.Close(zero).ShouldBe(0);
        Poll(zero, PollEvents.In, 0, out _).ShouldBe(Error(Errno.BadDescriptor));
    }

    [Fact]
    public void An_event_counts_what_is_written_until_it_is_read()
    {
        int counter = Kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec);
        byte[] value = new byte[8];
        Kernel.Read(counter, value).ShouldBe(Error(Errno.TryAgain));
        Poll(counter, PollEvents.In, 0, out _).ShouldBe(0);
        BinaryPrimitives.WriteUInt64LittleEndian(value, 3);
        Kernel.Write(counter, value).ShouldBe(8);
        Kernel.Write(counter, value).ShouldBe(8);
        Poll(counter, PollEvents.In, -1, out PollEvents ready).ShouldBe(1);
        ready.ShouldBe(PollEvents.In);
        Kernel.Read(counter, value).ShouldBe(8);
        BinaryPrimitives.ReadUInt64LittleEndian(value).ShouldBe(6ul);
        Kernel.Write(counter, value, 0).ShouldBe(-29);
        Kernel.Map(counter, 0, 4096, MemoryProtection.Read, out _).ShouldBe(Error(Errno.NoDevice));
        Kernel.Close(counter).ShouldBe(0);
    }

    [Fact]
    public void Several_descriptors_are_waited_for_at_once()
    {
        int first = Kernel.CreateEvent(0, EventFlags.CloseOnExec);
        int second = Kernel.CreateEvent(1, EventFlags.CloseOnExec);
        PollDescriptor[] descriptors =
        [
            new() { Descriptor = first, Events = PollEvents.In },
            new() { Descriptor = second, Events = PollEvents.In },
            new() { Descriptor = 9999, Events = PollEvents.In },
        ];
        Kernel.Poll(descriptors, 1000).ShouldBe(2);
        descriptors.Select(static descriptor => descriptor.Ready)
            .ShouldBe([PollEvents.None, PollEvents.In, PollEvents.Invalid]);
        Kernel.Close(first).ShouldBe(0);
        Kernel.Close(second).ShouldBe(0);
    }

    [Fact]
    public unsafe void A_mapping_shows_the_file_at_its_offset_and_survives_the_close()
    {
        string path = Path.GetTempFileName();
        byte[] content = new byte[3 * 4096];
        content.AsSpan(4096, 4096).Fill(0x5a);
        File.WriteAllBytes(path, content);
        int file = Kernel.Open(path, OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        byte[] read = new byte[2];
        Kernel.Read(file, read, 4095).ShouldBe(2);
        read.ShouldBe([0, 0x5a]);
        Kernel.Map(file, 4096, 4096, MemoryProtection.Read | MemoryProtection.Write, out nint address).ShouldBe(0);
        Kernel.Map(file, 1, 4096, MemoryProtection.Read, out _).ShouldBe(Error(Errno.InvalidArgument));
        Kernel.Close(file).ShouldBe(0);
        *(byte*)address = 0x77;
        ((byte*)address)[4095].ShouldBe((byte)0x5a);
        Kernel.Unmap(address, 4096).ShouldBe(0);
        Kernel.Unmap(1, 4096).ShouldBe(Error(Errno.InvalidArgument));
        File.ReadAllBytes(path)[4096].ShouldBe((byte)0x77);
        File.Delete(path);
    }

    [Fact]
    public void An_argument_whose_size_field_promises_more_than_the_buffer_ends_before_a_page_that_is_not_there()
    {
        // FIONBIO reads an int: three bytes of one are not enough, four are.
        const uint FileNonBlocking = 0x5421;
        int file = Kernel.Open("/dev/zero", OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        Kernel.Ioctl(file, FileNonBlocking, new byte[3]).ShouldBe(Error(Errno.BadAddress));
        Kernel.Ioctl(file, FileNonBlocking, new byte[4]).ShouldBe(0);
        Kernel.Ioctl(file, FileNonBlocking, Span<byte>.Empty).ShouldBe(Error(Errno.BadAddress));

        // TCGETS of something that is no terminal does not look at the argument at all.
        byte[] promise = new byte[128];
        BinaryPrimitives.WriteUInt32LittleEndian(promise, uint.MaxValue);
        Kernel.Ioctl(file, 0x5401, promise).ShouldBe(Error(Errno.NotTypewriter));
        promise.AsSpan(4).ContainsAnyExcept((byte)0).ShouldBeFalse();
        Kernel.Close(file).ShouldBe(0);
    }

    [Fact]
    public void The_client_reports_a_machine_without_dev_iommu_as_any_other_refusal()
    {
        if (File.Exists(IommuFd.Path))
        {
            // Then the conformance suite of the ABI is what tests it.
            using IommuFd there = IommuFd.Open(Kernel);
            there.Descriptor.IsInvalid.ShouldBeFalse();
            return;
        }

        IommuFd.OpenErrno(Kernel, out IommuFd? iommu).ShouldBe(Errno.NoEntry);
        iommu.ShouldBeNull();
        IommuException refusal = Should.Throw<IommuException>(static () => IommuFd.Open(Kernel));
        refusal.Error.ShouldBe(Errno.NoEntry);
        refusal.Call.ShouldBe("open");
        refusal.Message.ShouldContain(IommuFd.Path);
    }

    [Fact]
    public void Memory_of_a_descriptor_is_zero_shared_and_as_long_as_asked_for()
    {
        Kernel.CreateMemory("ioasis", 0).ShouldBe(Error(Errno.InvalidArgument));
        using (SharedMemory memory = SharedMemory.Create(Kernel, "ioasis", 8192))
        {
            memory.Slice(0, 8192).ToArray().ShouldAllBe(static value => value == 0);
            memory.Slice(4096, 5).Fill(7);
            byte[] read = new byte[16];
            Kernel.Read(memory.Descriptor.Number, read, 4096).ShouldBe(16);
            read[..6].ShouldBe([7, 7, 7, 7, 7, 0]);
            Kernel.Read(memory.Descriptor.Number, read, 8190).ShouldBe(2);
        }
    }
}
