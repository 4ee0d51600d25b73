using System.Numerics;

namespace Ioasis.Devices.Virtio;

/// <summary>A queue as its registers describe it (virtio 1.3, section 4.1.4.3), and its ring once it is enabled.</summary>
internal sealed class VirtioQueue(int index, ushort maxSize)
{
    private readonly ushort _maxSize = maxSize;
    private int _notified;

    public int Index => index;

    public ushort Size { get; set; } = maxSize;

    public ushort Vector { get; set; } = VirtioRegisters.NoVector;

    public ulong Descriptors { get; set; }

    public ulong Driver { get; set; }

    public ulong Device { get; set; }

    /// <summary>Its ring; null while it is not enabled.</summary>
    public VirtioRing? Ring { get; set; }

    /// <summary>Whether the driver has asked for a reset of this queue that has not been done.</summary>
    public bool IsResetting { get; set; }

    /// <summary>Whether there may be something in it at which nobody has looked.</summary>
    public bool IsNotified => Volatile.Read(ref _notified) != 0;

    /// <summary>There may be something in it.</summary>
    public void Notify() => Volatile.Write(ref _notified, 1);

    /// <summary>Whether there may be something, which is looked at now.</summary>
    public bool TakeNotification() => IsNotified && Interlocked.Exchange(ref _notified, 0) != 0;

    /// <summary>As after a reset.</summary>
    public void Reset()
    {
        Size = _maxSize;
        Vector = VirtioRegisters.NoVector;
        Descriptors = 0;
        Driver = 0;
        Device = 0;
        Ring = null;
        IsResetting = false;
        Volatile.Write(ref _notified, 0);
    }

    /// <summary>Enables it as it is described.</summary>
    /// <returns>Null, or what is wrong (sections 2.7 and 2.8: sizes and alignments).</returns>
    public string? Enable(VirtioDevice device, VirtioFeatures features)
    {
        bool isPacked = features.HasFlag(VirtioFeatures.PackedRing);
        ulong driverMask = isPacked ? 3ul : 1;
        if (Size == 0 || Size > _maxSize || (!isPacked && !BitOperations.IsPow2(Size)))
        {
            return $"queue {index} of {Size} entries: at most {_maxSize}{(isPacked ? "" : " and a power of two")}";
        }

        if ((Descriptors & 15) != 0 || (Driver & driverMask) != 0 || (Device & 3) != 0)
        {
            return $"queue {index} at 0x{Descriptors:x}, 0x{Driver:x}, 0x{Device:x}: not aligned";
        }

        Ring = isPacked ? new PackedRing(device, this, features) : new SplitRing(device, this, features);
        return null;
    }
}
