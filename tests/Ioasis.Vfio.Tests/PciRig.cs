using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>An embedded platform with a device that a client has open through its group, and calls as bytes.</summary>
internal sealed class PciRig : IDisposable
{
    public PciRig(PciDevice device, DeviceId? id = null)
    {
        Platform = new(new() { UserMemory = null });
        Endpoint = Platform.AddDevice(device, id ?? DeviceId.FromPci(0, 1, 2, 3));
        Container = VfioContainer.Open(Platform.Kernel);
        Group = VfioGroup.Open(Platform.Kernel, Endpoint.Device.Group.Id);
        Group.Join(Container);
        Container.SetIommu();
        Device = Group.OpenDevice(Endpoint.Device.Name);
    }

    public EmbeddedPlatform Platform { get; }

    public EmbeddedEndpoint Endpoint { get; }

    public VfioContainer Container { get; }

    public VfioGroup Group { get; }

    public VfioDevice Device { get; }

    public IKernelAbi Kernel => Platform.Kernel;

    public VfioRegion Config => Device.GetRegion(VfioPciRegion.Config);

    public int NewEvent(uint value = 0) => Kernel.CreateEvent(value, EventFlags.NonBlocking);

    /// <summary>What an event counter has, taken.</summary>
    public ulong Take(int descriptor)
    {
        ulong value = 0;
        nint result = Kernel.Read(descriptor, MemoryMarshal.AsBytes(new Span<ulong>(ref value)));
        return result == 8 ? value : 0;
    }

    public void Add(int descriptor, ulong value) =>
        Kernel.Write(descriptor, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value))).ShouldBe(8);

    public Errno SetIrqs(
        VfioPciInterrupt index, VfioIrqSetFlags flags, uint start, uint count, ReadOnlySpan<byte> data, uint? argsz = null)
    {
        byte[] argument = new byte[VfioIrqSet.MinimumSize + data.Length];
        MemoryMarshal.Write(argument, new VfioIrqSet
        {
            Argsz = argsz ?? (uint)argument.Length,
            Flags = flags,
            Index = (uint)index,
            Start = start,
            Count = count,
        });
        data.CopyTo(argument.AsSpan(VfioIrqSet.MinimumSize));
        return (Errno)(-Kernel.Ioctl(Device.Descriptor.Number, VfioRequests.DeviceSetIrqs, argument));
    }

    public Errno Connect(VfioPciInterrupt index, uint start, params int[] events) =>
        SetIrqs(
            index,
            VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger,
            start,
            (uint)events.Length,
            MemoryMarshal.AsBytes<int>(events));

    public Errno Act(VfioPciInterrupt index, VfioIrqSetFlags action, uint start = 0, uint count = 1) =>
        SetIrqs(index, VfioIrqSetFlags.DataNone | action, start, count, []);

    public void Dispose()
    {
        Device.Dispose();
        Group.Dispose();
        Container.Dispose();
        Platform.Dispose();
    }
}
