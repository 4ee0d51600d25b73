using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

// This project is the driver of the RISC-V IOMMU (riscv-non-isa/riscv-iommu 1.0). It sees registers, memory and interrupts,
// never a model of the hardware, and orders its writes and commands as chapter 6 of the specification asks.
//
// What it assumes of caching (S4.6): entries whose V bit is 0 are not cached (section 6.3.8), so that making an entry valid
// needs no invalidation before the hardware may use it. Everything else may be cached for ever, in any combination, until an
// invalidation that covers it has completed.

/// <summary>One RISC-V IOMMU, taken over by <see cref="TryProbe"/> and given back by <see cref="Dispose"/>.</summary>
internal sealed partial class RiscVIommuInstance : IommuInstance, IDisposable
{
    private readonly HardwareAccess _hardware;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly RiscVDriverOptions _options;
    private readonly Capabilities _capabilities;
    private readonly IdentifierAllocator _pscids;
    private readonly IdentifierAllocator _gscids;
    private readonly ConcurrentDictionary<uint, DeviceState> _devices = new();
    private readonly ConcurrentBag<ContextTarget> _quarantine = [];
    private readonly ConcurrentBag<ProcessDirectory> _quarantinedDirectories = [];
    private readonly IoLock _lifeLock = new();

    // Threads that handle an interrupt and so touch registers without any lock.
    private readonly EpochReclaimer _users = new(static () => HardwareAccess.Pause(0));
    private DeviceDirectory? _directory;
    private CommandQueue? _commands;
    private FaultQueue? _faults;
    private PageRequestQueue? _pageRequests;
    private long _addressSpaceFlushes;
    private uint _features;
    private bool _disposed;
    private bool _isShutDown;

    private RiscVIommuInstance(
        IRegisterWindow registers,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        Capabilities capabilities)
    {
        _hardware = new(registers, options.TimeProvider, options.CommandTimeout, options.AtsTimeout);
        _memory = memory;
        _pages = pages;
        _options = options;
        _capabilities = capabilities;
        _pscids = new(options.PscidBits);
        _gscids = new(options.GscidBits);
        int pasidLevels = ProcessDirectory.LevelsFor(capabilities, Pasid.Bits);
        Capabilities = new()
        {
            PasidBits = ProcessDirectory.BitsOf(pasidLevels),
            Ats = capabilities.Ats && pasidLevels > 0,
            PageRequests = capabilities.Ats && pasidLevels > 0,
            DirtyTracking = capabilities.AmoHwad,
            Nesting = capabilities.Has(AnySecondStage),
            ProcessFormats = pasidLevels > 0 ? FormatsOf(capabilities) : [],
        };
    }

    /// <inheritdoc/>
    public override string Name => _options.Name;

    /// <summary>What the driver can do with this IOMMU: what the hardware has and the driver uses.</summary>
    public override IommuCapabilities Capabilities { get; }

    /// <summary>The <c>capabilities</c> register (section 5.3).</summary>
    public ulong CapabilitiesRegister => _capabilities.Value;

    /// <summary>Levels of the device directory, 1 to 3.</summary>
    public int DirectoryLevels => _directory?.Levels ?? 0;

    /// <summary>What the driver did so far.</summary>
    public RiscVDriverStatistics Statistics => new()
    {
        FirstStageInvalidations = Count(CommandOpcode.Iotinval, CommandFunction.IotinvalVma),
        SecondStageInvalidations = Count(CommandOpcode.Iotinval, CommandFunction.IotinvalGvma),
        DeviceDirectoryInvalidations = Count(CommandOpcode.Iodir, CommandFunction.IodirInvalDdt),
        ProcessDirectoryInvalidations = Count(CommandOpcode.Iodir, CommandFunction.IodirInvalPdt),
        AtsInvalidations = Count(CommandOpcode.Ats, CommandFunction.AtsInval),
        PageResponses = Count(CommandOpcode.Ats, CommandFunction.AtsPrgr),
        Fences = Count(CommandOpcode.Iofence, CommandFunction.IofenceC),
        Synchronisations = _commands?.Synchronisations ?? 0,
        AddressSpaceFlushes = Volatile.Read(ref _addressSpaceFlushes) + (_commands?.Flushes ?? 0),
        Collapses = _commands?.Collapses ?? 0,
        QueueRecoveries = _commands?.Recoveries ?? 0,
        QueueFailures = _commands?.Failures ?? 0,
        Faults = _faults?.Records ?? 0,
        FaultOverflows = _faults?.Overflows ?? 0,
        DroppedGuestEvents = _faults?.DroppedGuestEvents ?? 0,
        PageRequests = _pageRequests?.Records ?? 0,
        QueuedCommands = _commands?.Queued ?? 0,
        PscidsInUse = _pscids.InUse,
        GscidsInUse = _gscids.InUse,
    };

    /// <inheritdoc/>
    public override IommuUsage Usage
    {
        get
        {
            RiscVDriverStatistics all = Statistics;
            return new(all.PscidsInUse + all.GscidsInUse, all.Invalidations, all.FirstStageInvalidations, all.PageResponses);
        }
    }

    internal Capabilities Hardware => _capabilities;

    internal RiscVDriverOptions Options => _options;

    internal CommandQueue Commands => _commands!;

    /// <summary>Most commands for one unmap.</summary>
    internal int CommandLimit { get; private set; }

    internal IPhysicalMemory Memory => _memory;

    /// <summary>
    /// The IOMMU raised an interrupt (section 6.5). It reads the causes that are pending and handles them all, whatever the
    /// vector, because vectors may be shared. It may be called from any thread, also from inside a register access of the
    /// driver, if the hardware has no lock of its own held.
    /// </summary>
    /// <param name="vector">The vector, 0 to 15.</param>
    public void HandleInterrupt(int vector)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(vector);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vector, 15);
        using EpochReclaimer.Scope use = _users.Enter();
        if (Volatile.Read(ref _disposed))
        {
            return;
        }

        var pending = (InterruptPending)_hardware.Registers.Read32(RegisterOffset.InterruptPendingStatus);
        if (pending == InterruptPending.None)
        {
            return;
        }

        // Acknowledged before the queues are read: what comes later raises the interrupt again, and nothing is missed.
        _hardware.Registers.Write32(RegisterOffset.InterruptPendingStatus, (uint)pending);
        if ((pending & InterruptPending.CommandQueue) != 0)
        {
            _commands!.HandleInterrupt();
        }

        if ((pending & InterruptPending.FaultQueue) != 0)
        {
            _faults!.Drain();
        }

        if ((pending & InterruptPending.PageRequestQueue) != 0)
        {
            _pageRequests?.Drain();
        }
    }

    /// <summary>
    /// Stops all DMA through the IOMMU, turns it off and frees its memory. Devices that are still attached end up with every
    /// DMA faulting; domains remain, without this IOMMU. When it returns, no other thread uses the hardware any more (S4.3).
    /// </summary>
    public void Dispose()
    {
        Volatile.Write(ref _disposed, true);

        // Whoever handles an interrupt has begun before, and ends; unless it is this very thread that does.
        if (!_users.IsInside)
        {
            _users.Synchronize();
        }

        using (_lifeLock.Acquire())
        {
            if (!_isShutDown)
            {
                _isShutDown = true;
                Shutdown();
            }
        }
    }

    private long Count(CommandOpcode opcode, int function) => _commands?.Count(opcode, function) ?? 0;
}
