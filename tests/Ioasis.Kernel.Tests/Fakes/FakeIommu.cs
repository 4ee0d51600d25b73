using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// An IOMMU of which only the driver seam exists. It forgets nothing by itself: whatever was mapped while a device was
/// attached can be reached until a synchronisation covers it. All that can fail passes an injection point.
/// </summary>
internal sealed class FakeIommu : IommuInstance
{
    private readonly Dictionary<IommuDevice, Domain> _attached = [];
    private readonly Dictionary<(IommuDevice Device, Pasid Pasid), Domain> _pasids = [];

    // Everything below is under it, except injection points: a logical thread must not be stopped while it holds a lock that
    // the explorer does not own.
    public Lock Sync { get; } = new();

    public override string Name => "fake";

    public override IommuCapabilities Capabilities => Features;

    /// <summary>What it says that it can.</summary>
    public IommuCapabilities Features { get; init; } =
        new() { Nesting = true, DirtyTracking = true, PasidBits = 8, PageRequests = true };

    public AddressRange Aperture { get; set; } = new(0, (1ul << 47) - 1);

    public ulong PageSizes { get; set; } = 0x4020_1000;

    /// <summary>Devices cannot use each other's domains unless this is the same for both.</summary>
    public Func<IommuDevice, int> FormatOf { get; init; } = static _ => 0;

    public List<FakeDomain> Domains { get; } = [];

    public bool FailsToComplete { get; set; }

    /// <summary>The confirmation that the hardware does not give, counted from 1; 0 for none.</summary>
    public int RefusesAt { get; set; }

    /// <summary>Whether it gives none after that either.</summary>
    public bool RefusesFromThereOn { get; set; }

    /// <summary>Confirmations that were asked for.</summary>
    public int Confirmations { get; set; }

    /// <summary>The unmap whose tables fail half way, counted from 1; 0 for none.</summary>
    public int FailsUnmapAt { get; set; }

    /// <summary>Unmaps that were asked for.</summary>
    public int Unmaps { get; set; }

    /// <summary>Whether the hardware confirms what it was asked for now.</summary>
    public bool Confirms()
    {
        int number = ++Confirmations;
        return RefusesAt == 0 || !(RefusesFromThereOn ? number >= RefusesAt : number == RefusesAt);
    }

    /// <summary>The hardware and the memory are as they should be from now on.</summary>
    public void Recover() => (RefusesAt, FailsUnmapAt, FailsToComplete) = (0, 0, false);

    public int Synchronisations { get; set; }

    public Domain DomainOf(IommuDevice device)
    {
        lock (Sync)
        {
            return _attached[device];
        }
    }

    public Domain DomainOf(IommuDevice device, Pasid pasid) => _pasids.GetValueOrDefault((device, pasid), BlockedDomain.Instance);

    public List<FakeNestedDomain> NestedDomains { get; } = [];

    public List<FakeVirtualIommu> VirtualIommus { get; } = [];

    public List<(PageRequestGroup Group, PageResponseCode Code)> Responses { get; } = [];

    /// <summary>What the hardware says of itself; empty for nothing.</summary>
    public byte[] Description { get; set; } = [];

    public IEnumerable<(Pasid Pasid, Domain Domain)> PasidsOf(IommuDevice device) =>
        _pasids.Where(entry => entry.Key.Device == device).OrderBy(static entry => entry.Key.Pasid.Value)
            .Select(static entry => (entry.Key.Pasid, entry.Value));

    public bool IsUsed(Domain domain)
    {
        lock (Sync)
        {
            return _attached.ContainsValue(domain)
                || _pasids.ContainsValue(domain)
                || NestedDomains.Exists(nested => nested.Parent == domain);
        }
    }

    /// <summary>A device asks for pages, and the handler runs.</summary>
    public void Ask(IommuDevice device, Pasid pasid, int index, params PageRequest[] pages)
    {
        PageRequests.Options = PageRequests.Options with { Dispatch = PageRequestDispatch.Inline };
        for (int i = 0; i < pages.Length; i++)
        {
            PageRequests.Add(device, pasid, pasid.IsPresent, index, pages[i], i == pages.Length - 1);
        }

        PageRequests.Dispatch();
    }

    public bool CanReach(ulong page)
    {
        lock (Sync)
        {
            return Domains.Exists(domain => IsUsed(domain) && domain.CanReach(page));
        }
    }

    public override Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        domain = null;
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        FakeDomain made = new(this, FormatOf(device), options);
        lock (Sync)
        {
            Domains.Add(made);
        }

        domain = made;
        return Errno.Success;
    }

    protected internal override Errno ProbeDevice(IommuDevice device)
    {
        _attached.Add(device, BlockedDomain.Instance);
        return Errno.Success;
    }

    protected internal override void ReleaseDevice(IommuDevice device) => _attached.Remove(device);

    protected internal override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        if (pasid.IsPresent && device.PasidBits == 0)
        {
            return Errno.NotSupported;
        }

        if (pasid.Value >= 1u << Math.Max(1, device.PasidBits))
        {
            return Errno.InvalidArgument;
        }

        lock (Sync)
        {
            ReferenceEquals(pasid.IsPresent ? DomainOf(device, pasid) : _attached[device], current).ShouldBeTrue();
            if (next is FakeDomain fake)
            {
                fake.IsDisposed.ShouldBeFalse();
                if (fake.FormatNumber != FormatOf(device))
                {
                    return Errno.InvalidArgument;
                }
            }
        }

        // Detaching needs no memory; but the hardware must confirm each switch.
        Errno error = next is FakeDomain or FakeNestedDomain ? Injection.Hit(InjectionKind.QueueSpace) : Errno.Success;
        if (error != Errno.Success)
        {
            return error;
        }

        lock (Sync)
        {
            if (!Confirms())
            {
                return Errno.IoError;
            }

            if (!pasid.IsPresent)
            {
                _attached[device] = next;
            }
            else if (next is BlockedDomain)
            {
                _ = _pasids.Remove((device, pasid));
            }
            else
            {
                _pasids[(device, pasid)] = next;
            }

            if (current is FakeDomain old && !IsUsed(old))
            {
                old.FlushAll();
            }
        }

        return Errno.Success;
    }

    protected internal override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) => [];

    protected internal override Errno SendPageResponse(PageRequestGroup group, PageResponseCode code)
    {
        Responses.Add((group, code));
        return Errno.Success;
    }

    public override Errno GetHardwareInfo(out uint type, Span<byte> data, out int needed)
    {
        type = Description.Length == 0 ? 0 : RiscVUapi.HardwareInfoType;
        needed = Description.Length;
        Description.AsSpan(0, Math.Min(data.Length, needed)).CopyTo(data);
        return Errno.Success;
    }

    public override Errno TryAllocateNestedDomain(
        IommuDevice device, PagingDomain parent, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain)
    {
        domain = null;
        if (dataType != RiscVUapi.HwptDataType)
        {
            return Errno.NotSupported;
        }

        if (data.Length < 32 || data[0] == 0xff || parent is not FakeDomain { Options.NestParent: true })
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        FakeNestedDomain made = new(this, parent, data.ToArray());
        lock (Sync)
        {
            NestedDomains.Add(made);
        }

        domain = made;
        return Errno.Success;
    }

    public override Errno TryAllocateVirtualIommu(
        IommuDevice device, PagingDomain parent, uint type, Span<byte> data, out VirtualIommu? made)
    {
        made = null;
        if (type != RiscVUapi.ViommuType)
        {
            return Errno.NotSupported;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        FakeVirtualIommu part = new(this, parent);
        lock (Sync)
        {
            VirtualIommus.Add(part);
        }

        made = part;
        return Errno.Success;
    }
}

/// <summary>A page table that is a dictionary.</summary>
internal sealed class FakeDomain(FakeIommu iommu, int format, PagingDomainOptions options) : PagingDomain
{
    private readonly Dictionary<ulong, (ulong Page, Access Access)> _pages = [];
    private readonly HashSet<ulong> _stale = [];

    private readonly HashSet<ulong> _dirty = [];

    public int FormatNumber => format;

    public PagingDomainOptions Options => options;

    public bool IsTracking { get; private set; }

    public override bool SupportsDirtyTracking => options.DirtyTracking;

    /// <summary>A device writes.</summary>
    public void Touch(ulong iova)
    {
        lock (iommu.Sync)
        {
            TouchLocked(iova);
        }
    }

    private void TouchLocked(ulong iova)
    {
        if (IsTracking && _pages.ContainsKey(iova >> 12))
        {
            _ = _dirty.Add(iova >> 12);
        }
    }

    public override Errno SetDirtyTracking(bool enable)
    {
        if (Injection.Hit(InjectionKind.QueueSpace) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        if (enable && !IsTracking)
        {
            _dirty.Clear();
        }

        IsTracking = enable;
        return Errno.Success;
    }

    public override Errno ReadDirty(Iova iova, ulong length, bool clear, in DirtyBitmap bitmap)
    {
        lock (iommu.Sync)
        {
            return ReadDirtyLocked(iova, length, clear, bitmap);
        }
    }

    private Errno ReadDirtyLocked(Iova iova, ulong length, bool clear, in DirtyBitmap bitmap)
    {
        if (!IsTracking)
        {
            return Errno.InvalidArgument;
        }

        ulong first = iova.Value >> 12;
        ulong last = (iova.Value + (length - 1)) >> 12;
        foreach (ulong page in _dirty.Where(page => page >= first && page <= last).ToArray())
        {
            bitmap.Set(new(page << 12, (page << 12) + 4095));
            if (clear)
            {
                _ = _dirty.Remove(page);
            }
        }

        return Errno.Success;
    }

    public bool IsDisposed { get; private set; }

    public int MappedPages => _pages.Count;

    /// <summary>Every page that is mapped, and every one that devices may still reach.</summary>
    public string Describe()
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        return string.Join(' ', _pages.OrderBy(static page => page.Key).Select(static page => FormattableString.Invariant($"{page.Key:x}>{page.Value.Page:x}{page.Value.Access}")))
            + " stale " + string.Join(' ', _stale.Order().Select(static page => page.ToString("x", System.Globalization.CultureInfo.InvariantCulture)));
    }

    public int MapCalls { get; private set; }

    /// <summary>Those among <see cref="MapCalls"/> that wanted leaves of one page.</summary>
    public int GranuleCalls { get; private set; }

    public override AddressRange Aperture { get; } = iommu.Aperture;

    public override ulong PageSizes { get; } = iommu.PageSizes;

    public override long TableBytes => 4096;

    public bool CanReach(ulong page) => _stale.Contains(page) || _pages.Values.Any(entry => entry.Page == page);

    public void FlushAll() => _stale.Clear();

    public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        IsDisposed.ShouldBeFalse();
        MapCalls++;
        if (((iova.Value | address.Value | length) & 0xfff) != 0 || length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (!Aperture.Contains(iova.Value) || length - 1 > Aperture.Last - iova.Value)
        {
            return Errno.OutOfRange;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        lock (iommu.Sync)
        {
            return MapLocked(iova, address, length, access);
        }
    }

    public override Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        GranuleCalls++;
        return Map(iova, address, length, access);
    }

    private Errno MapLocked(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        for (ulong offset = 0; offset < length; offset += 4096)
        {
            if (_pages.ContainsKey((iova.Value + offset) >> 12))
            {
                return Errno.AddressInUse;
            }
        }

        for (ulong offset = 0; offset < length; offset += 4096)
        {
            _pages.Add((iova.Value + offset) >> 12, ((address.Value + offset) >> 12, access));
        }

        return Errno.Success;
    }

    public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped)
    {
        IsDisposed.ShouldBeFalse();
        using Lock.Scope scope = iommu.Sync.EnterScope();
        unmapped = 0;
        bool fails = ++iommu.Unmaps == iommu.FailsUnmapAt;
        for (ulong offset = 0; offset < length; offset += 4096)
        {
            if (fails && offset >= length >> 13 << 12)
            {
                return Errno.IoError;
            }

            if (_pages.Remove((iova.Value + offset) >> 12, out (ulong Page, Access) entry))
            {
                unmapped += 4096;
                _ = _stale.Add(entry.Page);
                gather.AddLeaves(iova.Value + offset, iova.Value + offset + 4095, 12);
            }
        }

        return Errno.Success;
    }

    public override Errno Sync(ref InvalidationGather gather)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        iommu.Synchronisations++;
        if (iommu.IsUsed(this) && (iommu.FailsToComplete || (!gather.IsEmpty && !iommu.Confirms())))
        {
            return Errno.IoError;
        }

        _stale.Clear();
        gather.Clear();
        return Errno.Success;
    }

    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        leafSize = 4096;
        bool found = _pages.TryGetValue(iova.Value >> 12, out (ulong Page, Access Access) entry);
        address = new((entry.Page << 12) | (iova.Value & 0xfff));
        access = entry.Access;
        return found;
    }

    protected override void Dispose(bool disposing)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        iommu.IsUsed(this).ShouldBeFalse();
        IsDisposed = true;
        _ = iommu.Domains.Remove(this);
        base.Dispose(disposing);
    }
}
