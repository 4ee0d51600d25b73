using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// A guest with as little as will do: three table pages that lead to two data pages, written by hand, on a second stage of the
/// host. Its pages are no pages of the pool, so that the oracle takes them for data.
/// </summary>
internal abstract class NestedScenario : DriverScenario
{
    /// <summary>Guest-physical pages: the tables of two roots, then data.</summary>
    protected const ulong Tables = 0x1000;

    protected const ulong OtherTables = 0x4000;

    protected const ulong Data1 = 0x7000;

    protected const ulong Data2 = 0x8000;

    protected const uint Pscid = 3;

    private const ulong HostBase = 0x20_0000;

    protected NestedScenario(int iommus = 1)
        : base(iommus)
    {
        Device = AddDevice(1);
        Parent = NewSecondStage(Device);
        for (ulong page = Tables; page <= Data2; page += 0x1000)
        {
            Parent.Map(new(page), new(ToHost(page)), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        WriteTables(Tables);
        WriteTables(OtherTables);
    }

    protected IommuDevice Device { get; }

    protected TablePagingDomain Parent { get; }

    protected static ulong ToHost(ulong page) => page + HostBase;

    /// <summary>Maps X or Y in one of the tables; data 0 for nothing.</summary>
    protected void SetLeaf(ulong tables, ulong address, ulong data)
    {
        const ulong bits = PageTableEntry.ValidBit | PageTableEntry.ReadBit | PageTableEntry.WriteBit | PageTableEntry.UserBit
            | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;
        ulong at = tables + 0x2000 + (((address >> 12) & 0x1ff) * 8);
        PlainMemory.Write64(new(ToHost(at)), data == 0 ? 0 : PpnField.FromAddress(data) | bits).ShouldBe(MemoryStatus.Success);
    }

    protected RiscVNestedDomain Nest(ulong tables)
    {
        byte[] data = Guest.Describe(0, (ulong)Pscid << 12, ((ulong)Iosatp.ModeSv39 << 60) | (tables >> 12));
        Device.Iommu.TryAllocateNestedDomain(Device, Parent, NestedTranslation.Type, data, out NestedDomain? domain)
            .ShouldBe(Errno.Success);
        return (RiscVNestedDomain)domain!;
    }

    // X and Y share all tables.
    private void WriteTables(ulong tables)
    {
        Link(tables, (X >> 30) & 0x1ff, tables + 0x1000);
        Link(tables + 0x1000, (X >> 21) & 0x1ff, tables + 0x2000);
    }

    private void Link(ulong table, ulong index, ulong next) =>
        PlainMemory.Write64(new(ToHost(table + (index * 8))), PpnField.FromAddress(next) | PageTableEntry.ValidBit)
            .ShouldBe(MemoryStatus.Success);
}

/// <summary>
/// The guest unmaps a page and has its IOMMU forget it while the host takes another page from the guest: each is out of reach
/// when its call has returned.
/// </summary>
internal sealed class GuestInvalidateAgainstParentUnmap : NestedScenario
{
    private readonly RiscVNestedDomain _nested;
    private int _done;

    public GuestInvalidateAgainstParentUnmap(int iommus = 1)
        : base(iommus)
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        _nested = Nest(Tables);
        Device.Group.Attach(_nested).ShouldBe(Errno.Success);
        if (iommus > 1)
        {
            AddDevice(2, iommu: 1).Group.Attach(Parent).ShouldBe(Errno.Success);
        }

        Dma(Device, X).ShouldBe(DmaStatus.Success);
        Dma(Device, Y).ShouldBe(DmaStatus.Success);
        AddThread("guest", () =>
        {
            SetLeaf(Tables, X, 0);
            Guest.ShouldInvalidate(_nested, Command.InvalidateFirstStage(null, Pscid, X));
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
            Dma(Device, X);
            Dma(Device, Y);
        }));
    }

    public override void CheckAtEnd()
    {
        Dma(Device, X).ShouldNotBe(DmaStatus.Success);
        Dma(Device, Y).ShouldNotBe(DmaStatus.Success);
        Device.Group.Detach().ShouldBe(Errno.Success);
        Drivers[0].Usage.AddressSpaces.ShouldBe(0);
        CheckAlways();
    }
}

/// <summary>A device is attached to a nested domain while the host takes a page from the guest (S4.7).</summary>
internal sealed class NestedAttachAgainstParentUnmap : NestedScenario
{
    private bool _unmapped;

    public NestedAttachAgainstParentUnmap()
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        RiscVNestedDomain nested = Nest(Tables);
        AddThread("attach", () => Device.Group.Attach(nested).ShouldBe(Errno.Success));
        AddThread("host", () =>
        {
            UnmapAndRevoke(Parent, Data1, ToHost(Data1));
            _unmapped = true;
        });
        AddThread("device", () => DmaUntil(() => _unmapped, () => Dma(Device, X)));
    }

    public override void CheckAtEnd()
    {
        Dma(Device, X).ShouldNotBe(DmaStatus.Success);
        Dma(Device, Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>
/// The guest changes the root of its first stage, without a gap, while it unmaps from the old one: what only the old root leads
/// to is out of reach when the change has returned, and no DMA is refused that both roots permit.
/// </summary>
internal sealed class GuestChangesRoot : NestedScenario
{
    private bool _changed;
    private int _refused;

    public GuestChangesRoot()
    {
        SetLeaf(Tables, X, Data1);
        SetLeaf(Tables, Y, Data2);
        SetLeaf(OtherTables, Y, Data2);
        RiscVNestedDomain before = Nest(Tables);
        RiscVNestedDomain after = Nest(OtherTables);
        Device.Group.Attach(before).ShouldBe(Errno.Success);
        Dma(Device, X).ShouldBe(DmaStatus.Success);
        AddThread("change", () =>
        {
            Device.Group.Attach(after).ShouldBe(Errno.Success);
            Oracle.Revoke(ToHost(Data1), Device);
            _changed = true;
        });
        AddThread("guest", () => Guest.ShouldInvalidate(before, Command.InvalidateFirstStage(null, Pscid, X)));
        AddThread("device", () => DmaUntil(() => _changed, () =>
        {
            Dma(Device, X);
            _refused += Dma(Device, Y) == DmaStatus.Success ? 0 : 1;
        }));
    }

    public override void CheckAtEnd()
    {
        _refused.ShouldBe(0);
        Dma(Device, X).ShouldNotBe(DmaStatus.Success);
        Dma(Device, Y).ShouldBe(DmaStatus.Success);
        CheckAlways();
    }
}

/// <summary>A guest's device is unplugged while the guest has its IOMMU forget contexts and addresses (S4.3).</summary>
internal sealed class NestedUnplug : NestedScenario
{
    private bool _gone;

    public NestedUnplug()
    {
        SetLeaf(Tables, X, Data1);
        RiscVNestedDomain nested = Nest(Tables);
        Device.Group.Attach(nested).ShouldBe(Errno.Success);
        Dma(Device, X).ShouldBe(DmaStatus.Success);
        AddThread("unplug", () =>
        {
            Core.RemoveDevice(Device);
            Oracle.Revoke(ToHost(Data1), Device);
            _gone = true;
        });
        AddThread("guest", () => Guest.ShouldInvalidate(
            nested, Command.InvalidateDeviceDirectory(9), Command.InvalidateFirstStage(null, Pscid, X)));
        AddThread("device", () => DmaUntil(() => _gone, () => Dma(Device, X)));
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
