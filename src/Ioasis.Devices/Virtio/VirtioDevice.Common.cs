using System.Buffers.Binary;

namespace Ioasis.Devices.Virtio;

/// <content>The common configuration (section 4.1.4.3). Everything is under the lock of the registers.</content>
public abstract partial class VirtioDevice
{
    private const VirtioFeatures Required = VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform;

    private VirtioQueue? Selected => _queueSelect < _queues.Length ? _queues[_queueSelect] : null;

    private void ReadCommon(uint offset, Span<byte> destination)
    {
        Span<byte> all = stackalloc byte[VirtioRegisters.CommonSize];
        all.Clear();
        using (_registers.Acquire())
        {
            FillCommon(all);
        }

        if (offset < all.Length)
        {
            ReadOnlySpan<byte> there = all[(int)offset..];
            there[..Math.Min(destination.Length, there.Length)].CopyTo(destination);
        }
    }

    private void FillCommon(Span<byte> all)
    {
        Put32(all, VirtioRegisters.DeviceFeatureSelect, _deviceFeatureSelect);
        Put32(all, VirtioRegisters.DeviceFeature, HalfOf(_offered, _deviceFeatureSelect));
        Put32(all, VirtioRegisters.DriverFeatureSelect, _driverFeatureSelect);
        Put32(all, VirtioRegisters.DriverFeature, HalfOf(_accepted, _driverFeatureSelect));
        Put16(all, VirtioRegisters.ConfigurationVector, _configurationVector);
        Put16(all, VirtioRegisters.QueueCount, (ushort)_queues.Length);
        all[(int)VirtioRegisters.Status] = (byte)_status;
        all[(int)VirtioRegisters.Generation] = _generation;
        Put16(all, VirtioRegisters.QueueSelect, _queueSelect);
        if (Selected is not { } queue)
        {
            return;
        }

        Put16(all, VirtioRegisters.QueueSize, queue.Size);
        Put16(all, VirtioRegisters.QueueVector, queue.Vector);
        Put16(all, VirtioRegisters.QueueEnable, (ushort)(queue.Ring is null ? 0 : 1));
        Put16(all, VirtioRegisters.QueueNotifyOffset, (ushort)queue.Index);
        BinaryPrimitives.WriteUInt64LittleEndian(all[(int)VirtioRegisters.QueueDescriptors..], queue.Descriptors);
        BinaryPrimitives.WriteUInt64LittleEndian(all[(int)VirtioRegisters.QueueDriver..], queue.Driver);
        BinaryPrimitives.WriteUInt64LittleEndian(all[(int)VirtioRegisters.QueueDevice..], queue.Device);
        Put16(all, VirtioRegisters.QueueReset, (ushort)(queue.IsResetting ? 1 : 0));
    }

    // Each field is written by its own width, those of 64 bits by halves (section 4.1.3.1); anything else changes nothing.
    private void WriteCommon(uint offset, int size, ulong value)
    {
        if (size == 8)
        {
            WriteCommon(offset, 4, (uint)value);
            WriteCommon(offset + 4, 4, value >> 32);
            return;
        }

        switch (offset, size)
        {
            case (VirtioRegisters.DeviceFeatureSelect, 4):
                _deviceFeatureSelect = (uint)value;
                break;
            case (VirtioRegisters.DriverFeatureSelect, 4):
                _driverFeatureSelect = (uint)value;
                break;
            case (VirtioRegisters.DriverFeature, 4) when (_status & VirtioStatus.FeaturesOk) == 0 && _driverFeatureSelect < 2:
                int shift = 32 * (int)_driverFeatureSelect;
                _accepted = (VirtioFeatures)(((ulong)_accepted & ~(0xffff_fffful << shift)) | ((ulong)(uint)value << shift));
                break;
            case (VirtioRegisters.ConfigurationVector, 2):
                _configurationVector = VectorOf((ushort)value);
                break;
            case (VirtioRegisters.Status, 1):
                WriteStatus((VirtioStatus)(byte)value);
                break;
            case (VirtioRegisters.QueueSelect, 2):
                _queueSelect = (ushort)value;
                break;
            default:
                if (Selected is { } queue)
                {
                    WriteQueue(queue, offset, size, (uint)value);
                }

                break;
        }
    }

    private void WriteQueue(VirtioQueue queue, uint offset, int size, uint value)
    {
        if (offset == VirtioRegisters.QueueVector && size == 2)
        {
            queue.Vector = VectorOf((ushort)value);
            return;
        }

        if (offset == VirtioRegisters.QueueReset && size == 2)
        {
            if (value == 1 && queue.Ring is not null && _accepted.HasFlag(VirtioFeatures.RingReset) && (_status & VirtioStatus.FeaturesOk) != 0)
            {
                queue.IsResetting = true;
                Volatile.Write(ref _hasWork, 1);
            }

            return;
        }

        // What an enabled queue is made of stays as it is.
        if (queue.Ring is not null || queue.IsResetting)
        {
            return;
        }

        switch (offset, size)
        {
            case (VirtioRegisters.QueueSize, 2):
                queue.Size = (ushort)value;
                break;
            case (VirtioRegisters.QueueEnable, 2) when value == 1:
                Enable(queue);
                break;
            case (VirtioRegisters.QueueDescriptors, 4):
                queue.Descriptors = (queue.Descriptors & ~0xffff_fffful) | value;
                break;
            case (VirtioRegisters.QueueDescriptors + 4, 4):
                queue.Descriptors = (uint)queue.Descriptors | ((ulong)value << 32);
                break;
            case (VirtioRegisters.QueueDriver, 4):
                queue.Driver = (queue.Driver & ~0xffff_fffful) | value;
                break;
            case (VirtioRegisters.QueueDriver + 4, 4):
                queue.Driver = (uint)queue.Driver | ((ulong)value << 32);
                break;
            case (VirtioRegisters.QueueDevice, 4):
                queue.Device = (queue.Device & ~0xffff_fffful) | value;
                break;
            case (VirtioRegisters.QueueDevice + 4, 4):
                queue.Device = (uint)queue.Device | ((ulong)value << 32);
                break;
            default:
                break;
        }
    }

    private void Enable(VirtioQueue queue)
    {
        string? mistake = (_status & VirtioStatus.FeaturesOk) == 0
            ? $"queue {queue.Index} is enabled before the features are agreed"
            : queue.Enable(this, _accepted);
        if (mistake is not null)
        {
            SetNeedsReset(mistake);
        }
    }

    // Bits can be set one after the other; only 0 clears them, and is done when it reads 0.
    private void WriteStatus(VirtioStatus value)
    {
        if (Volatile.Read(ref _isHung))
        {
            return;
        }

        if (value == VirtioStatus.None)
        {
            Volatile.Write(ref _resetPosted, true);
            Volatile.Write(ref _hasWork, 1);
            return;
        }

        VirtioStatus added = value & ~_status & ~VirtioStatus.NeedsReset;
        if ((added & VirtioStatus.FeaturesOk) != 0 && !IsAcceptable(_accepted))
        {
            added &= ~VirtioStatus.FeaturesOk;
        }

        _status |= added;
        if ((added & VirtioStatus.DriverOk) == 0)
        {
            return;
        }

        if ((_status & VirtioStatus.FeaturesOk) == 0)
        {
            SetNeedsReset("the driver is ready before the features are agreed");
            return;
        }

        // What was made available before is served, notified or not.
        foreach (VirtioQueue queue in _queues)
        {
            queue.Notify();
        }

        Volatile.Write(ref _hasWork, 1);
    }

    private bool IsAcceptable(VirtioFeatures features) =>
        (features & ~_offered) == 0 && (features & Required) == Required && AreConsistent((ulong)features);

    private ushort VectorOf(ushort vector) => vector < Description.MsiX!.Vectors ? vector : VirtioRegisters.NoVector;

    private static uint HalfOf(VirtioFeatures features, uint select) => select < 2 ? (uint)((ulong)features >> (32 * (int)select)) : 0;

    private static void Put16(Span<byte> all, uint offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(all[(int)offset..], value);

    private static void Put32(Span<byte> all, uint offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(all[(int)offset..], value);
}
