using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// A remapping unit of Intel's Virtualization Technology for Directed I/O, in legacy and in scalable mode: the model of the device
/// that the architecture specification, revision 5.10, describes. It walks tables with code of its own and shares none with the
/// driver, for their agreement is the evidence. What it has and has not is in docs/vtd.md.
/// </summary>
/// <remarks>
/// <para>
/// The software side is <see cref="IRegisterWindow"/>: descriptors run in the thread that writes <c>IQT_REG</c>, before the write
/// returns. The device side is <see cref="IDmaPort"/>, and <see cref="HandlePageRequest"/> and <see cref="HandleInvalidationCompletion"/> for
/// messages. All members may be called from any thread.
/// </para>
/// <para>
/// A device's interrupt is a store of 4 bytes to FEEx_xxxx without PASID, through <see cref="Write"/>. It goes to the sink inside of the access, for an
/// invalidation of the interrupt entry cache waits for it (section 6.5.5): the sink must not write this unit's registers. Interrupts of the unit itself go
/// out when no lock is held.
/// </para>
/// </remarks>
/// <example>
/// <code>
/// using var memory = new SparsePhysicalMemory();
/// var iommu = new VtdIommu(new VtdIommuOptions(), memory);
///
/// // Legacy mode: the root entry of bus 0 leads to a context table at 0x2000; the context of 00:01.0 has 4 levels at 0x3000, domain 1.
/// memory.Write64(new(0x1000), 0x2000 | RootEntry.PresentBit);
/// memory.Write64(new(0x2000 + (8 * ContextEntry.Size)), 0x3000 | ContextEntry.PresentBit);
/// memory.Write64(new(0x2008 + (8 * ContextEntry.Size)), 2 | (1ul &lt;&lt; ContextEntry.HighDomainIdShift));
///
/// // A page of 1 GiB at the start: the PML4 entry leads to 0x4000, whose first entry maps physical 0x8000_0000.
/// memory.Write64(new(0x3000), 0x4000 | SecondStageEntry.ReadBit | SecondStageEntry.WriteBit);
/// memory.Write64(new(0x4000), 0x8000_0000 | SecondStageEntry.PageSizeBit | SecondStageEntry.ReadBit | SecondStageEntry.WriteBit);
///
/// iommu.Write64(RegisterOffset.RootTableAddress, 0x1000);
/// iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
/// iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
///
/// iommu.Translate(new DmaRequest(new DeviceId(8), new Iova(0x1234)), out DmaTranslation translation);
/// // translation.Status == DmaStatus.Success, translation.Address == 0x8000_1234
/// </code>
/// </example>
public sealed partial class VtdIommu : IRegisterWindow, IDmaPort, IPcieAtsPort
{
    private readonly IPhysicalMemory _memory;
    private readonly UnitOutbox _outbox;
    private readonly RegisterFile _registers;
    private readonly FaultRecorder _faults;
    private readonly PageRequests _pageRequests;
    private readonly InterruptRemapper _interrupts;
    private readonly DeviceTlbs _deviceTlbs;
    private readonly InvalidationProcessor _invalidations;
    private readonly TranslationCaches _caches;
    private readonly CacheState _cacheState = new();
    private readonly ContextWalker _contextWalker;
    private readonly Translator _translator;
    private readonly IoLock _lock = new();
    private readonly Iotlb? _iotlb;
    private readonly HostileTranslations? _hostile;
    private readonly ulong _beyondMask;
    private readonly ulong _segmentBits;
    private readonly bool _hasDeviceTlb;
    private readonly bool _hasNoWriteFlag;

    // 1 and up, this unit's own.
    private readonly int _place = ReaderSlot.NewPlace();

    /// <summary>Makes a remapping unit in its reset state.</summary>
    /// <param name="options">What it supports and how much it caches.</param>
    /// <param name="memory">The memory that tables and queues are in and that devices access.</param>
    /// <param name="interrupts">
    /// Where interrupts go, its own and those of devices: messages in compatibility format, with bits 31:8 of an x2APIC destination at 63:40 of the address. Null:
    /// they are dropped.
    /// </param>
    /// <param name="link">Where PCIe messages go; null: they are dropped.</param>
    /// <exception cref="ArgumentException">An option is out of its range, or capabilities contradict each other.</exception>
    public VtdIommu(VtdIommuOptions options, IPhysicalMemory memory, IMsiSink? interrupts = null, IPcieLink? link = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(memory);
        if (options.FindFault() is { } fault)
        {
            throw new ArgumentException(fault, nameof(options));
        }

        Options = options;
        _memory = memory;
        HostMemory host = new(memory, options.HostAddressWidth);
        _beyondMask = host.BeyondMask;
        _segmentBits = (ulong)options.Segment << 16;
        _hasDeviceTlb = options.ExtendedCapabilities.Has(ExtendedCapability.DeviceTlbBit);
        _hasNoWriteFlag = options.ExtendedCapabilities.Has(ExtendedCapability.NoWriteFlagBit);
        _caches = new(options, _cacheState, host.BeyondMask);
        _iotlb = _caches.Iotlb;
        _hostile = _caches.Hostile?.Translations;
        _contextWalker = new(options, host, _caches.Hostile);
        _translator = new(options, host, _hostile);
        _outbox = new(_lock, interrupts, link);
        _faults = new(options, _outbox);
        _interrupts = new(options, host, interrupts, _cacheState);
        _pageRequests = new(options, host, _outbox);
        _deviceTlbs = new(options, _faults, _outbox);
        _invalidations = new(options, host, _caches, _interrupts, _deviceTlbs, _pageRequests, _faults, _outbox, WaitForAccesses);
        _registers = new(options, _lock, _caches, _faults, _pageRequests, _interrupts, _invalidations, WaitForAccesses);
    }

    /// <summary>What the embedder chose.</summary>
    public VtdIommuOptions Options { get; }

    /// <inheritdoc/>
    public uint Read32(uint offset) => _registers.Read32(offset);

    /// <inheritdoc/>
    public ulong Read64(uint offset) => _registers.Read64(offset);

    /// <inheritdoc/>
    public void Write32(uint offset, uint value)
    {
        _registers.Write32(offset, value);
        _outbox.Deliver();
    }

    /// <inheritdoc/>
    public void Write64(uint offset, ulong value)
    {
        _registers.Write64(offset, value);
        _outbox.Deliver();
    }

    /// <summary>
    /// Takes an Invalidation Completion message (section 4.3): bits 31:0 of the payload name the tags, bits 34:32 how many
    /// completions the device sends for each (0 means 8).
    /// </summary>
    /// <returns>Whether it was expected; an unexpected one sets <c>FSTS_REG.ICE</c>.</returns>
    public bool HandleInvalidationCompletion(in PcieMessage message)
    {
        bool expected = false;
        using (_lock.Acquire())
        {
            // Section 4.2.1: unsupported while remapping is disabled.
            if (_registers.Configuration.TranslationEnabled && (message.Segment ?? Options.Segment) == Options.Segment)
            {
                expected = _deviceTlbs.Complete(message);
                _invalidations.Run();
            }
        }

        _outbox.Deliver();
        return expected;
    }

    /// <summary>Tells that devices did not answer Invalidation Requests in time (section 6.5.2.11): the embedder owns the clock.</summary>
    /// <param name="tags">A bit for each tag whose time is over; tags that are not outstanding are ignored.</param>
    public void HandleInvalidationTimeout(uint tags)
    {
        using (_lock.Acquire())
        {
            _deviceTlbs.TimeOut(tags);
            _invalidations.Run();
        }

        _outbox.Deliver();
    }

    /// <summary>
    /// Begins an access of an embedder who translates with <see cref="Translate"/> and then accesses memory itself: until the scope
    /// is disposed, by the same thread, an invalidation wait descriptor that another thread gives to this unit does not complete. Keep it short; within it,
    /// write no registers.
    /// </summary>
    public AccessScope BeginAccess()
    {
        ReaderSlot slot = ReaderSlot.Current;
        slot.Enter(_place);
        return new(slot);
    }

    /// <summary>Takes a snapshot of the statistics. Descriptors and faults are always counted; hits, misses, evictions and walks if
    /// <see cref="VtdIommuOptions.CollectStatistics"/> is on.</summary>
    internal VtdStatistics GetStatistics()
    {
        DeviceStatistics[] devices = _caches.Snapshot();
        using (_lock.Acquire())
        {
            return new(devices, _invalidations.Snapshot(), _faults.Snapshot());
        }
    }

    // Register lock held. Translations never take it inside an access, so this ends.
    private void WaitForAccesses() => ReaderSlot.WaitForOthers(_place);

    /// <summary>An access under way; see <see cref="BeginAccess"/>.</summary>
    public readonly ref struct AccessScope
    {
        private readonly ReaderSlot? _slot;

        internal AccessScope(ReaderSlot? slot) => _slot = slot;

        /// <summary>Ends the access.</summary>
        public void Dispose() => _slot?.Exit();
    }
}
