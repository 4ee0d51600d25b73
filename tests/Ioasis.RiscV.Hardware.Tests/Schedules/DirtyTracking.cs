using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>How software takes the dirty bit of a page.</summary>
public enum Harvest
{
    /// <summary>As it must: atomically, then invalidates and fences, then copies.</summary>
    Proper,

    /// <summary>It reads the entry and stores it again: an update by the hardware in between is lost.</summary>
    NotAtomic,

    /// <summary>It does not invalidate: the hardware still believes the page to be dirty.</summary>
    NoInvalidation,

    /// <summary>It copies before the fence: a write under way comes after the copy.</summary>
    NoFence,
}

/// <summary>
/// The model sets D in the entry (section 2.3 with SADE) while software takes it away to learn which pages to copy. A page
/// whose entry is clean at the end is as it was copied.
/// </summary>
internal sealed class DirtyTracking : Scenario
{
    private const ulong Entry = ModelBench.FirstLeaf + 8;

    private readonly ModelBench _bench;
    private ulong _copy;

    public DirtyTracking(CachingMode caching, Harvest harvest)
    {
        _bench = new(
            Path.FirstStage, caching, PageTableEntry.AccessedBit | PageTableEntry.DirtyBit, DeviceTranslationControl.FirstStageAdUpdateBit);
        _bench.Write(1).ShouldBe(DmaStatus.Success);
        (_bench.Peek(Entry) & PageTableEntry.DirtyBit).ShouldNotBe(0ul, "the model sets D");
        AddThread("device", () =>
        {
            _bench.Write(2).ShouldBe(DmaStatus.Success);
            _bench.Write(3).ShouldBe(DmaStatus.Success);
        });
        AddThread("software", () =>
        {
            for (int round = 0; round < 2; round++)
            {
                Take(harvest);
            }
        });
    }

    public override void CheckAtEnd()
    {
        if ((_bench.Peek(Entry) & PageTableEntry.DirtyBit) == 0)
        {
            _bench.Peek(ModelBench.OldPage).ShouldBe(_copy, "a write was not seen as dirty");
        }
    }

    public override string? Describe(InjectionKind kind, ulong detail) => ModelBench.Describe(kind, detail);

    private void Take(Harvest harvest)
    {
        ulong seen;
        if (harvest == Harvest.NotAtomic)
        {
            seen = _bench.Peek(Entry);
            _bench.Store(Entry, seen & ~PageTableEntry.DirtyBit);
        }
        else
        {
            seen = _bench.Exchange(Entry, static entry => entry & ~PageTableEntry.DirtyBit);
        }

        if (harvest != Harvest.NoInvalidation)
        {
            _bench.Submit(Command.InvalidateFirstStage(null, ModelBench.Pscid, ModelBench.Page));
        }

        if (harvest != Harvest.NoFence)
        {
            _bench.Submit(Command.Fence());
        }

        if ((seen & PageTableEntry.DirtyBit) != 0)
        {
            _copy = _bench.Peek(ModelBench.OldPage);
        }
    }
}

/// <summary>The model updates A and D while software puts another page into the entry: neither may undo the other's work.</summary>
internal sealed class UpdateAgainstRemap : Scenario
{
    private const ulong Entry = ModelBench.FirstLeaf + 8;

    private readonly ModelBench _bench;
    private bool _remapped;

    public UpdateAgainstRemap(CachingMode caching)
    {
        const ulong Clean = PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;
        _bench = new(Path.FirstStage, caching, Clean, DeviceTranslationControl.FirstStageAdUpdateBit);
        AddThread("device", () =>
        {
            _bench.Read(out _).ShouldBe(DmaStatus.Success);
            _bench.Write(2).ShouldBe(DmaStatus.Success);
        });
        AddThread("software", () =>
        {
            _bench.Store(Entry, ModelBench.LeafTo(ModelBench.NewPage, Clean));
            _remapped = true;
            _bench.Submit(Command.InvalidateFirstStage(null, ModelBench.Pscid, ModelBench.Page), Command.Fence());
        });
    }

    public override void CheckAlways()
    {
        if (_remapped)
        {
            PpnField.ToAddress(_bench.Peek(Entry)).ShouldBe(ModelBench.NewPage, "the model stored an entry that it had read before");
        }

        if (_bench.Peek(ModelBench.NewPage) != 0)
        {
            (_bench.Peek(Entry) & PageTableEntry.DirtyBit).ShouldNotBe(0ul, "a page was written whose entry is clean");
        }
    }
}

/// <summary>Two devices fault while software reads the records: none is lost, doubled or seen before it is whole.</summary>
internal sealed class FaultsAgainstReader : Scenario
{
    private readonly ModelBench _bench = new(Path.FirstStage, CachingMode.Hostile);
    private readonly List<ulong> _seen = [];

    public FaultsAgainstReader()
    {
        for (ulong i = 0; i < 2; i++)
        {
            ulong first = 0x10_0000 * (i + 1);
            AddThread($"device{i}", () =>
            {
                DmaRequest request = _bench.Request;
                for (ulong page = 0; page < 2; page++)
                {
                    _bench.Model.Read(request with { Address = new(first + (page << 12)) }, new byte[4])
                        .ShouldBe(DmaStatus.UnsupportedRequest);
                }
            });
        }

        AddThread("reader", () =>
        {
            while (_seen.Count < 4)
            {
                IReadOnlyList<(FaultCause Cause, ulong Iova)> records = _bench.Faults();
                foreach ((FaultCause cause, ulong iova) in records.Skip(_seen.Count))
                {
                    cause.ShouldBe(FaultCause.ReadPageFault);
                    _seen.Add(iova);
                }

                _ = Injection.Hit(InjectionKind.Wait);
            }
        });
    }

    public override void CheckAtEnd() =>
        _seen.Order().ShouldBe([0x10_0000ul, 0x10_1000ul, 0x20_0000ul, 0x20_1000ul]);
}
