using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// An IOMMU of which only the driver seam exists. It forgets nothing by itself: whatever was mapped while a device was
/// attached can be reached until a synchronisation covers it. All that can fail passes an injection point.
/// </summary>
internal sealed class FakeIommu : IommuInstance
{
    private readonly Dictionary<IommuDevice, Domain> _attached = [];

    public override string Name => "fake";

    public override IommuCapabilities Capabilities { get; } = new() { Nesting = true, DirtyTracking = true, PasidBits = 8 };

    public AddressRange Aperture { get; set; } = new(0, (1ul << 47) - 1);

    public ulong PageSizes { get; set; } = 0x4020_1000;

    /// <summary>Devices cannot use each other's domains unless this is the same for both.</summary>
    public Func<IommuDevice, int> FormatOf { get; init; } = static _ => 0;

    public List<FakeDomain> Domains { get; } = [];

    public bool FailsToComplete { get; set; }

    public int Synchronisations { get; set; }

    public Domain DomainOf(IommuDevice device) => _attached[device];

    public bool IsUsed(Domain domain) => _attached.ContainsValue(domain);

    public bool CanReach(ulong page) => Domains.Exists(domain => IsUsed(domain) && domain.CanReach(page));

    public override Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        domain = null;
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        FakeDomain made = new(this, FormatOf(device));
        Domains.Add(made);
        domain = made;
        return Errno.Success;
    }

    protected override Errno ProbeDevice(IommuDevice device)
    {
        _attached.Add(device, BlockedDomain.Instance);
        return Errno.Success;
    }

    protected override void ReleaseDevice(IommuDevice device) => _attached.Remove(device);

    protected override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        ReferenceEquals(_attached[device], current).ShouldBeTrue();
        if (next is FakeDomain fake)
        {
            fake.IsDisposed.ShouldBeFalse();
            if (fake.Format != FormatOf(device))
            {
                return Errno.InvalidArgument;
            }

            // Detaching cannot fail; anything else may.
            Errno error = Injection.Hit(InjectionKind.QueueSpace);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        _attached[device] = next;
        if (current is FakeDomain old && !IsUsed(old))
        {
            old.FlushAll();
        }

        return Errno.Success;
    }

    protected override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) => [];
}

/// <summary>A page table that is a dictionary.</summary>
internal sealed class FakeDomain(FakeIommu iommu, int format) : PagingDomain
{
    private readonly Dictionary<ulong, (ulong Page, Access Access)> _pages = [];
    private readonly HashSet<ulong> _stale = [];

    public int Format => format;

    public bool IsDisposed { get; private set; }

    public int MappedPages => _pages.Count;

    public int MapCalls { get; private set; }

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

    public override ulong Unmap(Iova iova, ulong length, ref InvalidationGather gather)
    {
        IsDisposed.ShouldBeFalse();
        ulong unmapped = 0;
        for (ulong offset = 0; offset < length; offset += 4096)
        {
            if (_pages.Remove((iova.Value + offset) >> 12, out (ulong Page, Access) entry))
            {
                unmapped += 4096;
                _ = _stale.Add(entry.Page);
                gather.AddLeaves(iova.Value + offset, iova.Value + offset + 4095, 12);
            }
        }

        return unmapped;
    }

    public override Errno Sync(ref InvalidationGather gather)
    {
        iommu.Synchronisations++;
        if (iommu.FailsToComplete && iommu.IsUsed(this))
        {
            return Errno.IoError;
        }

        _stale.Clear();
        gather.Clear();
        return Errno.Success;
    }

    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
    {
        leafSize = 4096;
        bool found = _pages.TryGetValue(iova.Value >> 12, out (ulong Page, Access Access) entry);
        address = new((entry.Page << 12) | (iova.Value & 0xfff));
        access = entry.Access;
        return found;
    }

    protected override void Dispose(bool disposing)
    {
        iommu.IsUsed(this).ShouldBeFalse();
        IsDisposed = true;
        _ = iommu.Domains.Remove(this);
        base.Dispose(disposing);
    }
}
