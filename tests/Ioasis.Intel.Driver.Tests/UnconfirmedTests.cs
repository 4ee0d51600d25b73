using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>
/// The unit stops at the n-th batch of descriptors of a call, for every n: nothing that it may still use is given up, the call says that
/// it failed, and when the unit works again all of it can be done and nothing is left (S4.8, S4.14, S4.15).
/// </summary>
[Trait("Requirement", "S4.15")]
public sealed class UnconfirmedTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong FirstTarget = 0x8000_0000;
    private const ulong SecondTarget = 0x9000_0000;
    private const ulong Huge = 2ul << 20;
    private static readonly Pasid s_pasid = new(5);

    /// <summary>What is called.</summary>
    public enum Call
    {
        Attach,
        Detach,
        Replace,
        AttachPasid,
        DetachPasid,
        UnmapTable,
        MapOverTable,
    }

    public static TheoryData<Call, string, Trouble> Calls
    {
        get
        {
            TheoryData<Call, string, Trouble> all = [];
            foreach (Call call in Enum.GetValues<Call>())
            {
                foreach (string kind in (string[])["scalable", "first stage", "legacy", "caching mode"])
                {
                    if (kind != "legacy" || call is not (Call.AttachPasid or Call.DetachPasid))
                    {
                        all.Add(call, kind, Trouble.Silence);
                        all.Add(call, kind, Trouble.Errors);
                    }
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.14")]
    public void Nothing_is_given_up_that_was_not_confirmed(Call call, string kind, Trouble trouble)
    {
        int batches = UnconfirmedAtEveryCommand.Run(
            trouble,
            iommu => new State(iommu, kind, call),
            state => state.Do(call),
            (state, result, at) =>
            {
                result.ShouldBe(at == 0 ? Errno.Success : Errno.IoError, $"batch {at}\n{state.Rig.Log}");
                if (at != 0)
                {
                    state.Rig.Driver.Statistics.DomainIdsInUse.ShouldBeGreaterThanOrEqualTo(state.DomainIds);
                    state.Rig.Pages.AllocatedBytes.ShouldBeGreaterThanOrEqualTo(state.Bytes);
                    state.ShouldNotGiveBack(call);
                }
            },
            (state, _, at) =>
            {
                state.Settle(call, isConfirmed: at == 0);
                state.End();
            },
            QueueRegisters.Vtd);

        // What was not present is not cached but in caching mode (section 6.1): to make it present needs no invalidation.
        bool needsNone = call is Call.Attach or Call.AttachPasid && kind != "caching mode";
        (batches > 0).ShouldBe(!needsNone, $"{batches} batches");
    }

    [Theory]
    [InlineData("scalable", Trouble.Silence)]
    [InlineData("scalable", Trouble.Errors)]
    [InlineData("legacy", Trouble.Silence)]
    [InlineData("legacy", Trouble.Errors)]
    [Trait("Requirement", "S4.3")]
    public void An_unplugged_device_gives_nothing_back(string kind, Trouble trouble) => UnconfirmedAtEveryCommand.Run(
        trouble,
        iommu => new State(iommu, kind, Call.Detach),
        static state =>
        {
            state.Rig.Core.RemoveDevice(state.Device);
            return Errno.Success;
        },
        static (state, _, at) =>
        {
            (state.Rig.Driver.Usage.AddressSpaces, state.First.BondCount).ShouldBe(at == 0 ? (0, 0) : (1, 1));
            if (at != 0)
            {
                state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
            }
        },
        static (state, _, _) => state.End(),
        QueueRegisters.Vtd).ShouldBeGreaterThan(0);

    [Theory]
    [InlineData("scalable")]
    [InlineData("first stage")]
    [InlineData("legacy")]
    public void A_queue_that_works_again_has_forgotten_what_was_lost(string kind)
    {
        UnconfirmedIommu iommu = new(Trouble.Silence, QueueRegisters.Vtd);
        using State state = new(iommu, kind, Call.Detach);
        iommu.StopAt(1);
        InvalidationGather gather = default;
        state.First.Unmap(new(Iova), Rig.Page, ref gather, out _).ShouldBe(Errno.Success);
        state.First.Sync(ref gather).ShouldBe(Errno.IoError);
        state.Rig.Dma(state.Device, Iova).Status.ShouldBe(DmaStatus.Success, "the hardware caches");

        // Somebody else's descriptor is the first of the queue's new life; what was lost before must have been made good.
        iommu.Heal();
        state.Rig.Driver.Queue.SubmitAndWait([QueueDescriptor.Context(0x77, 0)]).ShouldBe(Errno.Success);
        state.Rig.Dma(state.Device, Iova).Status.ShouldNotBe(DmaStatus.Success);
    }

    /// <summary>A device and two domains that map the same IOVA to different places.</summary>
    private sealed class State : IDisposable
    {
        private InvalidationGather _gather;

        public State(UnconfirmedIommu iommu, string kind, Call call)
        {
            RigOptions options = AttachTests.OptionsOf(kind);
            Rig = new(options with { Registers = iommu.Registers, Driver = options.Driver with { TimeProvider = iommu.Time } });
            Device = Rig.AddDevice(0x10, pasidBits: kind == "legacy" ? 0 : 8);
            First = Rig.NewDomain(Device);
            Second = Rig.NewDomain(Device);
            for (ulong page = 0; page < Huge; page += Rig.Page)
            {
                // Backwards, so that they stay small.
                First.ShouldMap(Iova + page, FirstTarget + Huge - Rig.Page - page);
            }

            Second.ShouldMap(Iova, SecondTarget);
            if (call != Call.Attach)
            {
                Device.Group.Attach(First).ShouldBe(Errno.Success);
                Reach(First);
            }

            if (call == Call.DetachPasid)
            {
                Device.Group.AttachPasid(s_pasid, Second).ShouldBe(Errno.Success);
                Reach(Second, s_pasid);
            }

            for (ulong page = 0; call == Call.MapOverTable && page < Huge; page += Rig.Page)
            {
                // Page by page, so that an empty table is left.
                First.ShouldUnmap(Iova + page);
            }

            Bytes = Rig.Pages.AllocatedBytes;
            DomainIds = Rig.Driver.Statistics.DomainIdsInUse;
        }

        public Rig Rig { get; }

        public IommuDevice Device { get; }

        public VtdPagingDomain First { get; }

        public VtdPagingDomain Second { get; }

        public long Bytes { get; }

        public int DomainIds { get; }

        public Errno Do(Call call)
        {
            switch (call)
            {
                case Call.Attach or Call.Replace:
                    return Device.Group.Attach(Second);
                case Call.Detach:
                    return Device.Group.Detach();
                case Call.AttachPasid:
                    return Device.Group.AttachPasid(s_pasid, Second);
                case Call.DetachPasid:
                    return Device.Group.DetachPasid(s_pasid);
                case Call.UnmapTable:
                    _gather = default;
                    First.Unmap(new(Iova), Huge, ref _gather, out ulong unmapped).ShouldBe(Errno.Success);
                    unmapped.ShouldBe(Huge);
                    return First.Sync(ref _gather);
                default:
                    return MapHuge();
            }
        }

        // A map that was undone is in no table, and may be cached: the memory is not free before it is confirmed to be gone.
        public void ShouldNotGiveBack(Call call)
        {
            if (call == Call.MapOverTable)
            {
                InvalidationGather gather = default;
                First.Unmap(new(Iova), Huge, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
                unmapped.ShouldBe(0ul);
                First.Sync(ref gather).ShouldBe(Errno.IoError);
            }
        }

        // The unit works again: what the core says is what the hardware does, and what failed can be done now.
        public void Settle(Call call, bool isConfirmed)
        {
            VtdPagingDomain? before = call == Call.Attach ? null : First;
            VtdPagingDomain? after = call switch { Call.Attach or Call.Replace => Second, Call.Detach => null, _ => First };
            VtdPagingDomain? attached = isConfirmed ? after : before;
            (Device.Group.Domain as VtdPagingDomain).ShouldBeSameAs(attached);
            switch (call)
            {
                case Call.UnmapTable:
                    _gather.IsEmpty.ShouldBe(isConfirmed);
                    First.Sync(ref _gather).ShouldBe(Errno.Success);
                    Reach(null);
                    break;
                case Call.MapOverTable:
                    First.TryTranslate(new(Iova), out _, out _, out _).ShouldBe(isConfirmed);
                    Rig.Dma(Device, Iova).Status.ShouldBe(isConfirmed ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
                    (isConfirmed ? Errno.Success : MapHuge()).ShouldBe(Errno.Success);
                    Rig.ShouldReach(Device, Iova + 0x1000, FirstTarget + Huge + 0x1000);
                    break;
                default:
                    Reach(attached);
                    break;
            }

            if (call is Call.AttachPasid or Call.DetachPasid)
            {
                Reach(isConfirmed == (call == Call.AttachPasid) ? Second : null, s_pasid);
            }
        }

        // Everything can be undone, and then nothing is left, in the unit and in memory.
        public void End()
        {
            if (Rig.Core.Devices.Contains(Device))
            {
                Device.Group.Detach().ShouldBe(Errno.Success);
                Rig.Core.RemoveDevice(Device);
            }

            Rig.Driver.Dispose();
            (First.BondCount, Second.BondCount).ShouldBe((0, 0));
            First.Dispose();
            Second.Dispose();
            Rig.Pages.AllocatedBytes.ShouldBe(0);
        }

        public void Dispose() => Rig.Dispose();

        private Errno MapHuge() => First.Map(new(Iova), new(FirstTarget + Huge), Huge, Access.ReadWrite);

        private void Reach(VtdPagingDomain? domain, Pasid pasid = default)
        {
            if (domain is null)
            {
                Rig.Dma(Device, Iova, pasid: pasid).Status.ShouldNotBe(DmaStatus.Success);
            }
            else
            {
                Rig.ShouldReach(Device, Iova, domain == Second ? SecondTarget : FirstTarget + Huge - Rig.Page, pasid: pasid);
            }
        }
    }
}
