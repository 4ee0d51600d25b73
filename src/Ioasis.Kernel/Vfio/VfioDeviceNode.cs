using System.Runtime.CompilerServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>A device as the kernel offers it: a character device of its own, and a place in its group's.</summary>
internal sealed class VfioDeviceNode(IommuDevice device, string path, VfioGroupNode group)
{
    /// <summary>Guards the bind, the attach and the close of the device.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>The path of the character device.</summary>
    public string Path => path;

    /// <summary>The group's node.</summary>
    public VfioGroupNode Group => group;

    /// <summary>Whether an open file has bound the device. Under the lock.</summary>
    public bool IsBound { get; set; }

    /// <summary>VFIO_DEVICE_GET_INFO: a bare DMA endpoint, without registers and interrupts.</summary>
    public static Errno GetInfo(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceInfo.MinimumSize, out VfioDeviceInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioDeviceInfo.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        int size = (int)Math.Min(info.Argsz, (uint)Unsafe.SizeOf<VfioDeviceInfo>());
        info = new() { Argsz = info.Argsz, Flags = VfioDeviceFlags.Platform };
        return ArgszArgument.Give(argument, info, size);
    }
}

/// <summary>A group as the kernel offers it: one character device, which one file at a time may have open.</summary>
internal sealed class VfioGroupNode(IommuGroup group)
{
    private int _open;

    /// <summary>The group.</summary>
    public IommuGroup Group => group;

    /// <summary>Whether a file has the group open.</summary>
    public bool IsOpen => Volatile.Read(ref _open) != 0;

    /// <summary>Opens the group, unless it is open.</summary>
    public bool TryOpen() => Interlocked.CompareExchange(ref _open, 1, 0) == 0;

    /// <summary>Closes it.</summary>
    public void Close() => Volatile.Write(ref _open, 0);
}
