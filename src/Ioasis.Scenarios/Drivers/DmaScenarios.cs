using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>A group with a DMA domain, in which every IOVA that comes again can be told from the first.</summary>
internal abstract class DmaScenario : DriverScenario
{
    /// <summary>Room for two pages: IOVAs 0x1000 and 0x2000.</summary>
    private const ulong Mask = 0x2fff;

    private readonly ulong _reserved;

    protected DmaScenario(DmaMode mode, int caches = 1, IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        // VT-d keeps the interrupt addresses, 0xfee00000 to 0xfeefffff (section 3.15).
        _reserved = kind == IommuKind.RiscV ? 0ul : 0x10_0000;
        Device = AddDevice(1);
        DmaDomain.TryCreate(
            Device,
            new()
            {
                Mode = mode,
                UseTimer = false,
                TimeProvider = Time,
                QueueCapacity = 2,
                Slots = 2,
                SlotChooser = Number,
                Iova = new()
                {
                    Slots = caches, SlotChooser = Number, MagazineSize = 2, RefillCount = caches, DepotMagazines = 1,
                },
            },
            out DmaDomain? domain).ShouldBe(Errno.Success);
        Domain = domain!;
        Device.Group.SetDefaultDomain(Domain).ShouldBe(Errno.Success);
        DmaDevice.TryOpen(Device, new() { AddressMask = Mask }, out DmaDevice? dma).ShouldBe(Errno.Success);
        Mapper = dma!;
    }

    protected IommuDevice Device { get; }

    protected DmaDomain Domain { get; }

    protected DmaDevice Mapper { get; }

    protected void Touch(ulong iova) => _ = Dma(Device, iova);

    protected Iova Map(ulong page)
    {
        Mapper.Map(new(page), 4096, DmaDirection.Bidirectional, out Iova address).ShouldBe(Errno.Success);
        return address;
    }

    protected void CheckIovas()
    {
        Domain.Iovas.FlushCaches();
        Domain.Iovas.Statistics.FreeBytes.ShouldBe(Domain.Paging.Aperture.Last + 1 - 4096 - _reserved);
    }

    // Each logical thread has a processor of its own.
    private static int Number() => string.Equals(RunningThread, "second", StringComparison.Ordinal) ? 1 : 0;
}

/// <summary>
/// Two threads map and unmap in a space of two pages while a third flushes: an IOVA that comes again must never lead the
/// device to the page that it led to before, for that page is somebody else's by then (invariant 2).
/// </summary>
internal sealed class DmaFlushAgainstReuse : DmaScenario
{
    private readonly Dictionary<ulong, ulong> _pages = [];
    private int _done;

    public DmaFlushAgainstReuse(IommuKind kind = IommuKind.RiscV)
        : base(DmaMode.Lazy, kind: kind)
    {
        Iova x = MapAnew(P1);
        Touch(x.Value);
        AddThread("first", () =>
        {
            Mapper.Unmap(x, 4096).ShouldBe(Errno.Success);
            MapAndUnmap(P2);
        });
        AddThread("second", () => MapAndUnmap(P3));
        AddThread("flush", () => Domain.Flush().ShouldBe(Errno.Success));
        AddThread("device", () => DmaUntil(() => _done == 2, () =>
        {
            Touch(0x1000);
            Touch(0x2000);
        }));
    }

    public override void CheckAtEnd()
    {
        Domain.Flush().ShouldBe(Errno.Success);
        Domain.PendingCount.ShouldBe(0);
        foreach (ulong page in (ulong[])[P1, P2, P3])
        {
            Oracle.Revoke(page);
        }

        Touch(0x1000);
        Touch(0x2000);
        CheckAlways();
        CheckIovas();
    }

    private void MapAndUnmap(ulong page)
    {
        Iova address = MapAnew(page);
        Touch(address.Value);
        Mapper.Unmap(address, 4096).ShouldBe(Errno.Success);
        _done++;
    }

    // The page to which the IOVA led before is released as soon as the IOVA comes again.
    private Iova MapAnew(ulong page)
    {
        Iova address = Map(page);
        if (_pages.TryGetValue(address.Value, out ulong before))
        {
            Oracle.Revoke(before);
        }

        _pages[address.Value] = page;
        return address;
    }
}

/// <summary>Two threads map and unmap neighbours strictly: what one unmaps is out of reach when its call returns.</summary>
internal sealed class DmaNeighbours : DmaScenario
{
    private int _done;

    public DmaNeighbours(IommuKind kind = IommuKind.RiscV)
        : base(DmaMode.Strict, kind: kind)
    {
        Worker("first", P1);
        Worker("second", P2);
        AddThread("device", () => DmaUntil(() => _done == 2, () =>
        {
            Touch(0x1000);
            Touch(0x2000);
        }));
    }

    public override void CheckAtEnd()
    {
        Touch(0x1000);
        Touch(0x2000);
        CheckAlways();
        Domain.PendingCount.ShouldBe(0);
        CheckIovas();
    }

    private void Worker(string name, ulong page) => AddThread(name, () =>
    {
        Iova address = Map(page);
        Touch(address.Value);
        Mapper.Unmap(address, 4096).ShouldBe(Errno.Success);
        Oracle.Revoke(page);
        _done++;
    });
}

/// <summary>
/// Two threads have no more than one page each mapped, in a space of two pages: no map fails, though the other thread's unmaps
/// wait for their flush, or its processor has at hand what is free.
/// </summary>
internal sealed class DmaNearlyFull : DmaScenario
{
    public DmaNearlyFull(DmaMode mode, IommuKind kind = IommuKind.RiscV)
        : base(mode, caches: 2, kind: kind)
    {
        AddThread("first", () => MapAndUnmap(P1));
        AddThread("second", () => MapAndUnmap(P2));
    }

    public override void CheckAtEnd()
    {
        Domain.Flush().ShouldBe(Errno.Success);
        CheckAlways();
        CheckIovas();
    }

    private void MapAndUnmap(ulong page)
    {
        for (int round = 0; round < 3; round++)
        {
            Mapper.Unmap(Map(page), 4096).ShouldBe(Errno.Success);
        }
    }
}
