using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>A device as the kernel offers it: a character device of its own, and a place in its group's.</summary>
internal sealed class VfioDeviceNode(IommuDevice device, string path, VfioGroupNode group, IVfioDeviceBackend backend)
{
    private readonly Lock _bufferLock = new();
    private readonly List<DmaBufferFile> _buffers = [];
    private IommufdFile? _owner;
    private uint _ownerId;
    private IommufdFile? _groupOwner;
    private DeviceObject? _groupBound;
    private int _opens;

    /// <summary>Guards the bind, the attach and the close of the device.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>The device.</summary>
    public IommuDevice Device => device;

    /// <summary>The path of the character device.</summary>
    public string Path => path;

    /// <summary>The group's node.</summary>
    public VfioGroupNode Group => group;

    /// <summary>What the device is and does.</summary>
    public IVfioDeviceBackend Backend => backend;

    /// <summary>Whether an open file has bound the device, or it is gone. Under the lock.</summary>
    public bool IsBound { get; private set; }

    /// <summary>Whether a client has the device open, either way. Under the lock.</summary>
    public bool IsInUse => _opens > 0;

    /// <summary>Whether the platform took the device away. Under the lock.</summary>
    public bool IsGone { get; private set; }

    /// <summary>Notes the bind to an owner. Under the lock.</summary>
    public void SetBound(IommufdFile owner, uint id)
    {
        IsBound = true;
        _owner = owner;
        _ownerId = id;
    }

    /// <summary>Notes the end of the bind. Under the lock.</summary>
    public void ClearBound()
    {
        IsBound = false;
        _owner = null;
    }

    /// <summary>Whoever has it open, but not bound, cannot bind it any more. Under the lock.</summary>
    public void SetGone()
    {
        IsGone = true;
        IsBound = true;
    }

    /// <summary>Whether the device is bound to an owner, and its number there.</summary>
    public bool TryGetBound(IommufdFile owner, out uint id)
    {
        using (Lock.Acquire())
        {
            id = _ownerId;
            return ReferenceEquals(_owner, owner);
        }
    }

    /// <summary>A client opens the device; the first starts it. Under the lock.</summary>
    public Errno Open()
    {
        if (IsGone)
        {
            return Errno.NoDevice;
        }

        Errno error = _opens == 0 ? backend.Open() : Errno.Success;
        _opens += error == Errno.Success ? 1 : 0;
        return error;
    }

    /// <summary>
    /// A client opens the device through a group that is in a <c>/dev/iommu</c>; the first binds and attaches it there. Under the
    /// lock.
    /// </summary>
    public Errno OpenCompatible(IommufdFile iommu)
    {
        if (IsGone)
        {
            return Errno.NoDevice;
        }

        if (_opens > 0)
        {
            return Open();
        }

        Errno error = iommu.OpenCompatible(device, out DeviceObject? bound);
        if (error != Errno.Success)
        {
            return error;
        }

        // The group's file holds it while this runs; from here on the device does too.
        _ = iommu.TryReference();
        _groupOwner = iommu;
        _groupBound = bound;
        error = Open();
        if (error != Errno.Success)
        {
            EndCompatible();
        }

        return error;
    }

    /// <summary>A client closes the device; the last stops it. Under the lock.</summary>
    public void Close()
    {
        if (--_opens == 0)
        {
            Tell(static buffer => buffer.Revoke(forGood: true));
            backend.Close();
            EndCompatible();
        }
    }

    /// <summary>Has the backend tell when its memory goes and comes. Once.</summary>
    public void Watch() => backend.WatchMemory(isThere =>
    {
        if (isThere)
        {
            Tell(static buffer => buffer.Restore());
        }
        else
        {
            Tell(static buffer => buffer.Revoke(forGood: false));
        }
    });

    /// <summary>A part of the device's memory was made available; it is revoked already if the memory is disabled.</summary>
    public void Remember(DmaBufferFile buffer)
    {
        lock (_bufferLock)
        {
            _buffers.Add(buffer);
        }

        if (!backend.IsMemoryEnabled)
        {
            buffer.Revoke(forGood: false);
        }
    }

    /// <summary>Nobody has it any more.</summary>
    public void Forget(DmaBufferFile buffer)
    {
        lock (_bufferLock)
        {
            _ = _buffers.Remove(buffer);
        }
    }

    private void Tell(Action<DmaBufferFile> tell)
    {
        DmaBufferFile[] buffers;
        lock (_bufferLock)
        {
            buffers = [.. _buffers];
        }

        Array.ForEach(buffers, tell);
    }

    private void EndCompatible()
    {
        if (_groupBound is { } bound)
        {
            IommufdFile iommu = _groupOwner!;
            _groupBound = null;
            _groupOwner = null;
            iommu.Unbind(bound);
            iommu.Dereference();
        }
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
