using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Embedded;

/// <summary>
/// A whole machine in this process: physical memory, IOMMUs with their drivers, the core, the kernel side of the ABI, and as
/// many devices as one adds. It composes and does nothing of its own: what a client does goes through
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
    private readonly List<EmbeddedIommu> _iommus = [];
    private readonly FaultRecorder _faults;
    private readonly IoasisKernel _kernel;
    private bool _disposed;

    /// <summary>Builds the machine and starts its drivers.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="PlatformNotSupportedException">This process's memory shall be mapped, and it is not on Linux.</exception>
    /// <exception cref="IommuException">A driver does not take its IOMMU; the log says why.</exception>
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

        if (options.Iommus.Count == 0)
        {
            throw new ArgumentException("A platform needs an IOMMU.", nameof(options));
        }

        _faults = new(options.FaultCapacity);
        _ownMemory = new(options.PhysicalBits, options.PagedMemoryLimit);
        PhysicalMemory = options.UserMemory is null ? new PlatformMemory(_ownMemory) : _ownMemory;
        PhysicalMemory = options.PhysicalMemory?.Invoke(PhysicalMemory) ?? PhysicalMemory;
        _pages = new(PhysicalMemory, options.TableMemory);
        DmaPages = new RangePageAllocator(PhysicalMemory, options.DmaMemory);
        DriverMemory = options.DriverMemory?.Invoke(PhysicalMemory) ?? PhysicalMemory;
        IommufdExtension = options.IommufdExtension;
        try
        {
            for (int i = 0; i < options.Iommus.Count; i++)
            {
                _iommus.Add(options.Iommus[i].Build(new(i, options, PhysicalMemory, DriverMemory, _pages, _faults)));
            }
        }
        catch
        {
            _iommus.ForEach(static iommu => iommu.Dispose());
            _ownMemory.Dispose();
            throw;
        }

        _kernel = new(
            userMemory,
            new()
            {
                PinnedMemoryLimit = options.PinnedMemoryLimit,
                MemoryFiles = userMemory is ProcessUserMemory process ? new ProcessMemoryFiles(process) : null,
                IommufdExtension = options.IommufdExtension,
                LazyInvalidation = options.LazyInvalidation with { TimeProvider = options.TimeProvider },
                Logger = options.LoggerFactory.CreateLogger<IoasisKernel>(),
            });
        PlatformInstruments.Add(this);
    }

    /// <summary>What the platform was made of.</summary>
    public EmbeddedPlatformOptions Options { get; }

    /// <summary>What a client talks to.</summary>
    public IKernelAbi Kernel => _kernel.FirstProcess;

    /// <summary>Who takes the calls on <c>/dev/iommu</c> that iommufd does not know; null for nobody.</summary>
    internal IommufdExtension? IommufdExtension { get; }

    /// <summary>The memory of the process that <see cref="Kernel"/> serves.</summary>
    public IUserMemory ClientMemory { get; }

    /// <summary>Makes another process beside the one that <see cref="Kernel"/> serves, with memory and descriptors of its own.</summary>
    internal KernelProcess CreateProcess(KernelProcessOptions options) => _kernel.CreateProcess(options);

    /// <summary>Who has which PASID.</summary>
    internal PasidAllocator Pasids => _kernel.Pasids;

    /// <summary>The IOMMUs, in the order of <see cref="EmbeddedPlatformOptions.Iommus"/>.</summary>
    public IReadOnlyList<EmbeddedIommu> Iommus => _iommus;

    /// <summary>The first IOMMU.</summary>
    public EmbeddedIommu Iommu => _iommus[0];

    /// <summary>The driver of the first IOMMU, as the core knows it.</summary>
    internal IommuInstance Driver => _iommus[0].Driver;

    /// <summary>The core.</summary>
    internal IommuSubsystem Subsystem { get; } = new();

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
    internal KernelAudit Audit => _kernel.Audit;

    /// <summary>Lets the drivers look at everything that the IOMMUs have for them, as the platform's interrupts do by themselves.</summary>
    public void HandleInterrupts() => _iommus.ForEach(static iommu => iommu.HandleInterrupts());

    /// <summary>Faults so far.</summary>
    public long FaultCount
    {
        get
        {
            RunInterrupts();
            return _faults.Total;
        }
    }

    /// <summary>Fault records that are missing, because nobody read them or the IOMMU dropped some.</summary>
    public long LostFaults => _faults.Dropped + _faults.Losses;

    /// <summary>Adds a device. Its DMA faults until a client attaches it.</summary>
    /// <param name="id">The requester ID, free so far.</param>
    /// <param name="options">Properties.</param>
    /// <exception cref="IommuException">The core or the driver refused.</exception>
    /// <exception cref="ArgumentOutOfRangeException">There is no such IOMMU.</exception>
    public EmbeddedEndpoint AddEndpoint(DeviceId id, EmbeddedEndpointOptions? options = null)
    {
        options ??= new();
        Errno error = AddEndpointErrno(id, options, out EmbeddedEndpoint? endpoint);
        return error == Errno.Success
            ? endpoint!
            : throw Refused(id, IommuOf(options), error);
    }

    /// <summary>Adds a device. Its DMA faults until a client attaches it.</summary>
    /// <returns>Success; <see cref="Errno.Exists"/> for a name that is taken; or the driver's error.</returns>
    public Errno AddEndpointErrno(DeviceId id, EmbeddedEndpointOptions options, out EmbeddedEndpoint? endpoint)
    {
        return AddErrno(id, options, null, out endpoint);
    }

    private static IommuException Refused(DeviceId id, EmbeddedIommu iommu, Errno error) =>
        new(error, "add a device", id.ToString(), iommu.Driver.ReasonToRefuse(id));

    private EmbeddedIommu IommuOf(EmbeddedEndpointOptions options) => options.Iommu >= 0 && options.Iommu < _iommus.Count
        ? _iommus[options.Iommu]
        : throw new ArgumentOutOfRangeException(nameof(options), options.Iommu, $"The platform has {_iommus.Count} IOMMUs.");

    internal void RunInterrupts()
    {
        foreach (EmbeddedIommu iommu in _iommus)
        {
            iommu.Interrupts.Run();
        }
    }

    private Errno AddErrno(
        DeviceId id, EmbeddedEndpointOptions options, IVfioDeviceBackend? backend, out EmbeddedEndpoint? endpoint)
    {
        ArgumentNullException.ThrowIfNull(options);
        endpoint = null;
        EmbeddedIommu iommu = IommuOf(options);
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
        Errno error = Subsystem.TryAddDevice(iommu.Driver, id, name, options.GroupId, properties, out IommuDevice? device);
        if (error == Errno.Success)
        {
            EndpointAts? ats = null;
            if (properties.Ats && iommu.Driver.Capabilities.Ats)
            {
                ats = new(iommu.Link, iommu.DevicePort, id, properties.PageRequests && iommu.Driver.Capabilities.PageRequests);
                iommu.Link.Add(id, ats);
            }

            endpoint = new(this, device!, _kernel.AddDevice(device!, backend), iommu.DevicePort, ats)
            {
                RequesterId = options.RequesterId ?? id,
                Iommu = iommu,
            };
        }

        return error;
    }

    /// <summary>Takes a device away.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while a client has it bound.</returns>
    public Errno RemoveEndpointErrno(EmbeddedEndpoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        Errno error = _kernel.RemoveDevice(endpoint.DevicePath);
        if (error == Errno.Success)
        {
            Subsystem.RemoveDevice(endpoint.Device);
            endpoint.Iommu.Link.Remove(endpoint.Id);
        }

        return error;
    }

    /// <summary>Takes the oldest fault record; everything that was done before is in it.</summary>
    public bool TryDequeueFault(out IommuFault fault)
    {
        RunInterrupts();
        return _faults.TryDequeue(out fault);
    }

    /// <summary>Who else is told of faults when they are recorded; <see cref="TryDequeueFault"/> has them as well.</summary>
    internal FaultRecorder Faults => _faults;

    /// <summary>The address space of the client's process, to which it may bind PASIDs; null if it has none.</summary>
    public ProcessAddressSpace? ClientProcess
    {
        get => _kernel.Process;
        set => _kernel.Process = value;
    }

    /// <summary>Finds the PASID table of a virtual machine by its descriptor, for whoever runs the guest's ENQCMD (S1.13).</summary>
    public bool TryGetVmPasidTable(int descriptor, out VmPasidTable? table) => _kernel.FirstProcess.TryGetVmPasidTable(descriptor, out table);

    /// <summary>Completes the deferred invalidations that are due (docs/abi.md, "Lazy invalidation").</summary>
    public void Poll()
    {
        _kernel.Poll();
        PollDmaDomains();
        RunInterrupts();
    }

    /// <summary>Closes every descriptor, stops the drivers and frees the memory. No device may do DMA any more.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        PlatformInstruments.Remove(this);
        _kernel.FirstProcess.CloseAll();
        DisposeDmaDomains();
        _iommus.ForEach(static iommu => iommu.Dispose());
        _ownMemory.Dispose();
    }
}
