using System.Buffers.Binary;
using Ioasis.Devices.Virtio;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>A host with a virtio device: registers through the VFIO seam, memory that it owns, nothing between.</summary>
internal sealed class VirtioHost : DeviceHost
{
    public const ulong Wanted = (ulong)(VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform);

    public VirtioHost(VirtioDevice device, int memory = 8 << 20, IDmaPort? port = null)
        : base(device, new(memory))
    {
        Device = device;
        Device.Assign(new ulong[Device.Description.Bars.Count]);
        Device.Connect(new(DeviceId.FromPci(0, 0, 1, 0), port ?? Memory));
        Open();
    }

    public VirtioDevice Device { get; }

    public VirtioStatus Status => (VirtioStatus)Read(VirtioRegisters.Status, 1);

    public void Open()
    {
        Backend.Open().ShouldBe(Errno.Success);
        SetCommand(6);
    }

    public void WriteConfig(int offset, uint value, int size)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        Backend.Write((int)VfioPciRegion.Config, (ulong)offset, bytes[..size], out _).ShouldBe(Errno.Success);
    }

    public uint ReadConfig(int offset, int size)
    {
        Span<byte> bytes = stackalloc byte[4];
        bytes.Clear();
        Backend.Read((int)VfioPciRegion.Config, (ulong)offset, bytes[..size], out _).ShouldBe(Errno.Success);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public void Notify(int queue) => Write(VirtioRegisters.Notify + ((uint)queue * 4), (uint)queue, 2);

    /// <summary>Notifies a device that may be closed meanwhile.</summary>
    public void TryNotify(int queue) => _ = TryWrite(VirtioRegisters.Notify + ((uint)queue * 4), (uint)queue, 2);

    public ulong Offered()
    {
        Write(VirtioRegisters.DeviceFeatureSelect, 0, 4);
        ulong low = Read(VirtioRegisters.DeviceFeature, 4);
        Write(VirtioRegisters.DeviceFeatureSelect, 1, 4);
        return low | (Read(VirtioRegisters.DeviceFeature, 4) << 32);
    }

    /// <summary>Up to the agreement on features.</summary>
    /// <returns>Whether the device agreed.</returns>
    public bool Negotiate(ulong features)
    {
        Write(VirtioRegisters.Status, 0, 1);
        Status.ShouldBe(VirtioStatus.None);
        Write(VirtioRegisters.Status, 1, 1);
        Write(VirtioRegisters.Status, 3, 1);
        Write(VirtioRegisters.DriverFeatureSelect, 0, 4);
        Write(VirtioRegisters.DriverFeature, (uint)features, 4);
        Write(VirtioRegisters.DriverFeatureSelect, 1, 4);
        Write(VirtioRegisters.DriverFeature, features >> 32, 4);
        Write(VirtioRegisters.Status, 11, 1);
        return Status.HasFlag(VirtioStatus.FeaturesOk);
    }

    public DriverRing EnableQueue(int index, int size, bool packed, int? vector = null)
    {
        DriverRing ring = new(this, index, size, packed);
        Enable(ring, vector);
        return ring;
    }

    public void Enable(DriverRing ring, int? vector = null)
    {
        Write(VirtioRegisters.QueueSelect, (ulong)ring.Index, 2);
        Write(VirtioRegisters.QueueSize, (ulong)ring.Size, 2);
        if (vector is { } number)
        {
            Write(VirtioRegisters.QueueVector, (ulong)number, 2);
        }

        Write(VirtioRegisters.QueueDescriptors, ring.Descriptors, 8);
        Write(VirtioRegisters.QueueDriver, (uint)ring.Driver, 4);
        Write(VirtioRegisters.QueueDriver + 4, ring.Driver >> 32, 4);
        Write(VirtioRegisters.QueueDevice, ring.Device, 8);
        Write(VirtioRegisters.QueueEnable, 1, 2);
    }

    public void Start()
    {
        Write(VirtioRegisters.Status, 15, 1);
        Status.ShouldBe((VirtioStatus)15);
    }

    /// <summary>From reset to a driver with one queue.</summary>
    public DriverRing Bring(ulong features = 0, bool packed = false, int size = 16, int index = 0, int? vector = null)
    {
        Negotiate(Wanted | features | (packed ? (ulong)VirtioFeatures.PackedRing : 0)).ShouldBeTrue();
        DriverRing ring = EnableQueue(index, size, packed, vector);
        Start();
        return ring;
    }
}
