using Ioasis.Core;
using Ioasis.Platform;

namespace Ioasis.Kernel;

/// <summary>A device as the kernel offers it: one character device, which one open file at a time may bind.</summary>
internal sealed class VfioDeviceNode(IommuDevice device, string path)
{
    /// <summary>Guards the bind, the attach and the close of the device.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>The path of the character device.</summary>
    public string Path => path;

    /// <summary>Whether an open file has bound the device. Under the lock.</summary>
    public bool IsBound { get; set; }
}
