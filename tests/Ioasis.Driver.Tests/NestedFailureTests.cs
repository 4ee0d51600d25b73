using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Switches to, between and from second stages and nested domains that fail at any of their steps leave no trace.</summary>
[Trait("Requirement", "S4.17")]
[Trait("Requirement", "S4.8")]
public class NestedFailureTests
{
    private const ulong Gva = 0x40_0000;

    /// <summary>What a device is attached to.</summary>
    public enum Place
    {
        /// <summary>Nothing.</summary>
        Blocked,

        /// <summary>A first stage of the host's.</summary>
        First,

        /// <summary>The second stage under the guest.</summary>
        Second,

        /// <summary>A root of the guest's.</summary>
        Nested,

        /// <summary>Another root of the guest's.</summary>
        OtherNested,
    }

    public static TheoryData<Place, Place, int> Switches()
    {
        TheoryData<Place, Place, int> all = [];
        foreach (Place from in Enum.GetValues<Place>())
        {
            foreach (Place to in Enum.GetValues<Place>())
            {
                if (from != to)
                {
                    all.Add(from, to, 0);
                    all.Add(from, to, 8);
                }
            }
        }

        return all;
    }

    [Theory]
    [MemberData(nameof(Switches))]
    public void A_switch_succeeds_or_changes_nothing(Place from, Place to, int pasidBits) => FailAtEveryStep.Run(
        () => new State(from, pasidBits),
        state => state.Device.Group.Attach(state.At(to)),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0, $"step {step}");
            Place now = step == 0 ? to : from;
            state.ShouldBeAt(now);
            state.Rig.Driver.Statistics.GscidsInUse.ShouldBe(now >= Place.Second ? 1 : 0);
            state.Rig.Driver.Statistics.PscidsInUse.ShouldBe(now == Place.First ? 1 : 0);

            // And back again, as if nothing had been.
            state.Device.Group.Attach(state.At(from)).ShouldBe(Errno.Success);
            state.ShouldBeAt(from);
            state.Device.Group.Detach().ShouldBe(Errno.Success);
            state.Parent.BondCount.ShouldBe(0);
            state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
            state.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    public void A_guests_invalidation_that_fails_counts_nothing_as_done() => FailAtEveryStep.Run(
        () => new State(Place.Nested, 0),
        state =>
        {
            state.Guest.Unmap(Gva);
            return Guest.Invalidate(state.Nested, out state.Done, Command.InvalidateFirstStage(null, 1, Gva));
        },
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Done.ShouldBe(step == 0 ? 1u : 0u);
            Guest.ShouldInvalidate(state.Nested, Command.InvalidateFirstStage(null, 1, Gva));
            state.Rig.ShouldFault(state.Device, Gva, FaultCause.ReadPageFault);
            state.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    private sealed class State : IDisposable
    {
        private readonly PagingDomain _first;
        private readonly RiscVNestedDomain _other;
        private readonly IoPageTable _otherTable;

        public uint Done;

        public State(Place from, int pasidBits)
        {
            PasidBits = pasidBits;
            Device = Rig.AddDevice(0x10, pasidBits);
            _first = Rig.NewDomain(Device);
            _first.ShouldMap(Gva, 0x9000_0000);
            Parent = Rig.NewSecondStage(Device);
            Parent.ShouldMap(Gva, 0xa000_0000);
            Guest = new(Rig.Memory, Parent);
            _otherTable = Guest.NewTable();
            Guest.Map(Gva, Guest.Data);
            Guest.Map(Gva, Guest.Data + 0x1000, _otherTable);
            Nested = Guest.Nest(Device, 1);
            _other = Guest.Nest(Device, 1, _otherTable);
            Device.Group.Attach(At(from)).ShouldBe(Errno.Success);
            ShouldBeAt(from);
            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public RiscVPagingDomain Parent { get; }

        public Guest Guest { get; }

        public RiscVNestedDomain Nested { get; }

        public int PasidBits { get; }

        public long Bytes { get; }

        public Domain At(Place place) => place switch
        {
            Place.Blocked => BlockedDomain.Instance,
            Place.First => _first,
            Place.Second => Parent,
            Place.Nested => Nested,
            _ => _other,
        };

        public void ShouldBeAt(Place place)
        {
            Device.Group.Domain.ShouldBeSameAs(At(place));
            if (place == Place.Blocked)
            {
                Rig.ShouldFault(Device, Gva, PasidBits == 0 ? FaultCause.DdtEntryNotValid : FaultCause.PdtEntryNotValid);
                return;
            }

            Rig.ShouldReach(Device, Gva, place switch
            {
                Place.First => 0x9000_0000,
                Place.Second => 0xa000_0000,
                Place.Nested => Guest.ToHost(Guest.Data),
                _ => Guest.ToHost(Guest.Data + 0x1000),
            });
        }

        public void Dispose()
        {
            Guest.Dispose();
            _otherTable.Dispose();
            Rig.Dispose();
        }
    }
}
