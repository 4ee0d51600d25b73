using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Kernel.Tests;

/// <summary>A kernel on a fake IOMMU and a fake client memory, and calls on it as bytes.</summary>
internal sealed class Rig
{
    private uint _nextId;

    public Rig(
        FakeUserMemory? memory = null,
        FakeIommu? iommu = null,
        long? pinnedLimit = null,
        int descriptorLimit = 1 << 20,
        LazyInvalidationOptions? lazy = null,
        ILogger? logger = null,
        IommufdExtension? extension = null)
    {
        Memory = memory ?? new();
        Iommu = iommu ?? new();
        Memory.IsReachable = Iommu.CanReach;
        Files = new(Memory);
        KernelSide = new(
            Memory,
            new()
            {
                MemoryFiles = Files,
                IommufdExtension = extension,
                PinnedMemoryLimit = pinnedLimit,
                DescriptorLimit = descriptorLimit,
                LazyInvalidation = lazy ?? new() { TimeProvider = new ManualTime() },
                Logger = logger ?? NullLogger.Instance,
            });
    }

    public FakeUserMemory Memory { get; }

    public FakeIommu Iommu { get; }

    public FakeMemoryFiles Files { get; }

    /// <summary>What all processes share.</summary>
    public IoasisKernel KernelSide { get; }

    /// <summary>What the first process calls.</summary>
    public KernelProcess Kernel => KernelSide.FirstProcess;

    public IommuSubsystem Subsystem { get; } = new();

    public (IommuDevice Device, string Path) AddDevice(int? group = null, params ReservedRegion[] regions)
    {
        uint id = ++_nextId;
        Subsystem.TryAddDevice(
            Iommu, new(id), $"device{id}", group, new() { ReservedRegions = regions }, out IommuDevice? device)
            .ShouldBe(Errno.Success);
        return (device!, KernelSide.AddDevice(device!));
    }

    /// <summary>A device with PASIDs and page requests, in a group of its own unless told otherwise.</summary>
    public (IommuDevice Device, string Path) AddCapableDevice(int? group = null, params ReservedRegion[] regions)
    {
        uint id = ++_nextId;
        Subsystem.TryAddDevice(
            Iommu, new(id), $"device{id}", group, new() { PasidBits = 8, Ats = true, PageRequests = true, ReservedRegions = regions }, out IommuDevice? device)
            .ShouldBe(Errno.Success);
        return (device!, KernelSide.AddDevice(device!));
    }

    /// <summary>A device that is opened, bound, and attached to a new address space.</summary>
    public Attached Attach(params ReservedRegion[] regions)
    {
        (IommuDevice device, string path) = AddDevice(null, regions);
        IommuFd iommu = IommuFd.Open(Kernel);
        VfioDevice vfio = VfioDevice.Open(Kernel, path);
        _ = vfio.Bind(iommu);
        IoAddressSpace space = iommu.AllocateAddressSpace();
        _ = vfio.Attach(space);
        return new(device, iommu, vfio, space);
    }

    public int Call<T>(int fd, ref T argument)
        where T : unmanaged, ISizedArgument => Call(Kernel, fd, ref argument);

    public static int Call<T>(IKernelAbi kernel, int fd, ref T argument)
        where T : unmanaged, ISizedArgument
    {
        Unsafe.As<T, uint>(ref argument) = (uint)Unsafe.SizeOf<T>();
        return kernel.Ioctl(fd, T.Request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
    }

    public int OpenIommu() => Kernel.Open("/dev/iommu", OpenFlags.ReadWrite);

    public uint AllocateSpace(int fd)
    {
        IommuIoasAlloc argument = default;
        Call(fd, ref argument).ShouldBe(0);
        return argument.OutIoasId;
    }

    public int Map(int fd, uint ioas, ulong memory, ulong length, ref ulong iova, IoasMapFlags flags)
    {
        IommuIoasMap argument = new() { Flags = flags, IoasId = ioas, UserVa = memory, Length = length, Iova = iova };
        int result = Call(fd, ref argument);
        iova = argument.Iova;
        return result;
    }

    public int MapFixed(
        int fd, uint ioas, ulong memory, ulong length, ulong iova, IoasMapFlags access = IoasMapFlags.Readable | IoasMapFlags.Writable) =>
        Map(fd, ioas, memory, length, ref iova, access | IoasMapFlags.FixedIova);

    public int Unmap(int fd, uint ioas, ulong iova, ulong length, out ulong unmapped)
    {
        IommuIoasUnmap argument = new() { IoasId = ioas, Iova = iova, Length = length };
        int result = Call(fd, ref argument);
        unmapped = argument.Length;
        return result;
    }

    public AddressRange[] Ranges(int fd, uint ioas, out ulong alignment)
    {
        IommuIoasIovaRanges argument = new() { IoasId = ioas, NumIovas = 1000, AllowedIovas = FakeUserMemory.ArgumentStart };
        Call(fd, ref argument).ShouldBe(0);
        alignment = argument.OutIovaAlignment;
        ReadOnlySpan<IommuIovaRange> ranges = MemoryMarshal.Cast<byte, IommuIovaRange>(Memory.Arguments);
        AddressRange[] result = new AddressRange[argument.NumIovas];
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = new(ranges[i].Start, ranges[i].Last);
        }

        return result;
    }

    /// <summary>Nothing may be left: no object, no pin, no domain, no claim, no attachment.</summary>
    public void ShouldBeClean()
    {
        KernelSide.Audit.ShouldBe(default);
        Memory.PinnedPages.ShouldBe(0);
        Memory.Violations.ShouldBeEmpty();
        Files.Live.ShouldBe(0);
        Iommu.Domains.ShouldBeEmpty();
        Iommu.NestedDomains.ShouldBeEmpty();
        Iommu.VirtualIommus.ShouldBeEmpty();
        foreach (IommuDevice device in Subsystem.Devices)
        {
            ((FakeIommu)device.Iommu).DomainOf(device).ShouldBe(BlockedDomain.Instance);
            object owner = new();
            device.Group.ClaimDma(owner).ShouldBe(Errno.Success);
            device.Group.ReleaseDma(owner);
        }
    }

    internal sealed record Attached(IommuDevice Device, IommuFd Iommu, VfioDevice Vfio, IoAddressSpace Space) : IDisposable
    {
        public FakeDomain Domain => (FakeDomain)((FakeIommu)Device.Iommu).DomainOf(Device);

        public int Fd => Iommu.Descriptor.Number;

        public void Dispose()
        {
            Vfio.Dispose();
            Space.Dispose();
            Iommu.Dispose();
        }
    }
}
