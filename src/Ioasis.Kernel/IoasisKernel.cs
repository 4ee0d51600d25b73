using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Kernel;

/// <summary>
/// The kernel side of the ABI: what Linux's iommufd and VFIO are to a program, on top of the core. It serves
/// user processes, whose memory it reaches only through <see cref="IUserMemory"/>; calls on the kernel itself are those of
/// the first. It knows no concrete IOMMU and no bus.
/// </summary>
/// <remarks>
/// Thread-safe. Paths: <c>/dev/iommu</c>, <c>/dev/ioasid</c>, <c>/dev/vfio/devices/vfioN</c>, <c>/dev/vfio/vfio</c>,
/// <c>/dev/vfio/GROUP</c>. Nothing that comes in through the ABI makes a
/// call throw (invariant 7); everything that a descriptor did is undone when it is closed (S1.15).
/// </remarks>
internal sealed partial class IoasisKernel : IKernelAbi
{
    private const string IommuPath = "/dev/iommu";
    private const string ContainerPath = "/dev/vfio/vfio";
    private const string GroupPrefix = "/dev/vfio/";
    private const string DevicePrefix = "/dev/vfio/devices/vfio";

    private readonly ConcurrentDictionary<string, VfioDeviceNode> _devices = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, VfioGroupNode> _groups = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<AddressSpace, byte> _spaces = new();
    private readonly ConcurrentDictionary<AddressSpace, byte> _owing = new();
    private readonly ConcurrentDictionary<KernelProcess, byte> _processes = new();
    private readonly ConcurrentDictionary<uint, PinAccount> _users = new();
    private readonly ClientMemoryPool _memories = new();
    private readonly KernelProcess _first;
    private readonly IoasisKernelOptions _options;
    private int _nextDevice;

    /// <summary>Makes a kernel without devices.</summary>
    /// <param name="userMemory">The user's memory.</param>
    /// <param name="options">Limits.</param>
    public IoasisKernel(IUserMemory userMemory, IoasisKernelOptions options)
    {
        ArgumentNullException.ThrowIfNull(userMemory);
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _first = AddProcess(userMemory, 0, options.PinnedMemoryLimit, options.DescriptorLimit);
        Pasids = options.Pasids ?? new();
        Events = new(this);
    }

    /// <summary>What is there now: all zero when every descriptor is closed and nothing leaked.</summary>
    public KernelAudit Audit => new(
        _processes.Keys.Sum(static process => process.Descriptors.Count),
        _spaces.Count,
        _spaces.Keys.Concat(_owing.Keys).Sum(static space => (long)space.AreaCount),
        _memories.Live,
        _memories.Total.Pages * (long)AddressSpace.PageSize);

    /// <summary>The process that calls on the kernel itself are made for.</summary>
    public KernelProcess FirstProcess => _first;

    internal IoasisKernelOptions Options => _options;

    internal KernelProcess Current => KernelProcess.CurrentOf(this) ?? _first;

    internal IUserMemory UserMemory => Current.Owner.Memory;

    internal DescriptorTable Descriptors => Current.Descriptors;

    /// <summary>Makes another process. It is there until <see cref="KernelProcess.Exit"/>.</summary>
    public KernelProcess CreateProcess(KernelProcessOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return AddProcess(
            options.Memory ?? _first.Owner.Memory, options.UserId, options.PinnedMemoryLimit, options.DescriptorLimit);
    }

    internal KernelEventSource Events { get; }

    /// <summary>Offers a device of the core to the user.</summary>
    /// <param name="device">The device.</param>
    /// <param name="backend">Its registers, interrupts and reset; null for a device that only does DMA.</param>
    /// <returns>Path of its character device.</returns>
    public string AddDevice(IommuDevice device, IVfioDeviceBackend? backend = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        int number = Interlocked.Increment(ref _nextDevice) - 1;
        string path = DevicePrefix + number.ToString(CultureInfo.InvariantCulture);
        VfioGroupNode group = _groups.GetOrAdd(
            GroupPrefix + device.Group.Id.ToString(CultureInfo.InvariantCulture),
            static (_, added) => new(added),
            device.Group);
        VfioDeviceNode node = new(device, path, group, backend ?? BareDeviceBackend.Instance);
        node.Watch();
        _devices[path] = node;
        return path;
    }

    /// <inheritdoc/>
    public int FindDevice(string address, out string? path)
    {
        path = _devices.Values.FirstOrDefault(node => string.Equals(node.Device.Name, address, StringComparison.Ordinal))?.Path;
        return path is null ? -(int)Errno.NoEntry : 0;
    }

    /// <summary>Takes a device away from the user.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/>; <see cref="Errno.Busy"/> while a client has it open: the client was asked to close
    /// it, if it listens, and the caller tries again.
    /// </returns>
    public Errno RemoveDevice(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!_devices.TryGetValue(path, out VfioDeviceNode? node))
        {
            return Errno.NoEntry;
        }

        using (node.Lock.Acquire())
        {
            if (node.IsGone)
            {
                return Errno.NoEntry;
            }

            if (!node.IsBound && !node.IsInUse)
            {
                node.SetGone();
                _ = _devices.TryRemove(path, out _);
                if (!_devices.Values.Any(other => other.Group == node.Group))
                {
                    _ = _groups.TryRemove(GroupPrefix + node.Device.Group.Id.ToString(CultureInfo.InvariantCulture), out _);
                }

                return Errno.Success;
            }
        }

        node.Backend.RequestRelease();
        return Errno.Busy;
    }

    /// <summary>
    /// Completes the deferred invalidations that are due. Every call on an address space does that for its own; a platform
    /// that must keep the time limit without calls does it from a timer.
    /// </summary>
    public void Poll()
    {
        foreach (AddressSpace space in _spaces.Keys)
        {
            space.Poll();
        }

        foreach (AddressSpace space in _owing.Keys)
        {
            if (space.Flush() == Errno.Success)
            {
                _ = _owing.TryRemove(space, out _);
            }
        }

        Pasids.Poll();
    }

    /// <summary>
    /// All descriptors of the first process are closed, as when it dies (S1.15); another program may then take its place.
    /// </summary>
    public void CloseAll() => _first.CloseAll(forGood: false);

    /// <inheritdoc/>
    public int Open(string path, OpenFlags flags)
    {
        if (path is null)
        {
            return -(int)Errno.BadAddress;
        }

        OpenFile file;
        if (string.Equals(path, IommuPath, StringComparison.Ordinal))
        {
            file = new IommufdFile(this);
        }
        else if (string.Equals(path, IoasidPath, StringComparison.Ordinal))
        {
            file = new IoasidFile(this);
        }
        else if (_devices.TryGetValue(path, out VfioDeviceNode? node))
        {
            file = new VfioDeviceFile(this, node);
        }
        else if (string.Equals(path, ContainerPath, StringComparison.Ordinal))
        {
            file = new VfioContainerFile(this);
        }
        else if (_groups.TryGetValue(path, out VfioGroupNode? group))
        {
            // One file at a time, and not while a device of the group is bound by its own character device.
            if (!group.TryOpen())
            {
                return -(int)Errno.Busy;
            }

            if (_devices.Values.Any(other => other.Group == group && other.IsBound))
            {
                group.Close();
                return -(int)Errno.Busy;
            }

            file = new VfioGroupFile(this, group);
        }
        else
        {
            return -(int)Errno.NoEntry;
        }

        Errno error = Descriptors.Add(file, out int descriptor);
        if (error != Errno.Success)
        {
            file.Dereference();
            return -(int)error;
        }

        return descriptor;
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, Span<byte> argument)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        using Activity? activity = CallActivity.Start(file!, request);
        try
        {
            Errno error = file!.Ioctl(request, argument, out int result);
            activity?.End(error);
            return error == Errno.Success ? result : -(int)error;
        }
        catch (Exception e) when (Contain(e, request))
        {
            return -(int)Errno.IoError;
        }
        finally
        {
            file!.Dereference();
        }
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        using Activity? activity = CallActivity.Start(file!, request);
        try
        {
            Errno error = file!.Ioctl(request, argument, out int result);
            activity?.End(error);
            return error == Errno.Success ? result : -(int)error;
        }
        catch (Exception e) when (Contain(e, request))
        {
            return -(int)Errno.IoError;
        }
        finally
        {
            file!.Dereference();
        }
    }

    /// <inheritdoc/>
    public int Dup(int fd)
    {
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        // The reference of the look-up becomes the new descriptor's.
        Errno error = Descriptors.Add(file!, out int descriptor);
        if (error != Errno.Success)
        {
            file!.Dereference();
            return -(int)error;
        }

        return descriptor;
    }

    /// <inheritdoc/>
    public int Close(int fd)
    {
        OpenFile? file = Descriptors.Remove(fd);
        file?.Dereference();
        return file is null ? -(int)Errno.BadDescriptor : 0;
    }

    /// <summary>For audits: every address space, also those that are closed and wait for an IOMMU.</summary>
    internal IEnumerable<AddressSpace> Spaces => _spaces.Keys.Concat(_owing.Keys);

    internal void Forget(KernelProcess process) => _processes.TryRemove(process, out _);

    internal VfioDeviceNode? FindNode(IVfioDeviceBackend device) =>
        _devices.Values.FirstOrDefault(node => ReferenceEquals(node.Backend, device));

    internal VfioDeviceNode? FindNode(IommuDevice device) => _devices.Values.FirstOrDefault(node => node.Device == device);

    internal bool HasGroup(IommufdFile owner, IommuGroup group) =>
        _devices.Values.Any(node => node.Device.Group == group && node.TryGetBound(owner, out _));

    internal AddressSpace NewAddressSpace(bool pinsByProcess = true)
    {
        AddressSpace space = new(_memories, _options.LazyInvalidation, pinsByProcess);
        _spaces[space] = 0;
        return space;
    }

    internal void OnAddressSpaceClosed(AddressSpace space)
    {
        _ = _spaces.TryRemove(space, out _);
        if (space.Owes)
        {
            // An IOMMU did not confirm its last unmaps: its memory stays pinned until one does.
            _owing[space] = 0;
        }
    }

    private KernelProcess AddProcess(IUserMemory memory, uint user, long? limit, int descriptorLimit)
    {
        MemoryOwner owner = new(
            memory,
            new(_memories.Total),
            _users.GetOrAdd(user, static (_, total) => new(total), _memories.Total),
            limit is { } bytes ? bytes >> 12 : long.MaxValue);
        KernelProcess process = new(this, owner, user, descriptorLimit);
        _processes[process] = 0;
        return process;
    }

    // Whatever goes wrong inside stays inside (invariant 7), and is told.
    private bool Contain(Exception exception, uint request)
    {
        _options.Logger.LogError(exception, "ioctl 0x{Request:x} failed inside the kernel", request);
        return true;
    }
}

/// <summary>What a kernel holds for its user.</summary>
/// <param name="Descriptors">Open descriptors.</param>
/// <param name="AddressSpaces">Address spaces.</param>
/// <param name="Areas">Mappings, those included whose invalidation is pending.</param>
/// <param name="Memories">Pieces of the user's memory that mappings refer to.</param>
/// <param name="PinnedBytes">Bytes pinned.</param>
internal readonly record struct KernelAudit(int Descriptors, int AddressSpaces, long Areas, long Memories, long PinnedBytes)
{
    /// <summary>Whether nothing is held.</summary>
    public bool IsEmpty => this == default;
}
