using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// A rig with one device that can do everything, bound to one <c>/dev/iommu</c> with one address space. Disposing it closes
/// everything, and everything must be gone then.
/// </summary>
internal sealed class HardwareRig : IDisposable
{
    public HardwareRig(FakeIommu? iommu = null, FakeUserMemory? memory = null, params ReservedRegion[] regions)
    {
        Rig = new(memory, iommu);
        (Device, string path) = Rig.AddCapableDevice(null, regions);
        Fd = Rig.OpenIommu();
        DeviceFd = Kernel.Open(path, OpenFlags.ReadWrite);
        DeviceNumber = VfioTests.Bind(Rig, DeviceFd, Fd).Id;
        Space = Rig.AllocateSpace(Fd);
    }

    public Rig Rig { get; }

    public FakeIommu Iommu => Rig.Iommu;

    public IoasisKernel KernelSide => Rig.KernelSide;

    public KernelProcess Kernel => Rig.Kernel;

    public IommuDevice Device { get; }

    public int Fd { get; }

    public int DeviceFd { get; }

    public uint DeviceNumber { get; }

    public uint Space { get; }

    public Span<byte> Arguments => Rig.Memory.Arguments;

    public int Call<T>(ref T argument)
        where T : unmanaged, ISizedArgument => Rig.Call(Fd, ref argument);

    public int TryAllocateTable(
        HwptAllocFlags flags, uint on, uint faults, out uint id, uint dataType = 0, uint dataLength = 0, uint? device = null)
    {
        IommuHwptAlloc argument = new()
        {
            Flags = flags, DeviceId = device ?? DeviceNumber, PageTableId = on, FaultId = faults, DataType = (HwptDataType)dataType,
            DataLength = dataLength, DataAddress = FakeUserMemory.ArgumentStart,
        };
        int result = Call(ref argument);
        id = argument.OutHwptId;
        return result;
    }

    public uint AllocateTable(HwptAllocFlags flags = HwptAllocFlags.None, uint faults = 0)
    {
        TryAllocateTable(flags, Space, faults, out uint id).ShouldBe(0);
        return id;
    }

    public uint AllocateNested(uint on, HwptAllocFlags flags = HwptAllocFlags.None, uint faults = 0)
    {
        TryAllocateTable(flags, on, faults, out uint id, RiscVUapi.HwptDataType, 32).ShouldBe(0);
        return id;
    }

    public (uint Id, int Fd) AllocateFaultQueue()
    {
        IommuFaultAlloc argument = default;
        Call(ref argument).ShouldBe(0);
        return (argument.OutFaultId, (int)argument.OutFaultFd);
    }

    public uint AllocateVirtualIommu(uint parent)
    {
        IommuViommuAlloc argument = new() { Type = RiscVUapi.ViommuType, DeviceId = DeviceNumber, HwptId = parent };
        Call(ref argument).ShouldBe(0);
        return argument.OutViommuId;
    }

    public int TryAllocateVirtualDevice(uint virtualIommu, uint device, ulong name, out uint id)
    {
        IommuVdeviceAlloc argument = new() { ViommuId = virtualIommu, DeviceId = device, VirtualId = name };
        int result = Call(ref argument);
        id = argument.OutVdeviceId;
        return result;
    }

    public (int Fd, uint Number) BindPlainDevice(int? group = null)
    {
        int fd = Kernel.Open(Rig.AddDevice(group).Path, OpenFlags.ReadWrite);
        return (fd, VfioTests.Bind(Rig, fd, Fd).Id);
    }

    public (IommuDevice Device, int Fd, uint Number) BindCapableDevice(int? group = null)
    {
        (IommuDevice device, string path) = Rig.AddCapableDevice(group);
        int fd = Kernel.Open(path, OpenFlags.ReadWrite);
        return (device, fd, VfioTests.Bind(Rig, fd, Fd).Id);
    }

    public void Attach(uint table) => TryAttach(DeviceFd, table).ShouldBe(0);

    public int TryAttach(int fd, uint table) => VfioTests.Attach(Rig, fd, table).Result;

    public int TryAttachPasid(int fd, uint pasid, uint table)
    {
        VfioDeviceAttachIommufdPt argument = new() { Argsz = 16, Flags = VfioAttachFlags.Pasid, PageTableId = table, Pasid = pasid };
        return Kernel.Ioctl(
            fd, VfioRequests.DeviceAttachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceAttachIommufdPt>(ref argument)));
    }

    public int TryDetachPasid(int fd, uint pasid)
    {
        VfioDeviceDetachIommufdPt argument = new() { Argsz = 12, Flags = VfioAttachFlags.Pasid, Pasid = pasid };
        return Kernel.Ioctl(
            fd, VfioRequests.DeviceDetachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceDetachIommufdPt>(ref argument)));
    }

    public void Detach()
    {
        VfioDeviceDetachIommufdPt argument = new() { Argsz = 8 };
        Kernel.Ioctl(
            DeviceFd, VfioRequests.DeviceDetachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceDetachIommufdPt>(ref argument)))
            .ShouldBe(0);
    }

    public int Destroy(uint id)
    {
        IommuDestroy argument = new() { Id = id };
        return Call(ref argument);
    }

    public PollEvents Ready(int fd)
    {
        _ = ((IKernelAbi)Kernel).Poll(fd, PollEvents.In | PollEvents.Out, 0, out PollEvents ready);
        return ready;
    }

    public void Dispose()
    {
        Kernel.CloseAll();
        Rig.ShouldBeClean();
    }
}
