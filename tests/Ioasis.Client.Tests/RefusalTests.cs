using System.Buffers;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client.Tests;

/// <summary>A kernel that refuses to map, to unmap or to flush: memory is let go exactly if no device can reach it.</summary>
[Collection(nameof(RefusalTests))]
[CollectionDefinition(nameof(RefusalTests), DisableParallelization = true)]
public sealed class RefusalTests
{
    // So large that the system gives the process its addresses, and takes them back when it is freed.
    private const int Large = 64 << 20;

    private static readonly Iova At = new(0x1_0000_0000);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_buffer_that_cannot_be_unmapped_is_never_freed(bool flushFails)
    {
        using Machine machine = new();
        RefusingKernel kernel = new(machine.Platform.Kernel);
        using IommuFd iommu = IommuFd.Open(kernel);
        using VfioDevice device = Take(machine, kernel, iommu, out IoAddressSpace space);
        space.SetLazyInvalidation(flushFails);
        DmaBuffer buffer = space.AllocateBuffer(Large, Access.ReadWrite, At);
        buffer.Span[5] = 7;
        kernel.Refused = flushFails ? IommuOption.Request : IommuIoasUnmap.Request;
        buffer.Dispose();

        // The device still reaches it, by its IOVA or by what the IOMMU has cached: so it must still be there.
        byte[] read = new byte[1];
        if (!flushFails)
        {
            machine.Endpoint.Read(At + 5, read).ShouldBe(Platform.DmaStatus.Success);
            read[0].ShouldBe((byte)7);
        }

        machine.Space.MapErrno(new(kernel.LastMapped, 4096), new(0x2000), Access.Read).ShouldBe(Errno.Success);
        kernel.Refused = 0;
        space.Dispose();
    }

    [Fact]
    public void A_buffer_that_cannot_be_mapped_is_freed()
    {
        using Machine machine = new();
        RefusingKernel kernel = new(machine.Platform.Kernel) { Refused = IommuIoasMap.Request };
        using IommuFd iommu = IommuFd.Open(kernel);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        foreach (Iova? iova in new Iova?[] { At, null })
        {
            space.AllocateBufferErrno(Large, Access.ReadWrite, iova, out DmaBuffer? buffer).ShouldBe(Errno.IoError);
            buffer.ShouldBeNull();
            machine.Space.MapErrno(new(kernel.LastMapped, 4096), new(0x2000), Access.Read).ShouldBe(Errno.BadAddress);
        }
    }

    [Fact]
    public void Managed_memory_is_unpinned_exactly_if_no_device_can_reach_it()
    {
        using Machine machine = new();
        RefusingKernel kernel = new(machine.Platform.Kernel);
        using IommuFd iommu = IommuFd.Open(kernel);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        using CountingMemory memory = new();
        foreach ((uint refused, bool mapped, int pins) in new[]
        {
            (IommuIoasMap.Request, false, 0), (0u, true, 0), (IommuIoasUnmap.Request, true, 1), (IommuOption.Request, true, 2),
        })
        {
            kernel.Refused = refused == IommuIoasMap.Request ? refused : 0;
            Errno error = space.MapErrno(memory.Memory, Access.Read, null, out DmaMapping? mapping);
            (error == Errno.Success).ShouldBe(mapped);
            kernel.Refused = refused;
            mapping?.Dispose();
            mapping?.Dispose();
            memory.Pins.ShouldBe(pins);
        }

        // Not an IOVA with the memory's offset in its page: refused before the kernel is asked, and unpinned.
        kernel.Refused = 0;
        space.MapErrno(memory.Memory[1..], Access.Read, new Iova(0x5000), out _).ShouldBe(Errno.InvalidArgument);
        memory.Pins.ShouldBe(2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Interrupts_that_cannot_be_enabled_leave_no_descriptor_open(int events)
    {
        using Machine machine = new();
        RefusingKernel kernel = new(machine.Platform.Kernel);
        using IommuFd iommu = IommuFd.Open(kernel);
        using VfioDevice device = Take(machine, kernel, iommu, out IoAddressSpace space);
        (kernel.Refused, kernel.EventsLeft, kernel.Events) = (VfioRequests.DeviceSetIrqs, events == 2 ? int.MaxValue : events, 0);
        device.EnableInterruptsErrno(VfioPciInterrupt.MsiX, 2, out VfioInterruptSet? set).ShouldBe(events == 2 ? Errno.IoError : Errno.TooManyOpenFiles);
        set.ShouldBeNull();
        kernel.Events.ShouldBe(0);
        kernel.Refused = 0;
        space.Dispose();
    }

    [Fact]
    public void Shared_memory_that_cannot_be_mapped_leaves_no_descriptor_and_what_is_disposed_no_mapping()
    {
        using Machine machine = new();
        RefusingKernel kernel = new(machine.Platform.Kernel) { RefusesMaps = true };
        Should.Throw<IommuException>(() => SharedMemory.Create(kernel, "refused", 0x2000)).Error.ShouldBe(Errno.OutOfMemory);
        kernel.Memories.ShouldBe(0);
        kernel.RefusesMaps = false;
        SharedMemory.Create(kernel, "given", 0x2000).Dispose();
        kernel.Memories.ShouldBe(0);
        kernel.Maps.ShouldBe(0);
    }

    // The machine's device, for another client: attached to an address space of that client's own.
    private static VfioDevice Take(Machine machine, IKernelAbi kernel, IommuFd iommu, out IoAddressSpace space)
    {
        machine.Device.Dispose();
        VfioDevice device = VfioDevice.Open(kernel, machine.Endpoint.DevicePath);
        _ = device.Bind(iommu);
        space = iommu.AllocateAddressSpace();
        _ = device.Attach(space);
        return device;
    }

    private sealed unsafe class CountingMemory : MemoryManager<byte>
    {
        private readonly byte* _bytes = (byte*)NativeMemory.AlignedAlloc(8192, 4096);

        public int Pins { get; private set; }

        public override Span<byte> GetSpan() => new(_bytes, 8192);

        public override MemoryHandle Pin(int elementIndex = 0)
        {
            Pins++;
            return new(_bytes + elementIndex, default, this);
        }

        public override void Unpin() => Pins--;

        protected override void Dispose(bool disposing)
        {
            // Devices that could not be told may still reach it: the test leaves it to the process.
        }
    }

    private sealed class RefusingKernel(IKernelAbi inner) : IKernelAbi
    {
        /// <summary>The call that is answered EIO; 0 for none.</summary>
        public uint Refused { get; set; }

        /// <summary>The memory that was last given to be mapped.</summary>
        public ulong LastMapped { get; private set; }

        /// <summary>Event descriptors that can still be made.</summary>
        public int EventsLeft { get; set; } = int.MaxValue;

        /// <summary>Event descriptors that are open.</summary>
        public int Events { get; set; }

        /// <summary>Memory descriptors that are open.</summary>
        public int Memories { get; private set; }

        /// <summary>Mappings into the process.</summary>
        public int Maps { get; private set; }

        /// <summary>Whether nothing can be mapped into the process.</summary>
        public bool RefusesMaps { get; set; }

        private readonly HashSet<int> _events = [];
        private readonly HashSet<int> _memories = [];

        public int Open(string path, OpenFlags flags) => inner.Open(path, flags);

        public int Ioctl(int fd, uint request, Span<byte> argument)
        {
            if (request == IommuIoasMap.Request)
            {
                LastMapped = MemoryMarshal.Read<IommuIoasMap>(argument).UserVa;
            }

            return request == Refused ? -(int)Errno.IoError : inner.Ioctl(fd, request, argument);
        }

        public int Ioctl(int fd, uint request, nint argument) => inner.Ioctl(fd, request, argument);

        public nint Read(int fd, Span<byte> destination) => inner.Read(fd, destination);

        public nint Write(int fd, ReadOnlySpan<byte> source) => inner.Write(fd, source);

        public nint Read(int fd, Span<byte> destination, ulong offset) => inner.Read(fd, destination, offset);

        public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset) => inner.Write(fd, source, offset);

        public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
        {
            address = 0;
            int result = RefusesMaps ? -(int)Errno.OutOfMemory : inner.Map(fd, offset, length, protection, out address);
            Maps += result == 0 ? 1 : 0;
            return result;
        }

        public int Unmap(nint address, nuint length)
        {
            int result = inner.Unmap(address, length);
            Maps -= result == 0 ? 1 : 0;
            return result;
        }

        public int CreateEvent(uint initialValue, EventFlags flags)
        {
            int fd = EventsLeft-- > 0 ? inner.CreateEvent(initialValue, flags) : -(int)Errno.TooManyOpenFiles;
            Events += fd >= 0 && _events.Add(fd) ? 1 : 0;
            return fd;
        }

        public int CreateMemory(string name, ulong length)
        {
            int fd = inner.CreateMemory(name, length);
            Memories += fd >= 0 && _memories.Add(fd) ? 1 : 0;
            return fd;
        }

        public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds) => inner.Poll(descriptors, timeoutMilliseconds);

        public int Dup(int fd) => inner.Dup(fd);

        public int Close(int fd)
        {
            Events -= _events.Remove(fd) ? 1 : 0;
            Memories -= _memories.Remove(fd) ? 1 : 0;
            return inner.Close(fd);
        }
    }
}
