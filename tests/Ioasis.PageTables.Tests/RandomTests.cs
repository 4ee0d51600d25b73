using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>Any sequence of maps and unmaps, against the model.</summary>
public sealed class RandomTests
{
    [Theory]
    [MemberData(nameof(TableCase.Configurations), MemberType = typeof(TableCase))]
    public void Any_maps_and_unmaps_leave_what_the_model_says(TableCase what)
    {
        Geometry geometry = Geometry.Of(what.Format);
        Prop.ForAll(Step(what).ArrayOf().ToArbitrary(), steps =>
        {
            using TableBench bench = new(what);
            PageModel model = new(what);
            foreach (Operation step in steps)
            {
                if (step.IsMap)
                {
                    bench.Map(step.Iova, step.Address, step.Length, step.Access)
                        .ShouldBe(model.Map(step.Iova, step.Address, step.Length, step.Access));
                }
                else
                {
                    bench.Unmap(step.Iova, step.Length).ShouldBe(model.Unmap(step.Iova, step.Length));
                }
            }

            model.ShouldBeTheSameAs(bench);
            bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
            bench.Unmap(0, 1ul << geometry.ApertureBits);
            bench.Table.TableBytes.ShouldBe(1L << geometry.RootLog2);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(what.LeafSizes == ulong.MaxValue && !what.HardwareDirty ? 10 : 5).WithEndSize(30));
    }

    // Ranges that meet often: near the start of one of four spots, with lengths around every leaf size that is permitted, and the
    // next above a page in any case.
    private static Gen<Operation> Step(TableCase what) =>
        from isMap in Gen.Elements(true, true, false)
        from level in Gen.Choose(0, Math.Max(1, what.SizesDownward.Count(log2 => log2 != 16) - 1))
        from units in Gen.Choose(1, 4)
        from extraPages in Gen.Frequency((1, Gen.Constant(0)), (1, Gen.Choose(0, 40)))
        from spot in Gen.Choose(0, 3)
        from unitOffset in Gen.Choose(0, 2)
        from pageOffset in Gen.Frequency((1, Gen.Constant(0)), (2, Gen.Choose(0, 40)))
        from agreesLess in Gen.Frequency((3, Gen.Constant(false)), (1, Gen.Constant(true)))
        from addressUnits in Gen.Choose(0, 1)
        from access in Gen.Choose(1, 7)
        select Make(what.Geometry, isMap, level, units, extraPages, spot, unitOffset, pageOffset, agreesLess, addressUnits, access);

    private static Operation Make(
        Geometry geometry, bool isMap, int level, int units, int extraPages, int spot, int unitOffset, int pageOffset,
        bool agreesLess, int addressUnits, int access)
    {
        ulong unit = 1ul << geometry.LeafLog2[level];
        ulong length = (unit * (ulong)units) + ((ulong)extraPages << 12);
        ulong iova = ((ulong)spot << (geometry.ApertureBits - 2)) + (unit * (ulong)unitOffset) + ((ulong)pageOffset << 12);
        length = Math.Min(length, (1ul << geometry.ApertureBits) - iova);

        // The physical address agrees with the IOVA modulo the leaf size, or only modulo the size below: 512 times the leaves.
        ulong agreed = level > 0 && agreesLess ? 1ul << geometry.LeafLog2[level - 1] : unit;
        ulong output = 1ul << geometry.OutputBits;
        ulong address = ((unit * (ulong)addressUnits) + (iova & (agreed - 1))) & (output - 1);
        length = Math.Min(length, output - address);
        return new(isMap, iova, address, length, (Access)access);
    }

    private sealed record Operation(bool IsMap, ulong Iova, ulong Address, ulong Length, Access Access)
    {
        public override string ToString() =>
            $"{(IsMap ? "map" : "unmap")} 0x{Iova:x} + 0x{Length:x} -> 0x{Address:x} {Access}";
    }
}
