using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>
/// Random address spaces of every kind, changed at random, each change followed by the invalidations that chapter 6 asks for: units without caches, with
/// realistic and with hostile ones answer as a list of mappings says.
/// </summary>
public sealed class ModelTests
{
    private static readonly int s_rounds = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1" ? 400 : 12;

    [Theory]
    [InlineData(TranslationTableMode.Scalable, false)]
    [InlineData(TranslationTableMode.Scalable, true)]
    [InlineData(TranslationTableMode.Legacy, false)]
    [InlineData(TranslationTableMode.Legacy, true)]
    internal void Every_unit_answers_as_the_lists_of_mappings_say(TranslationTableMode mode, bool cachingMode)
    {
        int translated = 0;
        int refused = 0;
        for (int seed = 0; seed < s_rounds; seed++)
        {
            using World world = new(mode, cachingMode, seed);
            for (int step = 0; step < 150; step++)
            {
                world.Change();
                for (int i = 0; i < 6; i++)
                {
                    if (world.Ask($"seed {seed}, step {step}"))
                    {
                        translated++;
                    }
                    else
                    {
                        refused++;
                    }
                }
            }
        }

        translated.ShouldBeGreaterThan(s_rounds * 150);
        refused.ShouldBeGreaterThan(s_rounds * 100);
    }

    /// <summary>Two devices with the same spaces each under a PASID, in three units whose memories are made alike.</summary>
    private sealed class World : IDisposable
    {
        private const int SpaceCount = 5;
        private static readonly ushort[] s_rids = [0x0010, 0x0198];
        private readonly Random _random;
        private readonly TranslationTableMode _mode;
        private readonly bool _cachingMode;
        private readonly VtdBench[] _units;
        private readonly Space[] _spaces = new Space[SpaceCount];

        public World(TranslationTableMode mode, bool cachingMode, int seed)
        {
            _random = new(seed);
            _mode = mode;
            _cachingMode = cachingMode;
            _units = [.. Enum.GetValues<CachingMode>().Select(caching => new VtdBench(
                VtdBench.With(caching, addCap: cachingMode ? Capability.CachingModeBit : 0)))];
            _units.Length.ShouldBe(3);
            foreach (VtdBench unit in _units)
            {
                if (mode == TranslationTableMode.Scalable)
                {
                    foreach (ushort rid in s_rids)
                    {
                        unit.SetScalable(rid, ScalableContextEntry.PasidBit);
                    }
                }

                unit.Enable(mode);
                unit.EnableQueue(wide: mode == TranslationTableMode.Scalable);
            }

            for (int i = 0; i < SpaceCount; i++)
            {
                Attach(i);
            }
        }

        private bool IsLegacy => _mode == TranslationTableMode.Legacy;

        public void Dispose()
        {
            foreach (VtdBench unit in _units)
            {
                unit.Dispose();
            }
        }

        public void Change()
        {
            int index = _random.Next(SpaceCount);
            Space space = _spaces[index];
            if (_random.Next(25) == 0)
            {
                Attach(index);
                return;
            }

            ModelSpace model = space.Model;
            bool first = model.HasFirst && (!model.HasSecond || _random.Next(2) == 0);
            if (!first && !model.HasSecond)
            {
                return;
            }

            ulong input = space.PickInput(_random, first, out int sizeLog2);
            List<ModelMapping> list = first ? model.First : model.Second;
            ModelMapping? old = list.Find(m => m.Input == input && m.SizeLog2 == sizeLog2);
            if (old is not null && _random.Next(2) == 0)
            {
                list.Remove(old);
                ForEach(unit => unit.Store(space.Leaves(unit)[(first, input)], 0));
                Invalidate(space, index, first, input, sizeLog2, mayHint: true);
                return;
            }

            // New, or moved in one step with other rights.
            ulong output = first && model.HasSecond
                ? space.PickInput(_random, first: false, out int under) + ((ulong)_random.Next(512) << 12 << 9 * _random.Next(2)) % (1ul << under)
                : (ulong)_random.NextInt64(1L << 40, 1L << 51);
            output &= ~((1ul << sizeLog2) - 1);
            bool canWrite = _random.Next(3) != 0;
            bool canRead = first || !canWrite || _random.Next(4) != 0;
            list.RemoveAll(m => m == old);
            list.Add(new(input, output, sizeLog2, canRead, canWrite));
            ForEach(unit => space.Store(unit, first, input, output, sizeLog2, canRead, canWrite));
            if (old is not null || _cachingMode)
            {
                Invalidate(space, index, first, input, sizeLog2, mayHint: old is not null);
            }
        }

        /// <summary>A request to every unit.</summary>
        /// <returns>Whether it was translated.</returns>
        public bool Ask(string where)
        {
            int index = _random.Next(SpaceCount);
            Space space = _spaces[index];
            bool write = _random.Next(2) == 0;
            ulong address = space.PickInput(_random, space.Model.HasFirst, out int sizeLog2) + (ulong)_random.NextInt64(1L << sizeLog2);
            ulong? expected = space.Model.Translate(address, write);
            DmaRequest request = VtdBench.Dma(address, Rid(index), write, IsLegacy || index == 0 ? null : Pasid(index));
            FaultReason? reason = null;
            foreach (VtdBench unit in _units)
            {
                DmaTranslation translation = unit.Translate(request);
                RecordedFault? fault = unit.TakeFault();
                string what = $"{where}: {unit.Iommu.Options.Caching}, space {index} ({space.Model.Type}), {request.Address}, write {write}, {fault}";
                if (expected is null)
                {
                    translation.Status.ShouldNotBe(DmaStatus.Success, what);
                    reason ??= fault!.Reason;
                    fault!.Reason.ShouldBe(reason.Value, what);
                }
                else
                {
                    translation.Status.ShouldBe(DmaStatus.Success, what);
                    translation.Address.Value.ShouldBe(expected.Value, what);
                }
            }

            return expected is not null;
        }

        private static uint Pasid(int index) => index == 0 ? 0 : (uint)(index * 77);

        // In legacy mode a space is a function's; in scalable mode both functions have all, so which one asks does not matter.
        private ushort Rid(int index) => IsLegacy ? (ushort)(s_rids[0] + index) : s_rids[_random.Next(s_rids.Length)];

        private static ushort Domain(int index) => (ushort)(100 + index);

        private void ForEach(Action<VtdBench> action)
        {
            foreach (VtdBench unit in _units)
            {
                action(unit);
            }
        }

        private void Attach(int index)
        {
            bool had = _spaces[index] is not null;
            PasidTranslationType type = IsLegacy
                ? _random.Next(5) == 0 ? PasidTranslationType.PassThrough : PasidTranslationType.SecondStage
                : (PasidTranslationType)_random.Next(1, 5);
            Space space = new(
                new()
                {
                    Type = type,
                    FirstLevels = _random.Next(4, 6),
                    SecondLevels = type == PasidTranslationType.PassThrough ? 5 : _random.Next(3, 6),
                },
                _random);
            _spaces[index] = space;
            bool tracksDirty = _random.Next(2) == 0;
            ForEach(unit =>
            {
                space.Make(unit);
                if (IsLegacy)
                {
                    unit.SetLegacy(
                        (ushort)(s_rids[0] + index),
                        space.SecondRoot(unit),
                        space.Model.SecondLevels,
                        Domain(index),
                        type == PasidTranslationType.PassThrough ? ContextTranslationType.PassThrough : ContextTranslationType.SecondStage);
                }
                else
                {
                    foreach (ushort rid in s_rids)
                    {
                        unit.SetPasid(
                            rid,
                            Pasid(index),
                            type,
                            Domain(index),
                            space.Model.HasFirst ? space.FirstRoot(unit) : 0,
                            space.Model.HasFirst ? space.Model.FirstLevels : 4,
                            space.SecondRoot(unit),
                            space.Model.SecondLevels,
                            word0: space.Model.HasSecond && tracksDirty ? PasidTableEntry.Word0SecondStageDirtyBit : 0);
                    }
                }

                if (had || _cachingMode)
                {
                    // Tables 25 and 28: the entry, then what was cached under its tags.
                    if (IsLegacy)
                    {
                        unit.InvalidateContexts(InvalidationGranularity.Domain, Domain(index));
                        if (_cachingMode)
                        {
                            unit.InvalidateContexts(InvalidationGranularity.Global);
                        }
                    }
                    else
                    {
                        unit.InvalidatePasids(PasidCacheGranularity.Pasid, Domain(index), Pasid(index));
                        if (_cachingMode)
                        {
                            unit.InvalidatePasids(PasidCacheGranularity.Global);
                        }

                        unit.InvalidatePasidIotlb(PasidIotlbGranularity.Pasid, Domain(index), Pasid(index));
                    }

                    unit.InvalidateIotlb(InvalidationGranularity.Domain, Domain(index));
                    unit.Wait().ShouldBeTrue();
                }
            });
        }

        // The narrowest invalidation that names what changed, or a wider one.
        private void Invalidate(Space space, int index, bool first, ulong input, int sizeLog2, bool mayHint)
        {
            bool wider = _random.Next(4) == 0;
            bool hint = mayHint && _random.Next(2) == 0;
            int mask = sizeLog2 - 12;
            ForEach(unit =>
            {
                if (first && wider)
                {
                    unit.InvalidatePasidIotlb(PasidIotlbGranularity.Pasid, Domain(index), Pasid(index));
                }
                else if (first)
                {
                    unit.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Domain(index), Pasid(index), input, mask, hint);
                }
                else if (wider || space.Model.Type == PasidTranslationType.Nested || mask > 18)
                {
                    unit.InvalidateIotlb(wider ? InvalidationGranularity.Global : InvalidationGranularity.Domain, Domain(index));
                }
                else
                {
                    unit.InvalidateIotlb(InvalidationGranularity.Selective, Domain(index), input, mask, hint);
                }

                unit.Wait().ShouldBeTrue();
            });
        }
    }

    /// <summary>A space of the model with its tables in each unit's memory.</summary>
    private sealed class Space(ModelSpace model, Random random)
    {
        private const ulong GuestTables = 10ul << 30;
        private readonly ulong _firstBase = Base(model.FirstLevels, random, signed: true);
        private readonly ulong _secondBase = Base(model.SecondLevels, random, signed: false) & (model.Type == PasidTranslationType.SecondStage ? ~0ul : (1ul << 51) - 1);
        private readonly Dictionary<VtdBench, Tables> _tables = [];

        public ModelSpace Model { get; } = model;

        public void Make(VtdBench unit)
        {
            Tables tables = new() { Second = unit.Page() };
            _tables.Add(unit, tables);
            if (Model.HasFirst)
            {
                tables.First = NewFirstTable(unit);
            }
        }

        public ulong SecondRoot(VtdBench unit) => _tables[unit].Second;

        public ulong FirstRoot(VtdBench unit) => _tables[unit].First;

        public Dictionary<(bool First, ulong Input), ulong> Leaves(VtdBench unit) => _tables[unit].Leaves;

        /// <summary>A page of one of few sizes, at one of few places: 1 GiB pages, then 2 MiB pages, then 4 KiB pages.</summary>
        public ulong PickInput(Random random, bool first, out int sizeLog2)
        {
            int kind = random.Next(4);
            sizeLog2 = kind == 0 ? 30 : kind == 1 ? 21 : 12;
            ulong offset = kind switch
            {
                0 => (ulong)random.Next(4, 6) << 30,
                1 => (8ul << 30) + ((ulong)random.Next(3) * 37 << 21),
                _ => (9ul << 30) + ((ulong)random.Next(2) * 41 << 21) + ((ulong)random.Next(5) * 3 << 12),
            };
            return (first ? _firstBase : _secondBase) + offset;
        }

        public void Store(VtdBench unit, bool first, ulong input, ulong output, int sizeLog2, bool canRead, bool canWrite)
        {
            ulong large = sizeLog2 > 12 ? FirstStageEntry.PageSizeBit : 0;
            Tables tables = _tables[unit];
            Leaves(unit)[(first, input)] = first
                ? unit.Map(
                    tables.First,
                    Model.FirstLevels,
                    input,
                    output | large | FirstStageEntry.PresentBit | FirstStageEntry.UserBit | (canWrite ? FirstStageEntry.WriteBit : 0),
                    sizeLog2,
                    VtdBench.User,
                    guest => Model.HasSecond ? tables.Hosts[guest] : guest,
                    () => NewFirstTable(unit))
                : unit.MapSecond(
                    tables.Second,
                    Model.SecondLevels,
                    input,
                    output,
                    sizeLog2,
                    (canRead ? SecondStageEntry.ReadBit : 0) | (canWrite ? SecondStageEntry.WriteBit : 0));
        }

        // In a nested space a table has a guest address, mapped apart from what the model maps.
        private ulong NewFirstTable(VtdBench unit)
        {
            ulong host = unit.Page();
            if (!Model.HasSecond)
            {
                return host;
            }

            Tables tables = _tables[unit];
            ulong guest = _secondBase + GuestTables + ((ulong)tables.Hosts.Count << 12);
            unit.MapSecond(tables.Second, Model.SecondLevels, guest, host);
            tables.Hosts.Add(guest, host);
            return guest;
        }

        private static ulong Base(int levels, Random random, bool signed)
        {
            int bits = 12 + (9 * levels);
            ulong free = levels == 3 ? 0 : (ulong)random.NextInt64(1L << (bits - 39)) << 39;
            return signed ? (ulong)((long)(free << (64 - bits)) >> (64 - bits)) : free;
        }

        private sealed class Tables
        {
            public ulong First { get; set; }

            public ulong Second { get; init; }

            public Dictionary<ulong, ulong> Hosts { get; } = [];

            public Dictionary<(bool First, ulong Input), ulong> Leaves { get; } = [];
        }
    }
}
