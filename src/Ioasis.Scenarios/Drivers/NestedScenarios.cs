using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.Scenarios.Checks;
using Ioasis.Testing;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// A guest with as little as will do: a page for each level of tables, which lead to two data pages, written by hand, on a second stage
/// of the host. Its pages are no pages of the pool, so that the oracle takes them for data.
/// </summary>
internal abstract class NestedScenario : DriverScenario
{
    /// <summary>Guest-physical pages: the tables of two roots, then data.</summary>
    protected const ulong Tables = 0x1000;

    protected const ulong OtherTables = 0x5000;

    protected const ulong Data1 = 0x9000;

    protected const ulong Data2 = 0xa000;

    private const ulong HostBase = 0x20_0000;

    protected NestedScenario(
        int iommus = 1, IommuKind kind = IommuKind.RiscV, uint pasid = 0, int pasidBits = 0, UnconfirmedIommu? stopping = null)
        : base(iommus, kind: kind, stopping: stopping)
    {
        Device = AddDevice(1, pasidBits: pasid == 0 ? pasidBits : 8);
        Pasid = new(pasid);
        Guest = ScenarioGuest.Of(kind);
        Parent = NewSecondStage(Device);
        for (ulong page = Tables; page <= Data2; page += 0x1000)
        {
            Parent.Map(new(page), new(ToHost(page)), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        WriteTables(Tables);
        WriteTables(OtherTables);
    }

    protected IommuDevice Device { get; }

    /// <summary>The PASID whose DMA the guest's table translates; none for the device's own.</summary>
    protected Pasid Pasid { get; }

    protected TablePagingDomain Parent { get; }

    protected ScenarioGuest Guest { get; }

    protected static ulong ToHost(ulong page) => page + HostBase;

    /// <summary>Maps X or Y in one of the tables; data 0 for nothing.</summary>
    protected void SetLeaf(ulong tables, ulong address, ulong data) => PlainMemory.Write64(
        new(ToHost(tables + ((ulong)(Guest.Levels - 1) << 12) + (IndexOf(address, Guest.Levels - 1) * 8))), data == 0 ? 0 : Guest.Leaf(data))
        .ShouldBe(MemoryStatus.Success);

    protected NestedDomain Nest(ulong tables) => Guest.Nest(Device, Parent, tables);

    /// <summary>DMA that the guest's table translates.</summary>
    protected DmaStatus GuestDma(ulong address) => Dma(Device, address, Pasid);

    protected Errno Attach(Domain domain) =>
        Pasid.IsPresent ? Device.Group.AttachPasid(Pasid, domain) : Device.Group.Attach(domain);

    protected Errno Replace(Domain domain) =>
        Pasid.IsPresent ? Device.Group.ReplacePasid(Pasid, domain) : Device.Group.Attach(domain);

    protected Errno Detach() => Pasid.IsPresent ? Device.Group.DetachPasid(Pasid) : Device.Group.Detach();

    // X and Y share all tables.
    private void WriteTables(ulong tables)
    {
        for (int level = 0; level < Guest.Levels - 1; level++)
        {
            ulong table = tables + ((ulong)level << 12);
            PlainMemory.Write64(new(ToHost(table + (IndexOf(X, level) * 8))), Guest.Link(table + 0x1000)).ShouldBe(MemoryStatus.Success);
        }
    }

    private ulong IndexOf(ulong address, int level) => (address >> (12 + (9 * (Guest.Levels - 1 - level)))) & 0x1ff;
}

/// <summary>
/// The guest unmaps a page and has its IOMMU forget it while the host takes another page from the guest: each is out of reach
/// when its call has returned.
/// </summary>
internal sealed class GuestInvalidateAgainstParentUnmap : NestedScenario
{
    private readonly NestedDomain _nested;
    private int _done;

    public GuestInvalidateAgainstParentUnmap(int iommus = 1, IommuKind kind = IommuKind.RiscV, uint pasid = 0)
        : base(iommus, kind, pasid)
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        _nested = Nest(Tables);
        Attach(_nested).ShouldBe(Errno.Success);
        if (iommus > 1)
        {
            AddDevice(2, iommu: 1).Group.Attach(Parent).ShouldBe(Errno.Success);
        }

        GuestDma(X).ShouldBe(DmaStatus.Success);
        GuestDma(Y).ShouldBe(DmaStatus.Success);
        AddThread("guest", () =>
        {
            SetLeaf(Tables, X, 0);
            Guest.Invalidate(_nested, X);
            Oracle.Revoke(ToHost(Data1), Device);
            _done++;
        });
        AddThread("host", () =>
        {
            UnmapAndRevoke(Parent, Data2, ToHost(Data2));
            _done++;
        });
        AddThread("device", () => DmaUntil(() => _done == 2, () =>
        {
            GuestDma(X);
            GuestDma(Y);
        }));
    }

    public override void CheckAtEnd()
    {
        GuestDma(X).ShouldNotBe(DmaStatus.Success);
        GuestDma(Y).ShouldNotBe(DmaStatus.Success);
        Detach().ShouldBe(Errno.Success);
        Drivers[0].Usage.AddressSpaces.ShouldBe(0);
        CheckAlways();
    }
}

/// <summary>A device is attached to a nested domain while the host takes a page from the guest (S4.7).</summary>
internal sealed class NestedAttachAgainstParentUnmap : NestedScenario
{
    private bool _unmapped;

    public NestedAttachAgainstParentUnmap(IommuKind kind = IommuKind.RiscV, uint pasid = 0)
        : base(kind: kind, pasid: pasid)
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        NestedDomain nested = Nest(Tables);
        AddThread("attach", () => Attach(nested).ShouldBe(Errno.Success));
        AddThread("host", () =>
        {
            UnmapAndRevoke(Parent, Data1, ToHost(Data1));
            _unmapped = true;
        });
        AddThread("device", () => DmaUntil(() => _unmapped, () => GuestDma(X)));
    }

    public override void CheckAtEnd()
    {
        GuestDma(X).ShouldNotBe(DmaStatus.Success);
        GuestDma(Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>
/// The guest changes the root of its first stage while it unmaps from the old one: what only the old root leads to is out of reach when
/// the change has returned. DMA that both roots permit is refused at most while a change goes on that cannot be made in one step.
/// </summary>
internal sealed class GuestChangesRoot : NestedScenario
{
    private bool _changes;
    private bool _changed;
    private int _refused;

    public GuestChangesRoot(IommuKind kind = IommuKind.RiscV, uint pasid = 0)
        : base(kind: kind, pasid: pasid)
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        SetLeaf(OtherTables, Y, Data2);
        NestedDomain before = Nest(Tables);
        NestedDomain after = Nest(OtherTables);
        Attach(before).ShouldBe(Errno.Success);
        GuestDma(X).ShouldBe(DmaStatus.Success);
        AddThread("change", () =>
        {
            _changes = true;
            Replace(after).ShouldBe(Errno.Success);
            Oracle.Revoke(ToHost(Data1), Device);
            _changed = true;
        });
        AddThread("guest", () => Guest.Invalidate(before, X));
        AddThread("device", () => DmaUntil(() => _changed, () =>
        {
            GuestDma(X);

            // What overlaps the change, by a part at least.
            bool isOver = _changed;
            bool isRefused = GuestDma(Y) != DmaStatus.Success;
            _refused += isRefused && (Iommus[0].SwitchesInOneStep || isOver || !_changes) ? 1 : 0;
        }));
    }

    public override void CheckAtEnd()
    {
        _refused.ShouldBe(0);
        GuestDma(X).ShouldNotBe(DmaStatus.Success);
        GuestDma(Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>A guest's device is unplugged while the guest has its IOMMU forget contexts and addresses (S4.3).</summary>
internal sealed class NestedUnplug : NestedScenario
{
    private bool _gone;

    public NestedUnplug(IommuKind kind = IommuKind.RiscV)
        : base(kind: kind)
    {
        SetLeaf(Tables, X, Data1);
        NestedDomain nested = Nest(Tables);
        Attach(nested).ShouldBe(Errno.Success);
        GuestDma(X).ShouldBe(DmaStatus.Success);
        AddThread("unplug", () =>
        {
            Core.RemoveDevice(Device);
            Oracle.Revoke(ToHost(Data1), Device);
            _gone = true;
        });
        AddThread("guest", () => Guest.InvalidateDevice(nested, X));
        AddThread("device", () => DmaUntil(() => _gone, () => GuestDma(X)));
    }

    public override void CheckAtEnd()
    {
        Drivers[0].Usage.AddressSpaces.ShouldBe(0);
        Parent.BondCount.ShouldBe(0);
        CheckAlways();
    }
}

/// <summary>A device loses its name in a guest's IOMMU while a fault of it is on its way: afterwards none is reported.</summary>
internal sealed class NameTakenAgainstEvent : NestedScenario, IVirtualEventSink
{
    private readonly VirtualIommu _part;
    private int _events;
    private bool _removed;

    public NameTakenAgainstEvent()
    {
        Device.Group.Attach(Nest(Tables)).ShouldBe(Errno.Success);
        Drivers[0].TryAllocateVirtualIommu(Device, Parent, NestedTranslation.Type, [], out VirtualIommu? part)
            .ShouldBe(Errno.Success);
        _part = part!;
        _part.Events = this;
        _part.AddDevice(Device, 7).ShouldBe(Errno.Success);
        Dma(Device, Y).ShouldNotBe(DmaStatus.Success);
        AddThread("interrupt", () => Iommus[0].HandleFaults());
        AddThread("remove", () =>
        {
            _part.RemoveDevice(Device);
            _removed = true;
        });
    }

    public void OnEvent(uint type, ReadOnlySpan<byte> data)
    {
        _ = Injection.Hit(InjectionKind.MemoryWrite);
        _events++;
        if (_removed)
        {
            Oracle.Blame($"an event of a device that has no name any more");
        }
    }

    public override void CheckAtEnd()
    {
        _events.ShouldBeLessThanOrEqualTo(1);
        CheckAlways();
    }
}
