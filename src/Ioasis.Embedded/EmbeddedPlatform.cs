using System.Globalization;
using Ioasis.Core;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Embedded;

/// <summary>
/// A whole machine in this process: physical memory, a RISC-V IOMMU with its driver, the core, the kernel side of the ABI,
/// and as many devices as one adds. It composes and does nothing of its own: what a client does goes through
/// <see cref="Kernel"/>, what a device does through <see cref="EmbeddedEndpoint.Port"/>.
/// </summary>
/// <example>
/// <code>
/// using EmbeddedPlatform platform = new(new());
/// EmbeddedEndpoint disk = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
///
/// using IommuFd iommu = IommuFd.Open(platform.Kernel);
/// using VfioDevice device = VfioDevice.Open(platform.Kernel, disk.DevicePath);
/// device.Bind(iommu);
/// using IoAddressSpace space = iommu.AllocateAddressSpace();
/// device.Attach(space);
/// space.Map(bufferAddress, 4096, new Iova(0x10000), Access.ReadWrite);
///
/// disk.Write(new Iova(0x10000), "hello"u8);      // lands in the buffer
/// </code>
/// </example>
public sealed partial class EmbeddedPlatform : IDisposable
{
    private readonly SparsePhysicalMemory _ownMemory;
    private readonly RangePageAllocator _pages;
    private readonly InterruptController _interrupts = new();
    private readonly FaultRecorder _faults;
    private readonly IoasisKernel _kernel;
    private readonly InterruptingPort _port;
    private readonly EmbeddedPcieLink _link;
    private bool _disposed;

    /// <summary>Builds the machine and starts its driver.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="PlatformNotSupportedException">This process's memory shall be mapped, and it is not on Linux.</exception>
    /// <exception cref="InvalidOperationException">The driver does not take the IOMMU; the log says why.</exception>
    public EmbeddedPlatform(EmbeddedPlatformOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        Options = options;
        IUserMemory userMemory = options.UserMemory ?? new ProcessUserMemory();
        ClientMemory = userMemory;
        if (options.UserMemory is null && options.PhysicalBits != SparsePhysicalMemory.MaxPhysicalBits)
        {
            throw new ArgumentException("This process's memory needs 56 bits of physical address.", nameof(options));
        }

        _faults = new(options.FaultCapacity);
        _ownMemory = new(options.PhysicalBits, options.PagedMemoryLimit);
        PhysicalMemory = options.UserMemory is null ? new PlatformMemory(_ownMemory) : _ownMemory;
        PhysicalMemory = options.PhysicalMemory?.Invoke(PhysicalMemory) ?? PhysicalMemory;
        _pages = new(PhysicalMemory, options.TableMemory);
        _link = new(_interrupts);
        DmaPages = new RangePageAllocator(PhysicalMemory, options.DmaMemory);
        Hardware = new(
            options.Hardware with
            {
                Caching = options.Caching,
                IotlbEntries = options.IotlbEntries,
                IotlbWays = options.IotlbWays,
                DdtCacheEntries = options.DdtCacheEntries,
                PdtCacheEntries = options.PdtCacheEntries,
                CollectStatistics = options.CollectStatistics,
            },
            PhysicalMemory,
            _interrupts,
            link: options.Link?.Invoke(_link) ?? _link);
        _link.Iommu = Hardware;

        DriverMemory = options.DriverMemory?.Invoke(PhysicalMemory) ?? PhysicalMemory;
        Errno error = RiscVIommuInstance.TryProbe(
            options.DriverRegisters?.Invoke(Hardware) ?? Hardware,
            DriverMemory,
            _pages,
            options.Driver with
            {
                PreferredMode = options.Mode,
                FaultSink = _faults,
                TimeProvider = options.TimeProvider,
                Logger = options.LoggerFactory.CreateLogger<RiscVIommuInstance>(),
            },
            out RiscVIommuInstance? driver);
        if (error != Errno.Success)
        {
            _ownMemory.Dispose();
            throw new InvalidOperationException($"The driver does not take the IOMMU: {error}.");
        }

        Driver = driver!;
        _interrupts.Handler = Driver.HandleInterrupt;
        _port = new(Hardware, _interrupts);
        _kernel = new(
            userMemory,
            new()
            {
                PinnedMemoryLimit = options.PinnedMemoryLimit,
                MemoryFiles = userMemory is ProcessUserMemory process ? new ProcessMemoryFiles(process) : null,
                LazyInvalidation = options.LazyInvalidation with { TimeProvider = options.TimeProvider },
                Logger = options.LoggerFactory.CreateLogger<IoasisKernel>(),
            });
    }

    /// <summary>What the platform was made of.</summary>
    public EmbeddedPlatformOptions Options { get; }

    /// <summary>What a client talks to.</summary>
    public IKernelAbi Kernel => _kernel;

    /// <summary>The memory of the process that <see cref="Kernel"/> serves.</summary>
    public IUserMemory ClientMemory { get; }

    /// <summary>Makes another process beside the one that <see cref="Kernel"/> serves, with memory and descriptors of its own.</summary>
    public KernelProcess CreateProcess(KernelProcessOptions options) => _kernel.CreateProcess(options);

    /// <summary>Who has which PASID.</summary>
    public PasidAllocator Pasids => _kernel.Pasids;

    /// <summary>The IOMMU.</summary>
    public RiscVIommu Hardware { get; }

    /// <summary>Its driver.</summary>
    public RiscVIommuInstance Driver { get; }

    /// <summary>The core.</summary>
    public IommuSubsystem Subsystem { get; } = new();

    /// <summary>Physical memory as devices see it.</summary>
    public IPhysicalMemory PhysicalMemory { get; }

    /// <summary>Physical memory as the driver sees it: the same unless <see cref="EmbeddedPlatformOptions.DriverMemory"/> changed it.</summary>
    public IPhysicalMemory DriverMemory { get; }

    /// <summary>Where tables and queues come from.</summary>
    internal IPageAllocator TablePages => _pages;

    /// <summary>Bytes of tables and queues in use, those included that the driver itself needs.</summary>
    public long TableBytes => _pages.AllocatedBytes;

    /// <summary>Bytes of host memory behind the platform's own physical memory.</summary>
    public long CommittedBytes => _ownMemory.CommittedBytes;

    /// <summary>What the kernel holds for its client.</summary>
    public KernelAudit Audit => _kernel.Audit;

    /// <summary>Lets the driver look at everything that the IOMMU has for it, as the platform's interrupts do by themselves.</summary>
    public void HandleInterrupts() => _interrupts.RunAlways();

    /// <summary>Faults so far.</summary>
    public long FaultCount
    {
        get
        {
            _interrupts.Run();
            return _faults.Total;
        }
    }

    /// <summary>Fault records that are missing, because nobody read them or the IOMMU dropped some.</summary>
    public long LostFaults => _faults.Dropped + _faults.Losses;

    /// <summary>Adds a device. Its DMA faults until a client attaches it.</summary>
    /// <param name="id">The requester ID, free so far.</param>
    /// <param name="options">Properties.</param>
    /// <exception cref="InvalidOperationException">The core or the driver refused.</exception>
    public EmbeddedEndpoint AddEndpoint(DeviceId id, EmbeddedEndpointOptions? options = null)
    {
        Errno error = TryAddEndpoint(id, options ?? new(), out EmbeddedEndpoint? endpoint);
        return error == Errno.Success
            ? endpoint!
            : throw Refused(id, error);
    }

    /// <summary>Adds a device. Its DMA faults until a client attaches it.</summary>
    /// <returns>Success; <see cref="Errno.Exists"/> for a name that is taken; or the driver's error.</returns>
    public Errno TryAddEndpoint(DeviceId id, EmbeddedEndpointOptions options, out EmbeddedEndpoint? endpoint)
    {
        return TryAdd(id, options, null, out endpoint);
    }

    private InvalidOperationException Refused(DeviceId id, Errno error) =>
        new($"Device {id} cannot be added: {Driver.ReasonToRefuse(id) ?? error.ToString()}.");

    private Errno TryAdd(
        DeviceId id, EmbeddedEndpointOptions options, IVfioDeviceBackend? backend, out EmbeddedEndpoint? endpoint)
    {
        ArgumentNullException.ThrowIfNull(options);
        endpoint = null;
        string name = options.Name ?? id.ToString();
        IommuDeviceOptions properties = new()
        {
            PasidBits = options.PasidBits,
            Ats = options.Ats || options.PageRequests,
            PageRequests = options.PageRequests,
            PageResponsesNeedPasid = options.PageResponsesNeedPasid,
            IsUntrusted = options.IsUntrusted,
            ReservedRegions = options.ReservedRegions,
        };
        Errno error = Subsystem.TryAddDevice(Driver, id, name, options.GroupId, properties, out IommuDevice? device);
        if (error == Errno.Success)
        {
            EmbeddedAts? ats = null;
            if (properties.Ats && Driver.Capabilities.Ats)
            {
                ats = new(_link, _port, id, properties.PageRequests && Driver.Capabilities.PageRequests);
                _link.Add(id, ats);
            }

            endpoint = new(this, device!, _kernel.AddDevice(device!, backend), _port, ats) { RequesterId = options.RequesterId ?? id };
        }

        return error;
    }

    /// <summary>Takes a device away.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while a client has it bound.</returns>
    public Errno TryRemoveEndpoint(EmbeddedEndpoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        Errno error = _kernel.RemoveDevice(endpoint.DevicePath);
        if (error == Errno.Success)
        {
            Subsystem.RemoveDevice(endpoint.Device);
            _link.Remove(endpoint.Id);
        }

        return error;
    }

    /// <summary>Takes the oldest fault record; everything that was done before is in it.</summary>
    public bool TryDequeueFault(out IommuFault fault)
    {
        _interrupts.Run();
        return _faults.TryDequeue(out fault);
    }

    /// <summary>The address space of the client's process, to which it may bind PASIDs; null if it has none.</summary>
    public ProcessAddressSpace? ClientProcess
    {
        get => _kernel.Process;
        set => _kernel.Process = value;
    }

    /// <summary>Finds the PASID table of a virtual machine by its descriptor, for whoever runs the guest's ENQCMD (S1.13).</summary>
    public bool TryGetVmPasidTable(int descriptor, out VmPasidTable? table) => _kernel.TryGetVmPasidTable(descriptor, out table);

    /// <summary>Completes the deferred invalidations that are due (docs/abi.md, "Lazy invalidation").</summary>
    public void Poll()
    {
        _kernel.Poll();
        PollDmaDomains();
        _interrupts.Run();
    }

    /// <summary>Closes every descriptor, stops the driver and frees the memory. No device may do DMA any more.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _kernel.CloseAll();
        DisposeDmaDomains();
        Driver.Dispose();
        _ownMemory.Dispose();
    }
}
