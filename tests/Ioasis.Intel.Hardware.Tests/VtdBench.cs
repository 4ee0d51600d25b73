using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>A fault as software reads it from a recording register.</summary>
internal sealed record RecordedFault(
    FaultReason Reason, ushort SourceId, ulong Address, bool IsRead, bool IsPageRequest, int AddressType, uint? Pasid, bool Privileged, bool Execute);

/// <summary>A unit with memory, tables that are made as a driver would, and what the unit sends.</summary>
internal sealed class VtdBench : IMsiSink, IPcieLink, IDisposable
{
    public const ulong Root = 0x10_0000;
    public const ulong Queue = 0x20_0000;
    public const ulong StatusAddress = 0x30_0000;
    public const ulong PageQueue = 0x31_0000;
    public const ulong InterruptTableAddress = 0x40_0000;

    private readonly HashSet<ulong> _broken = [];
    private ulong _nextPage = 0x100_0000;
    private ulong _tail;
    private bool _isWide;

    public VtdBench(VtdIommuOptions? options = null)
    {
        Memory = new();
        Watched = new BreakableMemory(Memory, _broken);
        Iommu = new(options ?? new VtdIommuOptions(), Watched, this, this);
    }

    public SparsePhysicalMemory Memory { get; }

    public IPhysicalMemory Watched { get; }

    public VtdIommu Iommu { get; }

    public List<(ulong Address, uint Data)> Interrupts { get; } = [];

    public List<PcieMessage> Invalidations { get; } = [];

    public List<PcieMessage> Responses { get; } = [];

    public bool AnswersInvalidations { get; set; } = true;

    private Capability Cap => Iommu.Options.Capabilities;

    public void Dispose() => Memory.Dispose();

    public MemoryStatus Send(PhysicalAddress address, uint data)
    {
        Interrupts.Add((address.Value, data));
        return MemoryStatus.Success;
    }

    public void SendInvalidationRequest(in PcieMessage message)
    {
        Invalidations.Add(message);
        if (AnswersInvalidations)
        {
            _ = Iommu.HandleInvalidationCompletion(new(2, message.RequesterId, null, Pasid.Invalid, (1ul << message.Tag) | (1ul << 32)));
        }
    }

    public void SendPageRequestGroupResponse(in PcieMessage message) => Responses.Add(message);

    public ulong Page()
    {
        ulong page = _nextPage;
        _nextPage += 4096;
        return page;
    }

    public ulong Read(ulong address)
    {
        Memory.Read64(new(address), out ulong value).ShouldBe(MemoryStatus.Success);
        return value;
    }

    public void Store(ulong address, ulong value) => Memory.Write64(new(address), value).ShouldBe(MemoryStatus.Success);

    /// <summary>Nothing answers in this page any more.</summary>
    public void Break(ulong page) => _broken.Add(page & ~0xffful);

    public void Enable(TranslationTableMode mode = TranslationTableMode.Scalable)
    {
        Iommu.Write64(RegisterOffset.RootTableAddress, Root | ((ulong)mode << RootTable.ModeShift));
        Command(GlobalControl.SetRootTableBit, true);
        Command(GlobalControl.TranslationEnableBit, true);
    }

    public void Command(uint bit, bool on)
    {
        uint status = Iommu.Read32(RegisterOffset.GlobalStatus) & ~GlobalControl.OneShotMask;
        Iommu.Write32(RegisterOffset.GlobalCommand, on ? status | bit : status & ~bit);
    }

    // Tables.
    public ulong LegacyContext(ushort rid)
    {
        ulong root = Root + ((ulong)(rid >> 8) * RootEntry.Size);
        if ((Read(root) & 1) == 0)
        {
            Store(root, Page() | 1);
        }

        return (Read(root) & ~0xffful) + ((ulong)(rid & 0xff) * ContextEntry.Size);
    }

    public void SetLegacy(ushort rid, ulong table, int levels, ushort domain, ContextTranslationType type = ContextTranslationType.SecondStage)
    {
        ulong place = LegacyContext(rid);
        Store(place + 8, (uint)(levels - 2) | ((ulong)domain << ContextEntry.HighDomainIdShift));
        Store(place, table | 1 | ((ulong)type << ContextEntry.TranslationTypeShift));
    }

    public ulong ScalableContext(ushort rid)
    {
        ulong root = Root + ((ulong)(rid >> 8) * RootEntry.Size) + ((rid & 0x80) != 0 ? 8ul : 0);
        if ((Read(root) & 1) == 0)
        {
            Store(root, Page() | 1);
        }

        return (Read(root) & ~0xffful) + ((ulong)(rid & 0x7f) * ScalableContextEntry.Size);
    }

    /// <summary>A context with a directory of 2^(7+size) entries; RID_PASID is 0 unless told.</summary>
    public void SetScalable(ushort rid, ulong flags = 0, int directorySize = 0, uint ridPasid = 0)
    {
        ulong place = ScalableContext(rid);
        ulong directory = (Read(place) & ~0xffful) is not 0 and var known ? known : Page();
        if (directory == _nextPage - 4096 && directorySize > 0)
        {
            _nextPage += 4096ul * ((128ul << directorySize) / 512);
        }

        Store(place + 8, ridPasid);
        Store(place, directory | flags | ((ulong)directorySize << ScalableContextEntry.DirectorySizeShift) | 1);
    }

    public const ulong AllContextFlags = ScalableContextEntry.DeviceTlbBit | ScalableContextEntry.PasidBit | ScalableContextEntry.PageRequestBit;

    public ulong DirectoryEntry(ushort rid, uint pasid) => (Read(ScalableContext(rid)) & ~0xffful) + ((pasid >> 6) * 8ul);

    public ulong PasidEntry(ushort rid, uint pasid)
    {
        ulong directory = DirectoryEntry(rid, pasid);
        if ((Read(directory) & 1) == 0)
        {
            Store(directory, Page() | 1);
        }

        return (Read(directory) & ~0xffful) + ((pasid & 63) * 64ul);
    }

    public void SetPasid(
        ushort rid,
        uint pasid,
        PasidTranslationType type,
        ushort domain,
        ulong first = 0,
        int firstLevels = 4,
        ulong second = 0,
        int secondLevels = 4,
        ulong word0 = 0,
        ulong word1 = PasidTableEntry.Word1PageWalkSnoopBit,
        ulong word2 = 0)
    {
        ulong place = PasidEntry(rid, pasid);
        bool hasSecond = type is PasidTranslationType.SecondStage or PasidTranslationType.Nested;
        Store(place + 8, domain | word1);
        Store(place + 16, first | word2 | ((ulong)(firstLevels - 4) << PasidTableEntry.Word2PagingModeShift));
        Store(
            place,
            (hasSecond ? second | ((ulong)(secondLevels - 2) << PasidTableEntry.Word0AddressWidthShift) : 0)
                | ((ulong)type << PasidTableEntry.Word0TranslationTypeShift) | word0 | 1);
    }

    /// <summary>Maps a page in a table of either kind: non-leaf entries get <paramref name="upper"/>.</summary>
    /// <param name="root">The table.</param>
    /// <param name="levels">Its levels.</param>
    /// <param name="address">Input address.</param>
    /// <param name="leaf">The leaf entry, its PS bit included.</param>
    /// <param name="sizeLog2">12, 21 or 30.</param>
    /// <param name="upper">Bits of entries above.</param>
    /// <param name="toHost">Where a table's address is in host memory.</param>
    /// <param name="newTable">Where new tables come from.</param>
    /// <returns>Where the leaf is, in host memory.</returns>
    public ulong Map(
        ulong root, int levels, ulong address, ulong leaf, int sizeLog2, ulong upper, Func<ulong, ulong>? toHost = null, Func<ulong>? newTable = null)
    {
        toHost ??= static table => table;
        newTable ??= Page;
        ulong table = root;
        for (int level = levels; ; level--)
        {
            int shift = 12 + (9 * (level - 1));
            ulong place = toHost(table) + (((address >> shift) & 0x1ff) * 8);
            if (shift == sizeLog2)
            {
                Store(place, leaf);
                return place;
            }

            ulong entry = Read(place);
            if (entry == 0)
            {
                entry = newTable() | upper;
                Store(place, entry);
            }

            table = entry & SecondStageEntry.AddressMask;
        }
    }

    public const ulong ReadWrite = SecondStageEntry.ReadBit | SecondStageEntry.WriteBit;
    public const ulong User = FirstStageEntry.PresentBit | FirstStageEntry.WriteBit | FirstStageEntry.UserBit;

    public ulong MapSecond(ulong root, int levels, ulong address, ulong physical, int sizeLog2 = 12, ulong rights = ReadWrite) => Map(
        root, levels, address, physical | rights | (sizeLog2 > 12 ? SecondStageEntry.PageSizeBit : 0), sizeLog2, ReadWrite);

    public ulong MapFirst(ulong root, int levels, ulong address, ulong physical, int sizeLog2 = 12, ulong rights = User) => Map(
        root, levels, address, physical | rights | (sizeLog2 > 12 ? FirstStageEntry.PageSizeBit : 0), sizeLog2, User);

    // Requests.
    public static DmaRequest Dma(
        ulong address, ushort rid = 8, bool write = false, uint? pasid = null, DmaKind kind = DmaKind.Untranslated, DmaFlags flags = DmaFlags.None) => new(
        new(rid),
        new(address),
        flags | (write ? DmaFlags.Write : 0) | (pasid is null ? 0 : DmaFlags.PasidValid),
        kind,
        new(pasid ?? 0));

    public DmaTranslation Translate(in DmaRequest request)
    {
        Iommu.Translate(request, out DmaTranslation translation);
        return translation;
    }

    public void ShouldTranslate(in DmaRequest request, ulong physical)
    {
        DmaTranslation translation = Translate(request);
        if (translation.Status != DmaStatus.Success)
        {
            throw new Shouldly.ShouldAssertException($"{request.Address} did not translate: {TakeFault()?.ToString() ?? translation.Status.ToString()}");
        }

        translation.Address.ShouldBe(new PhysicalAddress(physical));
    }

    public RecordedFault ShouldFault(in DmaRequest request, FaultReason reason, DmaStatus status = DmaStatus.UnsupportedRequest)
    {
        DmaTranslation translation = Translate(request);
        RecordedFault? fault = TakeFault();
        fault.ShouldNotBeNull($"no fault recorded; {translation.Status} {translation.Address}");
        fault.Reason.ShouldBe(reason);
        translation.Status.ShouldBe(status);
        return fault;
    }

    /// <summary>Takes the first fault from the recording registers as a driver does, and clears it.</summary>
    public RecordedFault? TakeFault()
    {
        uint status = Iommu.Read32(RegisterOffset.FaultStatus);
        if ((status & FaultStatus.PendingBit) == 0)
        {
            return null;
        }

        uint offset = Cap.FaultRecordOffset + (((status >> FaultStatus.RecordIndexShift) & 0xff) * FaultRecord.Size);
        for (int i = 0; i < Cap.FaultRecordCount; i++)
        {
            ulong high = Iommu.Read64(offset + 8);
            if ((high & FaultRecord.HighFaultBit) != 0)
            {
                ulong low = Iommu.Read64(offset);
                Iommu.Write64(offset + 8, FaultRecord.HighFaultBit);
                return new(
                    (FaultReason)((high >> FaultRecord.HighReasonShift) & 0xff),
                    (ushort)high,
                    low,
                    (high & FaultRecord.HighType1Bit) != 0,
                    (high & FaultRecord.HighType2Bit) != 0,
                    (int)(high >> FaultRecord.HighAddressTypeShift) & 3,
                    (high & FaultRecord.HighPasidPresentBit) != 0 ? (uint)(high >> FaultRecord.HighPasidShift) & 0xf_ffff : null,
                    (high & FaultRecord.HighPrivilegedBit) != 0,
                    (high & FaultRecord.HighExecuteBit) != 0);
            }

            offset = offset + FaultRecord.Size < Cap.FaultRecordOffset + ((uint)Cap.FaultRecordCount * FaultRecord.Size)
                ? offset + FaultRecord.Size
                : Cap.FaultRecordOffset;
        }

        return null;
    }

    // The invalidation queue.
    public void EnableQueue(bool wide, int pages = 0)
    {
        _isWide = wide;
        _tail = 0;
        Iommu.Write64(RegisterOffset.InvalidationQueueTail, 0);
        Iommu.Write64(RegisterOffset.InvalidationQueueAddress, Queue | (wide ? InvalidationQueue.WideDescriptorsBit : 0) | (uint)pages);
        Command(GlobalControl.QueuedInvalidationEnableBit, true);
    }

    public ulong Head => Iommu.Read64(RegisterOffset.InvalidationQueueHead);

    public void Submit(ulong low, ulong high = 0, ulong third = 0, ulong fourth = 0)
    {
        ulong bytes = 4096ul << (int)(Iommu.Read64(RegisterOffset.InvalidationQueueAddress) & InvalidationQueue.SizeMask);
        Store(Queue + _tail, low);
        Store(Queue + _tail + 8, high);
        if (_isWide)
        {
            Store(Queue + _tail + 16, third);
            Store(Queue + _tail + 24, fourth);
        }

        _tail = (_tail + (_isWide ? 32ul : 16)) % bytes;
        Iommu.Write64(RegisterOffset.InvalidationQueueTail, _tail);
    }

    public static ulong Low(DescriptorType type, int granularity = 0, ushort domain = 0, uint pasid = 0) =>
        Descriptor.TypeBits(type) | ((ulong)granularity << Descriptor.GranularityShift) | ((ulong)domain << Descriptor.DomainIdShift)
            | ((ulong)pasid << Descriptor.PasidShift);

    public void InvalidateIotlb(InvalidationGranularity granularity, ushort domain = 0, ulong address = 0, int mask = 0, bool leavesOnly = false) => Submit(
        Low(DescriptorType.Iotlb, (int)granularity, domain), address | (uint)mask | (leavesOnly ? InvalidateAddress.HintBit : 0));

    public void InvalidatePasidIotlb(PasidIotlbGranularity granularity, ushort domain, uint pasid, ulong address = 0, int mask = 0, bool leavesOnly = false) => Submit(
        Low(DescriptorType.PasidIotlb, (int)granularity, domain, pasid), address | (uint)mask | (leavesOnly ? InvalidateAddress.HintBit : 0));

    public void InvalidateContexts(InvalidationGranularity granularity, ushort domain = 0, ushort rid = 0, int functionMask = 0) => Submit(
        Low(DescriptorType.ContextCache, (int)granularity, domain) | ((ulong)rid << Descriptor.SourceIdShift)
            | ((ulong)functionMask << Descriptor.FunctionMaskShift));

    public void InvalidatePasids(PasidCacheGranularity granularity, ushort domain = 0, uint pasid = 0) =>
        Submit(Low(DescriptorType.PasidCache, (int)granularity, domain, pasid));

    /// <summary>Waits, by a status write.</summary>
    /// <returns>Whether the status was written.</returns>
    public bool Wait(uint data = 0x5a5a)
    {
        Store(StatusAddress, 0);
        Submit(Low(DescriptorType.Wait) | Descriptor.WaitStatusBit | ((ulong)data << Descriptor.WaitDataShift), StatusAddress);
        return Read(StatusAddress) == data;
    }

    public static VtdIommuOptions With(
        CachingMode caching = CachingMode.None, ulong removeCap = 0, ulong addCap = 0, ulong removeExtended = 0, ulong addExtended = 0) => new()
    {
        Caching = caching,
        Capabilities = new((VtdIommuOptions.AllCapabilities.Value & ~removeCap) | addCap),
        ExtendedCapabilities = new((VtdIommuOptions.AllExtendedCapabilities.Value & ~removeExtended) | addExtended),
    };

    private sealed class BreakableMemory(SparsePhysicalMemory memory, HashSet<ulong> broken) : IPhysicalMemory
    {
        private bool Fails(PhysicalAddress address) => broken.Count != 0 && broken.Contains(address.Value & ~0xffful);

        public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) =>
            Fails(address) ? MemoryStatus.AccessFault : memory.Read(address, destination);

        public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) =>
            Fails(address) ? MemoryStatus.AccessFault : memory.Write(address, source);

        public MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            value = 0;
            return Fails(address) ? MemoryStatus.AccessFault : memory.Read64(address, out value);
        }

        public MemoryStatus Write64(PhysicalAddress address, ulong value) =>
            Fails(address) ? MemoryStatus.AccessFault : memory.Write64(address, value);

        public MemoryStatus Read32(PhysicalAddress address, out uint value)
        {
            value = 0;
            return Fails(address) ? MemoryStatus.AccessFault : memory.Read32(address, out value);
        }

        public MemoryStatus Write32(PhysicalAddress address, uint value) =>
            Fails(address) ? MemoryStatus.AccessFault : memory.Write32(address, value);

        public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
        {
            observed = 0;
            return Fails(address) || ReadOnly.Contains(address.Value & ~0xffful)
                ? MemoryStatus.AccessFault
                : memory.CompareExchange64(address, expected, desired, out observed);
        }

        public HashSet<ulong> ReadOnly { get; } = [];

        public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
    }

    /// <summary>Flags cannot be set in this page any more.</summary>
    public void MakeReadOnly(ulong page) => ((BreakableMemory)Watched).ReadOnly.Add(page & ~0xffful);
}
