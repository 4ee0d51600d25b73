using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// A table page goes with its range while another thread needs one: it may be used again only after the fence (S4.14).
/// </summary>
internal sealed class TablesAgainstMap : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private bool _mapped;

    public TablesAgainstMap(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _domain = NewDomain(_device, (X, P1));
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_device, X);
        AddThread("unmap", () => UnmapAndRevoke(_domain, X, P1, 1ul << 21));
        AddThread("map", () =>
        {
            _domain.Map(new(Z), new(P3), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
            _mapped = true;
        });
        AddThread("device", () => DmaUntil(() => _mapped, () =>
        {
            // Not mapped, but in the table that goes: a walk for it that starts from a cached pointer reads that table.
            Dma(_device, Y);
            Dma(_device, Z);
        }));
    }

    public override void CheckAtEnd()
    {
        Dma(_device, X).ShouldNotBe(DmaStatus.Success);
        Dma(_device, Z).ShouldBe(DmaStatus.Success);
        UnmapAndRevoke(_domain, Z, P3, 1ul << 21);
        _device.Group.Detach().ShouldBe(Errno.Success);
        CheckAlways();
    }
}

/// <summary>Two threads map and unmap neighbours that share a table, whose page both may want to make.</summary>
internal sealed class Neighbours : DriverScenario
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private int _done;

    public Neighbours(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _domain = NewDomain(_device);
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Worker("first", X, P1);
        Worker("second", Y, P2);
        AddThread("device", () => DmaUntil(() => _done == 2, () =>
        {
            Dma(_device, X);
            Dma(_device, Y);
        }));
    }

    public override void CheckAtEnd()
    {
        Dma(_device, X).ShouldNotBe(DmaStatus.Success);
        Dma(_device, Y).ShouldNotBe(DmaStatus.Success);
        CheckAlways();
    }

    private void Worker(string name, ulong iova, ulong page) => AddThread(name, () =>
    {
        _domain.Map(new(iova), new(page), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        UnmapAndRevoke(_domain, iova, page);
        _done++;
    });
}

/// <summary>
/// Unmaps are deferred and flushed by whoever comes first while the same IOVAs are mapped again: no DMA to them reaches the
/// old page once the new mapping is there, nor once the old page was released (invariant 2).
/// </summary>
internal sealed class LazyFlushAgainstReuse : DriverScenario, ILazyRelease
{
    private readonly IommuDevice _device;
    private readonly TablePagingDomain _domain;
    private readonly LazyInvalidation _lazy;
    private bool _unmapped;
    private bool _mapped;

    public LazyFlushAgainstReuse(bool asksBeforeMap = true, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        _device = AddDevice(1);
        _domain = NewDomain(_device, (X, P1), (Z, P3));
        _lazy = new(_domain, new() { Capacity = 2, TimeProvider = Time });
        _device.Group.Attach(_domain).ShouldBe(Errno.Success);
        Dma(_device, X);
        Dma(_device, Z);
        AddThread("unmap", () =>
        {
            Unmap(X, P1);
            _unmapped = true;
            Unmap(Z, P3);
        });
        AddThread("map", () =>
        {
            while (!_unmapped)
            {
                _ = Injection.Hit(InjectionKind.Wait);
            }

            if (asksBeforeMap)
            {
                _lazy.FlushIfOverlaps(new(X, X + 0xfff)).ShouldBe(Errno.Success);
            }

            _domain.Map(new(X), new(P2), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
            Oracle.Revoke(P1);
            _mapped = true;
        });
        AddThread("flush", () => _lazy.Flush().ShouldBe(Errno.Success));
        AddThread("device", () => DmaUntil(() => _mapped, () =>
        {
            Dma(_device, X);
            Dma(_device, Z);
        }));
    }

    public void Release(AddressRange range, ulong cookie0, ulong cookie1) => Oracle.Revoke(cookie0);

    public override void CheckAtEnd()
    {
        _lazy.Flush().ShouldBe(Errno.Success);
        _lazy.PendingCount.ShouldBe(0);
        Dma(_device, X).ShouldBe(DmaStatus.Success);
        Dma(_device, Z).ShouldNotBe(DmaStatus.Success);
        CheckAlways();
    }

    private void Unmap(ulong iova, ulong page)
    {
        InvalidationGather gather = default;
        _domain.Unmap(new(iova), 4096, ref gather).ShouldBe(4096ul);
        _lazy.Defer(ref gather, new(iova, iova + 0xfff), this, page, 0).ShouldBe(Errno.Success);
    }
}
