using System.Collections.Concurrent;
using System.Globalization;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// The kernel side of the ABI: what Linux's iommufd and VFIO are to a program, on top of the core. This is what all user processes
/// share: devices, groups, address spaces, accounts; calls are made on a <see cref="KernelProcess"/>, whose memory is reached only through
/// <see cref="IUserMemory"/>. It knows no concrete IOMMU and no bus.
/// </summary>
/// <remarks>
/// Thread-safe. Paths: <c>/dev/iommu</c>, <c>/dev/ioasid</c>, <c>/dev/vfio/devices/vfioN</c>, <c>/dev/vfio/vfio</c>,
/// <c>/dev/vfio/GROUP</c>. Nothing that comes in through the ABI makes a
/// call throw (invariant 7); everything that a descriptor did is undone when it is closed (S1.15).
/// </remarks>
internal sealed class IoasisKernel
{
    private const string IommuPath = "/dev/iommu";
    private const string IoasidPath = "/dev/ioasid";
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
    }

    /// <summary>What is there now: all zero when every descriptor is closed and nothing leaked.</summary>
    public KernelAudit Audit => new(
        _processes.Keys.Sum(static process => process.Descriptors.Count),
        _spaces.Count,
        _spaces.Keys.Concat(_owing.Keys).Sum(static space => (long)space.AreaCount),
        _memories.Live,
        _memories.Total.Pages * (long)AddressSpace.PageSize);

    /// <summary>The process that is there from the beginning, with the memory and the limits that the kernel was made with.</summary>
    public KernelProcess FirstProcess => _first;

    /// <summary>Who has which PASID; its audit is empty when every descriptor is closed and nothing leaked.</summary>
    public PasidAllocator Pasids { get; }

    /// <summary>The address space of the user's process, for devices that use its own addresses; null if it has none.</summary>
    public ProcessAddressSpace? Process { get; set; }

    internal IoasisKernelOptions Options => _options;

    internal PasidQuota? PasidAccount => _options.PasidAccount;

    /// <summary>Makes another process. It is there until <see cref="KernelProcess.Exit"/>.</summary>
    public KernelProcess CreateProcess(KernelProcessOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return AddProcess(
            options.Memory ?? _first.Owner.Memory, options.UserId, options.PinnedMemoryLimit, options.DescriptorLimit);
    }

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

    /// <summary>Finds a device by its address on its bus.</summary>
    internal int FindDevice(string address, out string? path)
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

    /// <summary>Opens what a path names.</summary>
    /// <returns>Success, and the caller has the reference; <see cref="Errno.NoEntry"/>; <see cref="Errno.Busy"/> for a group.</returns>
    internal Errno OpenFile(string path, out OpenFile? file)
    {
        file = null;
        if (string.Equals(path, IommuPath, StringComparison.Ordinal))
        {
            file = new IommufdFile(this);
        }
        else if (string.Equals(path, IoasidPath, StringComparison.Ordinal))
        {
            file = new IoasidFile();
        }
        else if (_devices.TryGetValue(path, out VfioDeviceNode? node))
        {
            file = new VfioDeviceFile(node);
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
                return Errno.Busy;
            }

            if (_devices.Values.Any(other => other.Group == group && other.IsBound))
            {
                group.Close();
                return Errno.Busy;
            }

            file = new VfioGroupFile(group);
        }
        else
        {
            return Errno.NoEntry;
        }

        return Errno.Success;
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
