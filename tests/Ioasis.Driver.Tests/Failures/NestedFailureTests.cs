using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Failures;

/// <summary>
/// What a guest and its host ask of a driver, with every step failing once: switches to, between and from second stages and nested domains,
/// the guest's invalidations, the host's maps and unmaps below it. A call succeeds or changes nothing, on RISC-V, and on VT-d also PASID by
/// PASID. An oracle looks at each access of driver and hardware.
/// </summary>
[Trait("Requirement", "S4.8")]
[Trait("Requirement", "S4.15")]
[Trait("Requirement", "S4.17")]
public sealed class NestedFailureTests
{
    /// <summary>What a device, or a PASID of it, is attached to.</summary>
    public enum Place
    {
        /// <summary>Nothing.</summary>
        Blocked,

        /// <summary>A table of the host's, a first stage where the IOMMU has them.</summary>
        Own,

        /// <summary>The second stage under the guest.</summary>
        Second,

        /// <summary>A table of the guest's.</summary>
        Nested,

        /// <summary>Another table of the guest's.</summary>
        OtherNested,
    }

    /// <summary>What is done while the device is attached to a table of the guest's.</summary>
    public enum Call
    {
        /// <summary>The guest unmaps a page and has it forgotten.</summary>
        Invalidate,

        /// <summary>The host maps more of the guest's memory.</summary>
        Map,

        /// <summary>The host takes a page from the guest.</summary>
        Unmap,

        /// <summary>The device is unplugged.</summary>
        Unplug,
    }

    // On RISC-V a guest's table is a device's; what the device has beside it are the host's PASIDs or none.
    private static readonly (IommuKind Kind, uint Pasid, int PasidBits)[] s_machines =
    [
        (IommuKind.RiscV, 0, 0),
        (IommuKind.RiscV, 0, 8),
        (IommuKind.Vtd, 0, 0),
        (IommuKind.Vtd, 5, 8),
        (IommuKind.VtdFirstStage, 5, 8),
        (IommuKind.VtdCachingMode, 5, 8),
    ];

    public static MatrixTheoryData<int, Failure> Machines { get; } = new(Enumerable.Range(0, s_machines.Length), Enum.GetValues<Failure>());

    // A page table whose memory has failed is in no known state (IoPageTable): a map lets only the rest fail.
    public static TheoryData<int, Failure, Call> Calls { get; } =
    [
        .. new MatrixTheoryData<int, Failure, Call>(Enumerable.Range(0, s_machines.Length), Enum.GetValues<Failure>(), Enum.GetValues<Call>())
            .Where(static row => row.Data is not (_, Failure.Write or Failure.Read, Call.Map)),
    ];

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_switch_succeeds_or_changes_nothing(int machine, Failure failure)
    {
        int steps = 0;
        foreach (Place from in Enum.GetValues<Place>())
        {
            // The guest's second table is there to be changed with the first.
            foreach (Place to in Enum.GetValues<Place>().Where(to => to != from
                && ((from != Place.OtherNested && to != Place.OtherNested) || from == Place.Nested || to == Place.Nested)))
            {
                steps += EveryFailure.Run(
                    failure,
                    s_machines[machine].Kind,
                    iommu => new State(s_machines[machine], from, iommu),
                    state => state.Switch(to),
                    (state, result) =>
                    {
                        Place now = result == Errno.Success ? to : from;
                        state.ShouldBeAt(now);
                        if (failure.LeavesNothing())
                        {
                            state.ShouldHaveNothingElse(now);
                        }

                        // And back again, as if nothing had been.
                        state.Switch(from).ShouldBe(Errno.Success);
                        state.ShouldBeAt(from);
                        state.End();
                    });
            }
        }

        steps.ShouldBeGreaterThanOrEqualTo(10);
        TestContext.Current.TestOutputHelper?.WriteLine($"{steps} steps");
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public void A_call_on_a_guests_table_succeeds_or_can_be_repeated(int machine, Failure failure, Call call)
    {
        int steps = EveryFailure.Run(
            failure,
            s_machines[machine].Kind,
            iommu => new State(s_machines[machine], Place.Nested, iommu).Prepared(call),
            state => state.Do(call),
            (state, result) => state.ShouldHaveDone(call, result == Errno.Success, failure));

        // To map what was not mapped needs no invalidation, but in caching mode.
        bool needsNone = call == Call.Map && failure.IsOfIommu() && s_machines[machine].Kind != IommuKind.VtdCachingMode;
        (steps > 0).ShouldBe(!needsNone);
        TestContext.Current.TestOutputHelper?.WriteLine($"{steps} steps");
    }

    /// <summary>A guest's device; on VT-d with another PASID beside, which another table of the guest's has all the time.</summary>
    private sealed class State : NestedScenario, IFailureState
    {
        // What the host maps later: in a table of its own.
        private const ulong More = 0x60_0000_0000 >> 2;

        private static readonly Pasid s_neighbour = new(6);

        private readonly IommuKind _kind;
        private readonly TablePagingDomain _own;
        private readonly NestedDomain _nested;
        private readonly NestedDomain _other;
        private readonly long _bytes;
        private readonly int _spaces;
        private InvalidationGather _gather;
        private uint _done;

        public State((IommuKind Kind, uint Pasid, int PasidBits) machine, Place from, UnconfirmedIommu? iommu)
            : base(kind: machine.Kind, pasid: machine.Pasid, pasidBits: machine.PasidBits, stopping: iommu)
        {
            _kind = machine.Kind;
            _own = NewDomain(Device, (X, P1));
            Parent.Map(new(X), new(P2), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
            SetLeaf(Tables, X, Data1);
            SetLeaf(OtherTables, X, Data2);
            _nested = Nest(Tables);
            _other = Nest(OtherTables);
            if (Pasid.IsPresent)
            {
                Device.Group.AttachPasid(s_neighbour, Nest(OtherTables)).ShouldBe(Errno.Success);
            }

            Switch(from).ShouldBe(Errno.Success);
            ShouldBeAt(from);
            (_bytes, _spaces) = (AllocatedBytes, Drivers[0].Usage.AddressSpaces);
        }

        private bool IsAttached => Core.Devices.Contains(Device);

        public Errno Switch(Place to)
        {
            Domain next = At(to);
            if (!Pasid.IsPresent)
            {
                return Device.Group.Attach(next);
            }

            return next is BlockedDomain ? Detach()
                : Device.Group.GetPasidDomain(Pasid) is BlockedDomain ? Device.Group.AttachPasid(Pasid, next)
                : Device.Group.ReplacePasid(Pasid, next);
        }

        public void ShouldBeAt(Place place)
        {
            (Pasid.IsPresent ? Device.Group.GetPasidDomain(Pasid) : Device.Group.Domain).ShouldBeSameAs(At(place));
            ShouldReach(Pasid, X, place switch
            {
                Place.Blocked => null,
                Place.Own => P1,
                Place.Second => P2,
                Place.Nested => ToHost(Data1),
                _ => ToHost(Data2),
            });
            ShouldHaveItsNeighbour();
        }

        // Numbers and pages: what the place needs, and no more.
        public void ShouldHaveNothingElse(Place place)
        {
            (_own.BondCount, Parent.BondCount).ShouldBe(BondsAt(place));
            int spaces = _own.BondCount + Parent.BondCount;
            Drivers[0].Usage.AddressSpaces.ShouldBe(spaces);
            if (Drivers[0] is RiscVIommuInstance driver)
            {
                (driver.Statistics.PscidsInUse, driver.Statistics.GscidsInUse).ShouldBe((_own.BondCount, Parent.BondCount));
            }

            AllocatedBytes.ShouldBe(_bytes);
        }

        public void ShouldHaveKept()
        {
            Drivers[0].Usage.AddressSpaces.ShouldBeGreaterThanOrEqualTo(_spaces);
            AllocatedBytes.ShouldBeGreaterThanOrEqualTo(_bytes);
        }

        /// <summary>What comes before the call, with nothing that fails.</summary>
        public State Prepared(Call call)
        {
            if (call == Call.Invalidate)
            {
                SetLeaf(Tables, X, 0);
            }
            else if (call == Call.Unmap)
            {
                Parent.Unmap(new(Data1), 4096, ref _gather, out _).ShouldBe(Errno.Success);
            }

            return this;
        }

        public Errno Do(Call call)
        {
            switch (call)
            {
                case Call.Invalidate:
                    return Guest.TryInvalidate(_nested, X, out _done);
                case Call.Map:
                    return Parent.Map(new(More), new(P3), 4096, Access.ReadWrite);
                case Call.Unmap:
                    return Parent.Sync(ref _gather);
                default:
                    Core.RemoveDevice(Device);
                    return Parent.BondCount == 0 ? Errno.Success : Errno.IoError;
            }
        }

        public void ShouldHaveDone(Call call, bool isDone, Failure failure)
        {
            switch (call)
            {
                case Call.Invalidate:
                    _done.ShouldBe(isDone ? 1u : 0u);
                    (isDone ? Errno.Success : Do(call)).ShouldBe(Errno.Success);
                    Oracle.Revoke(ToHost(Data1), Device);
                    ShouldReach(Pasid, X, null);
                    break;
                case Call.Map:
                    Parent.TryTranslate(new(More), out _, out _, out _).ShouldBe(isDone);
                    if (!isDone && failure == Failure.Resource && _kind != IommuKind.VtdCachingMode)
                    {
                        // Where absence is cached, tables that a walk may be in stay the domain's.
                        AllocatedBytes.ShouldBe(_bytes);
                    }

                    (isDone ? Errno.Success : Do(call)).ShouldBe(Errno.Success);
                    SetLeaf(Tables, Y, More);
                    ShouldReach(Pasid, Y, P3);
                    ShouldReach(Pasid, X, ToHost(Data1));
                    break;
                case Call.Unmap:
                    _gather.IsEmpty.ShouldBe(isDone);
                    (isDone ? Errno.Success : Do(call)).ShouldBe(Errno.Success);
                    Oracle.Revoke(ToHost(Data1));
                    ShouldReach(Pasid, X, null);
                    break;
                default:
                    // It is gone whatever fails; what was not confirmed stays until the IOMMU is off.
                    Core.Devices.ShouldNotContain(Device);
                    Drivers[0].Usage.AddressSpaces.ShouldBe(isDone ? 0 : 1);
                    break;
            }

            if (IsAttached)
            {
                ShouldHaveItsNeighbour();
            }

            End();
        }

        // Everything can be undone, and then nothing is left, in the IOMMU and in memory.
        public void End()
        {
            if (IsAttached)
            {
                Detach().ShouldBe(Errno.Success);
                ShouldReach(Pasid, X, null);
                Core.RemoveDevice(Device);
            }

            Iommus[0].RemoveDriver();
            (_own.BondCount, Parent.BondCount).ShouldBe((0, 0));
            _own.Dispose();
            Parent.Dispose();
            AllocatedBytes.ShouldBe(0);
            CheckAlways();
        }

        private Domain At(Place place) => place switch
        {
            Place.Blocked => BlockedDomain.Instance,
            Place.Own => _own,
            Place.Second => Parent,
            Place.Nested => _nested,
            _ => _other,
        };

        private (int Own, int Parent) BondsAt(Place place) =>
            (place == Place.Own ? 1 : 0, place >= Place.Second || Pasid.IsPresent ? 1 : 0);

        private void ShouldHaveItsNeighbour()
        {
            if (Pasid.IsPresent)
            {
                ShouldReach(s_neighbour, X, ToHost(Data2));
            }
        }

        private void ShouldReach(Pasid pasid, ulong address, ulong? page)
        {
            DmaFlags flags = DmaFlags.Write | (pasid.IsPresent ? DmaFlags.PasidValid : DmaFlags.None);
            Iommus[0].Port.Translate(new(Device.Id, new(address), flags, DmaKind.Untranslated, pasid), out DmaTranslation reached);
            (reached.Status == DmaStatus.Success).ShouldBe(page is not null, $"{reached.Status}");
            if (page is { } where)
            {
                reached.Address.ShouldBe(new PhysicalAddress(where));
            }

            Iommus[0].HandleFaults();
            CheckAlways();
        }
    }
}
