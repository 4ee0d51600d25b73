using FsCheck;
using FsCheck.Fluent;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Driver.Tests;

/// <summary>The plan of an invalidation covers what was unmapped, in no more commands than the limit.</summary>
[Trait("Requirement", "S4.13")]
public class InvalidationPlanTests
{
    private const uint Pscid = 0x4_5678;
    private const ulong Gib = 1ul << 30;

    [Fact]
    public void Every_leaf_is_covered_within_the_limit_for_any_gather()
    {
        Gen<(int Log2, ulong Start, int Count, bool Tables)> gathers =
            from log2 in Gen.Elements(12, 16, 21, 30)
            from index in Gen.Choose(0, 1 << 16)
            from count in Gen.Frequency((3, Gen.Choose(1, 40)), (1, Gen.Choose(1, 3000)))
            from tables in Gen.Elements(false, false, true)
            select (log2, (ulong)index << log2, count, tables);
        Prop.ForAll(gathers.ToArbitrary(), Gen.Choose(1, 64).ToArbitrary(), Gen.Choose(0, 3).ToArbitrary(), (g, limit, extensions) =>
        {
            Capabilities capabilities = new(
                ((extensions & 1) != 0 ? Capabilities.NonLeafInvalidationBit : 0)
                | ((extensions & 2) != 0 ? Capabilities.RangeInvalidationBit : 0));
            ulong last = g.Start + ((ulong)g.Count << g.Log2) - 1;
            InvalidationGather gather = default;
            gather.AddLeaves(g.Start, last, g.Log2);
            if (g.Tables)
            {
                gather.AddFreedTable(new(0x1000), 12, g.Start, last);
            }

            Command[] commands = Plan(gather, capabilities, limit, out bool collapsed);
            gather.Clear();
            commands.Length.ShouldBeInRange(1, limit);
            commands.ShouldAllBe(c => c.Opcode == CommandOpcode.Iotinval && c.Function == CommandFunction.IotinvalVma);
            commands.ShouldAllBe(c => (c.Low & CommandBits.GscidValidBit) == 0);
            commands.ShouldAllBe(c => ((c.Low >> CommandBits.PscidShift) & CommandBits.Mask20) == Pscid);
            commands.ShouldAllBe(c => (c.Low & CommandBits.PscidValidBit) != 0);
            if (InvalidationPlan.IsFlush(commands[0]))
            {
                commands.Length.ShouldBe(1);
                bool mustFlush = g.Tables && !capabilities.NonLeafInvalidation;
                (collapsed || mustFlush).ShouldBeTrue();
                return;
            }

            // Reserved bits stay clear where an extension is missing.
            commands.ShouldAllBe(c => capabilities.NonLeafInvalidation || (c.Low & CommandBits.NonLeafBit) == 0);
            commands.ShouldAllBe(c => capabilities.RangeInvalidation || (c.High & CommandBits.HighRangeBit) == 0);
            commands.ShouldAllBe(c => !g.Tables || (c.Low & CommandBits.NonLeafBit) != 0);

            // Each page of a NAPOT leaf is an entry of its own; of other leaves one address is enough.
            int stepLog2 = g.Log2 == 16 && commands.Length > 1 ? 12 : g.Log2;
            IntervalSet covered = new();
            foreach (Command command in commands)
            {
                covered.Add(RangeOf(command, stepLog2));
            }

            covered.Contains(new AddressRange(g.Start, last)).ShouldBeTrue();
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_gibibyte_of_small_pages_takes_one_command()
    {
        InvalidationGather gather = default;
        gather.AddLeaves(Gib, (2 * Gib) - 1, 12);
        Plan(gather, default, 32, out bool collapsed).Length.ShouldBe(1);
        collapsed.ShouldBeTrue();
        Plan(gather, new(Capabilities.RangeInvalidationBit), 32, out collapsed).Length.ShouldBe(1);
        collapsed.ShouldBeFalse();
    }

    [Fact]
    public void A_large_leaf_takes_one_command_without_any_extension()
    {
        InvalidationGather gather = default;
        gather.AddLeaves(Gib, (2 * Gib) - 1, 30);
        Command command = Plan(gather, default, 32, out bool collapsed).ShouldHaveSingleItem();
        InvalidationPlan.IsFlush(command).ShouldBeFalse();
        collapsed.ShouldBeFalse();
    }

    [Fact]
    public void A_NAPOT_leaf_is_invalidated_entry_by_entry()
    {
        InvalidationGather gather = default;
        gather.AddLeaves(0x10_0000, 0x10_ffff, 16);
        Plan(gather, default, 32, out _).Length.ShouldBe(16);
        Plan(gather, new(Capabilities.RangeInvalidationBit), 32, out _).Length.ShouldBe(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_leaf_of_a_gather_of_mixed_sizes_is_named(bool isSecondStage)
    {
        Gen<(int Log2, int Index)[]> leaves =
            (from log2 in Gen.Elements(12, 12, 16, 21)
             from index in Gen.Choose(0, 200)
             select (log2, index)).ArrayOf().Where(static all => all.Length is > 0 and < 12);
        Prop.ForAll(leaves.ToArbitrary(), Gen.Choose(1, 64).ToArbitrary(), Gen.Elements(false, true).ToArbitrary(), (all, limit, ranges) =>
        {
            InvalidationGather gather = default;
            foreach ((int log2, int index) in all)
            {
                ulong start = (ulong)index << log2;
                gather.AddLeaves(start, start + (1ul << log2) - 1, log2);
            }

            Command[] commands = new Command[InvalidationPlan.MaxCommands];
            int count = InvalidationPlan.Build(
                gather, new(ranges ? Capabilities.RangeInvalidationBit : 0), new(isSecondStage, isSecondStage ? 0x123 : Pscid), limit, commands, out _);
            count.ShouldBeInRange(1, limit);
            int function = isSecondStage ? CommandFunction.IotinvalGvma : CommandFunction.IotinvalVma;
            commands[..count].ShouldAllBe(c => c.Function == function);
            if (InvalidationPlan.IsFlush(commands[0]))
            {
                return;
            }

            // A leaf is forgotten when one of its addresses is named (section 3.1.1); of a NAPOT leaf each entry counts for itself.
            foreach ((int log2, int index) in all)
            {
                ulong start = (ulong)index << log2;
                for (ulong at = start; at < start + (1ul << log2); at += log2 == 16 ? 4096 : 1ul << log2)
                {
                    ulong last = log2 == 16 ? at + 4095 : start + (1ul << log2) - 1;
                    commands[..count].ShouldContain(c => RangeOf(c, 12).Overlaps(new(at, last)), $"leaf of 2^{log2} bytes at 0x{at:x}");
                }
            }
        }).QuickCheckThrowOnFailure();
    }

    private static Command[] Plan(in InvalidationGather gather, Capabilities capabilities, int limit, out bool collapsed)
    {
        Command[] commands = new Command[InvalidationPlan.MaxCommands];
        int count = InvalidationPlan.Build(gather, capabilities, new(false, Pscid), limit, commands, out collapsed);
        return commands[..count];
    }

    // The addresses that a command names, by section 8.3; without S, those of the leaf around the address.
    private static AddressRange RangeOf(in Command command, int leafLog2)
    {
        ulong page = (command.High >> CommandBits.HighAddressShift) & ((1ul << 52) - 1);
        int log2 = leafLog2;
        if ((command.High & CommandBits.HighRangeBit) != 0)
        {
            int ones = System.Numerics.BitOperations.TrailingZeroCount(~page);
            page &= ~((1ul << ones) - 1);
            log2 = ones + 13;
        }

        ulong start = (page << 12) >> log2 << log2;
        return new(start, start + (1ul << log2) - 1);
    }
}
