using System.Buffers.Binary;
using Ioasis.Client;
using Ioasis.Uapi;

namespace Ioasis.Examples;

/// <summary>
/// A virtio device on PCI, version 1 of the specification, through VFIO: finds its registers, agrees on features, sets queues up and waits
/// for interrupts (virtio 1.3, sections 3.1.1 and 4.1).
/// </summary>
public sealed class VirtioTransport : IDisposable
{
    private const ushort Vendor = 0x1af4;
    private const ushort FirstDevice = 0x1040;
    private const byte VendorCapability = 9;
    private const ulong Required = (1ul << 32) | (1ul << 33);

    private readonly VfioRegion _config;
    private readonly Place _common;
    private readonly Place _notify;
    private readonly Place _own;
    private readonly uint _notifyMultiplier;
    private readonly Dictionary<int, uint> _notifyOffsets = [];
    private VfioInterruptSet? _interrupts;

    private VirtioTransport(VfioDevice device, VfioRegion config)
    {
        _config = config;
        Device = device;
        _common = Find(1, out _);
        _notify = Find(2, out int capability);
        _notifyMultiplier = config.Read<uint>((ulong)capability + 16);
        _own = Find(4, out _);
    }

    private enum Common : ulong
    {
        DeviceFeatureSelect = 0,
        DeviceFeature = 4,
        DriverFeatureSelect = 8,
        DriverFeature = 12,
        ConfigurationVector = 16,
        QueueCount = 18,
        Status = 20,
        QueueSelect = 22,
        QueueSize = 24,
        QueueVector = 26,
        QueueEnable = 28,
        QueueNotifyOffset = 30,
        QueueDescriptors = 32,
        QueueDriver = 40,
        QueueDevice = 48,
    }

    [Flags]
    private enum Status : byte
    {
        Acknowledge = 1,
        Driver = 2,
        DriverOk = 4,
        FeaturesOk = 8,
        NeedsReset = 0x40,
        Failed = 0x80,
    }

    private readonly record struct Place(VfioRegion Region, ulong Offset);

    /// <summary>The device.</summary>
    public VfioDevice Device { get; }

    /// <summary>The features that both sides agreed on.</summary>
    public ulong Features { get; private set; }

    /// <summary>How many queues it has.</summary>
    public int QueueCount => Read<ushort>(Common.QueueCount);

    /// <summary>Whether the device has met an error from which only a reset leads.</summary>
    public bool NeedsReset => (Read<byte>(Common.Status) & (byte)Status.NeedsReset) != 0;

    /// <summary>Resets the device and agrees with it on features.</summary>
    /// <param name="device">A device that is attached, or was opened through its group; it stays the caller's.</param>
    /// <param name="kind">Which device: 1 for a network, 2 for a disk.</param>
    /// <param name="wanted">Features that the driver knows; those that the device has not are left out.</param>
    /// <exception cref="IommuException">The kernel refused a call.</exception>
    /// <exception cref="NotSupportedException">It is another device, or it wants what this driver does not know.</exception>
    public static VirtioTransport Open(VfioDevice device, int kind, ulong wanted)
    {
        ArgumentNullException.ThrowIfNull(device);
        VfioRegion config = device.GetRegion(VfioPciRegion.Config);
        ushort vendor = config.Read<ushort>(0);
        ushort id = config.Read<ushort>(2);
        if (vendor != Vendor || id != FirstDevice + kind)
        {
            throw new NotSupportedException($"{device.Path} is {vendor:x4}:{id:x4}, not {Vendor:x4}:{FirstDevice + kind:x4}.");
        }

        // Memory space and bus master: without the first no register answers, without the second no DMA and no message leaves.
        config.Write(4, (ushort)(config.Read<ushort>(4) | 6));
        VirtioTransport transport = new(device, config);
        transport.Negotiate(wanted);
        return transport;
    }

    /// <summary>Makes a queue of the device known to it, with a vector of its own.</summary>
    /// <param name="index">Number.</param>
    /// <param name="size">Most entries: a power of two.</param>
    /// <param name="area">Where its rings will be.</param>
    /// <exception cref="NotSupportedException">The device has no such queue.</exception>
    public VirtioQueue EnableQueue(int index, int size, DmaArea area)
    {
        ArgumentNullException.ThrowIfNull(area);
        _interrupts ??= Device.EnableInterrupts(VfioPciInterrupt.MsiX, (int)Math.Min(Device.GetInterrupt(VfioPciInterrupt.MsiX).Count, (uint)QueueCount));
        Write(Common.QueueSelect, (ushort)index);
        int most = Read<ushort>(Common.QueueSize);
        if (most == 0)
        {
            throw new NotSupportedException($"{Device.Path} has no queue {index}.");
        }

        VirtioQueue queue = new(area, index, Math.Min(size, most));
        Write(Common.QueueSize, (ushort)queue.Size);
        Write(Common.QueueVector, (ushort)VectorOf(index));
        WriteAddress(Common.QueueDescriptors, queue.Descriptors);
        WriteAddress(Common.QueueDriver, queue.Available);
        WriteAddress(Common.QueueDevice, queue.Used);
        _notifyOffsets[index] = Read<ushort>(Common.QueueNotifyOffset);
        Write(Common.QueueEnable, (ushort)1);
        return queue;
    }

    /// <summary>The driver is ready: the device may work.</summary>
    public void Start() => Write(Common.Status, (byte)(Read<byte>(Common.Status) | (byte)Status.DriverOk));

    /// <summary>Tells the device that there is something in a queue.</summary>
    public void Notify(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        _notify.Region.Write(_notify.Offset + ((ulong)_notifyOffsets[queue.Index] * _notifyMultiplier), (ushort)queue.Index);
    }

    /// <summary>Waits until the device says that it has given back something of a queue. Look into the queue before.</summary>
    /// <exception cref="InvalidOperationException">The device needs a reset.</exception>
    public async Task WaitAsync(VirtioQueue queue, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (NeedsReset)
        {
            throw new InvalidOperationException($"{Device.Path} needs a reset.");
        }

        _ = await _interrupts![VectorOf(queue.Index)].WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads of what the kind of device has for itself.</summary>
    public T ReadConfiguration<T>(int offset)
        where T : unmanaged => _own.Region.Read<T>(_own.Offset + (ulong)offset);

    /// <summary>Resets the device: after that it does no DMA any more. Then turns its interrupts off.</summary>
    public void Dispose()
    {
        Reset();
        _interrupts?.Dispose();
    }

    private int VectorOf(int queue) => queue % _interrupts!.Count;

    private void Negotiate(ulong wanted)
    {
        Reset();
        Status status = Status.Acknowledge | Status.Driver;
        Write(Common.Status, (byte)status);
        Write(Common.DeviceFeatureSelect, 0u);
        ulong offered = Read<uint>(Common.DeviceFeature);
        Write(Common.DeviceFeatureSelect, 1u);
        offered |= (ulong)Read<uint>(Common.DeviceFeature) << 32;
        Features = offered & (wanted | Required);
        Write(Common.DriverFeatureSelect, 0u);
        Write(Common.DriverFeature, (uint)Features);
        Write(Common.DriverFeatureSelect, 1u);
        Write(Common.DriverFeature, (uint)(Features >> 32));
        Write(Common.Status, (byte)(status | Status.FeaturesOk));
        if ((Features & Required) != Required || (Read<byte>(Common.Status) & (byte)Status.FeaturesOk) == 0)
        {
            Write(Common.Status, (byte)(status | Status.Failed));
            throw new NotSupportedException($"{Device.Path} does not agree to the features 0x{Features:x} of 0x{offered:x}.");
        }
    }

    // It is done when the status reads 0.
    private void Reset()
    {
        Write(Common.Status, (byte)0);
        SpinWait wait = default;
        while (Read<byte>(Common.Status) != 0)
        {
            wait.SpinOnce();
        }
    }

    // Section 4.1.4: the registers of a kind, by a capability of the vendor.
    private Place Find(byte kind, out int capability)
    {
        capability = _config.Read<byte>(0x34);
        for (int left = 48; capability != 0 && left > 0; left--)
        {
            if (_config.Read<byte>((ulong)capability) == VendorCapability && _config.Read<byte>((ulong)capability + 3) == kind)
            {
                VfioRegion region = Device.GetRegion((VfioPciRegion)_config.Read<byte>((ulong)capability + 4));
                return new(region, _config.Read<uint>((ulong)capability + 8));
            }

            capability = _config.Read<byte>((ulong)capability + 1);
        }

        throw new NotSupportedException($"{Device.Path} has no registers of kind {kind}.");
    }

    private void WriteAddress(Common register, ulong address)
    {
        Write(register, (uint)address);
        Write(register + 4, (uint)(address >> 32));
    }

    private T Read<T>(Common register)
        where T : unmanaged => _common.Region.Read<T>(_common.Offset + (ulong)register);

    private void Write<T>(Common register, T value)
        where T : unmanaged => _common.Region.Write(_common.Offset + (ulong)register, value);
}
