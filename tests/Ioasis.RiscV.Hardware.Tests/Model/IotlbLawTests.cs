using FsCheck;
using FsCheck.Fluent;
using Ioasis.Hardware;

namespace Ioasis.RiscV.Hardware.Tests.Model;

/// <summary>The IOTLB against a list of what was put in and taken out.</summary>
public sealed class IotlbLawTests
{
    private static readonly int[] s_sizes = [12, 16, 21, 22, 30];

    private readonly record struct Step(int Kind, int Space, int Page, int Size);

    private readonly record struct Entry(ulong Start, int SizeLog2, ulong Physical);

    [Theory]
    [InlineData(16, 4, ReplacementPolicy.FirstInFirstOut)]
    [InlineData(64, 16, ReplacementPolicy.Random)]
    [InlineData(512, 512, ReplacementPolicy.FirstInFirstOut)]
    [InlineData(24, 3, ReplacementPolicy.Random)]
    internal void What_is_found_was_put_in_and_not_taken_out_and_nothing_is_lost_but_to_lack_of_room(
        int entries, int ways, ReplacementPolicy policy)
    {
        Gen<Step[]> steps =
            (from kind in Gen.Frequency((10, Gen.Constant(0)), (6, Gen.Constant(1)), (2, Gen.Constant(2)), (1, Gen.Constant(3)))
             from space in Gen.Choose(0, 2)
             from page in Gen.Choose(0, 2047)
             from size in Gen.Choose(0, s_sizes.Length - 1)
             select new Step(kind, space, page, size)).ArrayOf(300);
        Prop.ForAll(steps.ToArbitrary(), sequence => Holds(sequence, new(entries, ways, policy)))
            .Check(Config.QuickThrowOnFailure.WithMaxTest(200));
    }

    private static bool Holds(Step[] steps, Iotlb iotlb)
    {
        AddressSpace[] spaces = [.. Enumerable.Range(0, 3).Select(i => new AddressSpace(new(false, 0, true, (uint)i)))];
        List<Entry>[] models = [[], [], []];
        bool evicted = false;
        ulong version = 1;
        foreach (Step step in steps)
        {
            AddressSpace space = spaces[step.Space];
            List<Entry> model = models[step.Space];
            int sizeLog2 = s_sizes[step.Size];
            ulong address = (ulong)step.Page * 0x3_7000;
            ulong start = address & ~((1ul << sizeLog2) - 1);
            switch (step.Kind)
            {
                case 0:
                    ulong physical = (version++ << 31) | start;
                    evicted |= iotlb.Insert(space, address, sizeLog2, sizeLog2, physical | (address & ((1ul << sizeLog2) - 1)), 1);
                    model.RemoveAll(e => e.Start == start && e.SizeLog2 == sizeLog2);
                    model.Add(new(start, sizeLog2, physical));
                    break;
                case 1 when !AgreesAt(iotlb, space, model, address, evicted):
                    return false;
                case 2:
                    // Removing more than is named is allowed; what remains is looked at below.
                    _ = iotlb.Remove(space, start, sizeLog2);
                    model.RemoveAll(e => Overlaps(e, start, sizeLog2));
                    model.RemoveAll(e => !iotlb.TryFind(space, e.Start, out _, out _));
                    break;
                case 3:
                    _ = iotlb.RemoveAll(space);
                    model.Clear();
                    break;
            }
        }

        return Enumerable.Range(0, 3).All(i => models[i].TrueForAll(e => AgreesAt(iotlb, spaces[i], models[i], e.Start, evicted)));
    }

    private static bool Overlaps(Entry entry, ulong start, int sizeLog2) =>
        entry.Start < start + (1ul << sizeLog2) && start < entry.Start + (1ul << entry.SizeLog2);

    private static bool AgreesAt(Iotlb iotlb, AddressSpace space, List<Entry> model, ulong address, bool evicted)
    {
        Entry[] covering = [.. model.Where(e => Overlaps(e, address, 0))];
        if (!iotlb.TryFind(space, address, out ulong value, out int sizeLog2))
        {
            return covering.Length == 0 || evicted;
        }

        return Array.Exists(covering, e => e.SizeLog2 == sizeLog2 && (value & IotlbValue.AddressMask) == e.Physical);
    }

    [Fact]
    public void Tags_are_used_again_only_when_nothing_carries_them()
    {
        Iotlb iotlb = new(64, 8, ReplacementPolicy.FirstInFirstOut);
        AddressSpace[] spaces = [.. Enumerable.Range(0, 4).Select(i => new AddressSpace(new(false, 0, true, (uint)i)))];
        for (int round = 0; round < 40_000; round++)
        {
            // More rounds than there are tags: each takes a new one.
            AddressSpace space = spaces[round % 4];
            _ = iotlb.RemoveAll(space);
            iotlb.TryFind(space, 0x1000, out _, out _).ShouldBeFalse();
            _ = iotlb.Insert(space, 0x1000, 12, 12, (ulong)round << 12, 1);
            iotlb.TryFind(space, 0x1000, out ulong value, out _).ShouldBeTrue();
            (value >> 12).ShouldBe((ulong)round);
        }
    }
}
