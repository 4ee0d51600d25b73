using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

// This project is the driver of Intel's VT-d (architecture specification, revision 5.10). It sees registers, memory and interrupts, never
// a model of the hardware, and orders its writes and descriptors as chapter 6 of the specification asks.
//
// What it assumes of caching (S4.6): without CAP_REG.CM, entries that are not present are not cached (section 6.1), so that making an
// entry present needs no invalidation before the hardware may use it. Everything else may be cached for ever, in any combination, until an
// invalidation that covers it has completed.

/// <summary>One remapping unit of VT-d, taken over by <see cref="TryProbe"/> and given back by <see cref="Dispose"/>.</summary>
internal sealed partial class VtdIommuInstance : IommuInstance, IDisposable
{
    private readonly UnitAccess _hardware;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly VtdDriverOptions _options;
    private readonly Capability _capability;
    private readonly ExtendedCapability _extended;
    private readonly IdentifierAllocator _domainIds;
    private readonly ConcurrentDictionary<ushort, DeviceState> _devices = new();
    private readonly ConcurrentBag<(ContextTarget Target, uint Pasid)> _quarantine = [];
    private readonly ConcurrentBag<PasidDirectory> _quarantinedDirectories = [];
    private readonly IoLock _lifeLock = new();

    // Threads that handle an interrupt and so touch registers without any lock.
    private readonly EpochReclaimer _users = new(static () => RegisterAccess.Pause(0));
    private ContextTables? _contexts;
    private InvalidationQueue? _queue;
    private FaultRecords? _faults;
    private PageRequestQueue? _pageRequests;
    private uint _passThroughId;
    private bool _hasPassThroughId;
    private bool _disposed;
    private bool _isShutDown;

    private VtdIommuInstance(
        IRegisterWindow registers, IPhysicalMemory memory, IPageAllocator pages, VtdDriverOptions options,
        Capability capability, ExtendedCapability extended)
    {
        _hardware = new(options, registers);
        _memory = memory;
        _pages = pages;
        _options = options;
        _capability = capability;
        _extended = extended;
        IsScalable = IsScalableWanted(extended, options);
        _domainIds = new(Math.Min(capability.DomainIdBits, options.DomainIdBits));
        Capabilities = DescribeCapabilities();
    }

    /// <inheritdoc/>
    public override string Name => _options.Name;

    /// <summary>What the driver can do with this IOMMU: what the hardware has and the driver uses.</summary>
    public override IommuCapabilities Capabilities { get; }

    /// <summary>Whether it runs in scalable mode, else in legacy mode.</summary>
    public bool IsScalable { get; }

    /// <summary><c>CAP_REG</c> (section 11.4.2).</summary>
    public ulong CapabilityRegister => _capability.Value;

    /// <summary><c>ECAP_REG</c> (section 11.4.3).</summary>
    public ulong ExtendedCapabilityRegister => _extended.Value;

    /// <summary>What the driver did so far.</summary>
    public VtdDriverStatistics Statistics => new()
    {
        ContextInvalidations = Count(DescriptorType.ContextCache),
        PasidInvalidations = Count(DescriptorType.PasidCache),
        DomainInvalidations = Count(DescriptorType.Iotlb),
        FirstStageInvalidations = Count(DescriptorType.PasidIotlb),
        DeviceInvalidations = Count(DescriptorType.DeviceTlb) + Count(DescriptorType.PasidDeviceTlb),
        PageResponses = Count(DescriptorType.PageGroupResponse),
        Waits = Count(DescriptorType.Wait),
        Synchronisations = _queue?.Synchronisations ?? 0,
        Flushes = _queue?.Flushes ?? 0,
        Collapses = _queue?.Collapses ?? 0,
        QueueRecoveries = _queue?.Recoveries ?? 0,
        QueueFailures = _queue?.Failures ?? 0,
        CompletionErrors = _queue?.CompletionErrors ?? 0,
        Faults = _faults?.Records ?? 0,
        FaultOverflows = _faults?.Overflows ?? 0,
        PageRequests = _pageRequests?.Records ?? 0,
        QueuedDescriptors = _queue?.Queued ?? 0,
        DomainIdsInUse = _domainIds.InUse,
    };

    /// <inheritdoc/>
    /// <remarks>The domain-ID of all that passes unchanged is no address space.</remarks>
    public override IommuUsage Usage
    {
        get
        {
            VtdDriverStatistics all = Statistics;
            long translations = all.DomainInvalidations + all.FirstStageInvalidations;
            return new(
                all.DomainIdsInUse - (_hasPassThroughId ? 1 : 0),
                translations + all.ContextInvalidations + all.PasidInvalidations + all.DeviceInvalidations,
                translations,
                all.PageResponses);
        }
    }

    internal Capability Hardware => _capability;

    internal VtdDriverOptions Options => _options;

    internal IPhysicalMemory Memory => _memory;

    internal InvalidationQueue Queue => _queue!;

    /// <summary>Most descriptors for one unmap.</summary>
    internal int InvalidationLimit { get; private set; }

    /// <summary>log2 of the most pages of a range of an invalidation; -1 if the hardware takes no ranges of a domain.</summary>
    internal int MaxAddressMask => _capability.PageSelective ? _capability.MaxAddressMask : -1;

    /// <summary>Which drains the hardware has.</summary>
    internal ulong DrainBits =>
        ((_capability.Value & Capability.DrainReadsBit) != 0 ? Descriptor.DrainReadsBit : 0)
        | ((_capability.Value & Capability.DrainWritesBit) != 0 ? Descriptor.DrainWritesBit : 0);

    /// <summary>Whether descriptors for devices name the physical function.</summary>
    internal bool ThrottlesDeviceTlbs => _extended.Has(ExtendedCapability.InvalidationThrottleBit);

    /// <summary>
    /// Whether an entry that becomes present needs an invalidation: absence may be cached (<c>CM</c>), or what was written sits in a buffer
    /// that an invalidation flushes (<c>RWBF</c>, section 6.8).
    /// </summary>
    internal bool MapsNeedInvalidation => (_capability.Value & (Capability.CachingModeBit | Capability.WriteBufferFlushBit)) != 0;

    /// <summary>PWSNP of a PASID-table entry, where the hardware has it.</summary>
    internal ulong PageWalkSnoopBit => _extended.Has(ExtendedCapability.PageWalkCoherencyBit) ? PasidTableEntry.Word1PageWalkSnoopBit : 0;

    /// <summary>PGSNP of a PASID-table entry, if accesses always snoop.</summary>
    internal ulong PageSnoopBit => ForcesSnoop ? PasidTableEntry.Word1PageSnoopBit : 0;

    /// <summary>Whether second stages mark what was accessed and written.</summary>
    internal bool TracksDirty => IsScalable && _extended.Has(ExtendedCapability.SecondStageDirtyBit | ExtendedCapability.SecondStageBit);

    private bool ForcesSnoop => _options.ForceSnoop && _extended.Has(ExtendedCapability.SnoopControlBit);

    /// <summary>The IOMMU sent one of its messages. It may be called from any thread, also from inside a register access of the driver.</summary>
    /// <param name="vector">0 for faults and queue errors, 1 for page requests, 2 for completed invalidations.</param>
    public void HandleInterrupt(int vector)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(vector);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vector, 2);
        using EpochReclaimer.Scope use = _users.Enter();
        if (Volatile.Read(ref _disposed))
        {
            return;
        }

        switch (vector)
        {
            case 0:
                _queue!.HandleInterrupt();
                _faults!.Drain();
                break;
            case 1:
                _pageRequests?.Drain();
                break;
            default:
                // Nobody waits for it: waits look at memory.
                _hardware.Registers.Write32(RegisterOffset.InvalidationCompletionStatus, 1);
                break;
        }
    }

    /// <summary>
    /// Takes every device out, turns the IOMMU off and frees its memory; domains remain, without this IOMMU. When it returns, no other
    /// thread uses the hardware any more (S4.3). Where the hardware can, it is left so that it aborts all DMA (section 3.4.4); elsewhere DMA
    /// passes untranslated from then on, as before the IOMMU was taken over.
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

    /// <summary>Gives a domain-ID that nothing is cached under.</summary>
    internal Errno TryAllocateDomainId(out uint domainId) => _domainIds.TryAllocate(out domainId, out _);

    /// <summary>Takes a domain-ID back, whose flush has completed.</summary>
    internal void FreeDomainId(uint domainId) => _domainIds.Free(domainId);

    private long Count(DescriptorType type) => _queue?.Count(type) ?? 0;
}
