using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>An entry, as the specification of its family reads it.</summary>
public readonly record struct RawEntry(bool IsPresent, bool IsTable, ulong Address, Access Access, bool IsDirty, bool IsContiguous);

/// <summary>
/// Tables read by brute force: every entry of every table, by decoders of our own that know only the specifications. What they
/// find is what hardware would.
/// </summary>
public static class RawTables
{
    private const ulong Address52 = 0x000f_ffff_ffff_f000;

    /// <summary>Every leaf, in order.</summary>
    public static List<(ulong Start, ulong Address, int Log2, Access Access)> Leaves(TableBench bench)
    {
        List<(ulong Start, ulong Address, int Log2, Access Access)> found = [];
        Collect(bench, bench.Table.Root.Value, bench.Geometry.Levels - 1, 0, found);
        return found;
    }

    /// <summary>Where the entry of a level for an IOVA is.</summary>
    public static PhysicalAddress Locate(TableBench bench, ulong iova, int level)
    {
        Geometry geometry = bench.Geometry;
        ulong table = bench.Table.Root.Value;
        for (int at = geometry.Levels - 1; ; at--)
        {
            ulong bytes = at == geometry.Levels - 1 ? 1ul << geometry.RootLog2 : 4096;
            PhysicalAddress location = new(table + ((iova >> geometry.Shift(at)) * (ulong)geometry.EntryBytes % bytes));
            if (at == level)
            {
                return location;
            }

            RawEntry entry = Decode(bench, Read(bench, location), at);
            entry.IsTable.ShouldBeTrue();
            table = entry.Address;
        }
    }

    /// <summary>The entry of a level for an IOVA.</summary>
    public static ulong Entry(TableBench bench, ulong iova, int level) => Read(bench, Locate(bench, iova, level));

    /// <summary>The bit that the hardware sets when it writes through a leaf.</summary>
    public static uint DirtyBit(Geometry geometry) => geometry.Family switch
    {
        TableFamily.RiscV => 1 << 7,
        TableFamily.X64 => 1 << 6,
        _ => 1 << 9,
    };

    private static void Collect(
        TableBench bench, ulong table, int level, ulong start, List<(ulong Start, ulong Address, int Log2, Access Access)> found)
    {
        Geometry geometry = bench.Geometry;
        int count = (level == geometry.Levels - 1 ? 1 << geometry.RootLog2 : 4096) / geometry.EntryBytes;
        for (int i = 0; i < count; i++)
        {
            ulong value = Read(bench, new(table + (ulong)(i * geometry.EntryBytes)));
            RawEntry entry = Decode(bench, value, level);
            ulong at = start + ((ulong)i << geometry.Shift(level));
            if (!entry.IsPresent)
            {
                value.ShouldBe(0ul);
            }
            else if (entry.IsTable)
            {
                Collect(bench, entry.Address, level - 1, at, found);
            }
            else if (entry.IsContiguous)
            {
                level.ShouldBe(0);
                (i % 16).ShouldBe(0);
                for (int j = 1; j < 16; j++)
                {
                    Read(bench, new(table + (ulong)((i + j) * 8))).ShouldBe(value);
                }

                found.Add((at, entry.Address, 16, entry.Access));
                i += 15;
            }
            else
            {
                (entry.Address & ((1ul << geometry.Shift(level)) - 1)).ShouldBe(0ul);
                found.Add((at, entry.Address, geometry.Shift(level), entry.Access));
            }
        }
    }

    private static RawEntry Decode(TableBench bench, ulong entry, int level) => bench.Geometry.Family switch
    {
        TableFamily.RiscV => DecodeRiscV(entry, level),
        TableFamily.X64 => DecodeX64(entry, level, bench.Case.Extension),
        _ => DecodeVtd(entry, level, bench.Case.Extension, bench.Options.HardwareDirty),
    };

    // Privileged specification, "Sv39": V, R, W, X, U, G, A, D in bits 0 to 7; PPN from bit 10; PBMT 62:61; N 63. In an entry
    // that points to a table, A, D, U, PBMT and N are reserved.
    private static RawEntry DecodeRiscV(ulong entry, int level)
    {
        bool present = (entry & 1) != 0;
        bool table = present && (entry & 0xe) == 0;
        ((entry >> 54) & 0x7f).ShouldBe(0ul);
        if (table)
        {
            level.ShouldBeGreaterThan(0);
            (entry & 0xe000_0000_0000_03feul).ShouldBe(0ul);
        }

        ulong address = ((entry >> 10) & 0xfff_ffff_ffff) << 12;
        bool contiguous = (entry >> 63) != 0;
        if (contiguous)
        {
            ((address >> 12) & 0xf).ShouldBe(8ul);
            address &= ~0xfffful;
        }

        if (present && !table)
        {
            (entry & 0x6).ShouldNotBe(4ul, "W without R is reserved");
        }

        return new(present, table, address, (Access)((entry >> 1) & 7), (entry & 0x80) != 0, contiguous);
    }

    // VT-d specification, section 9.7, "First-Stage Paging Entries". Entries of level 3 and above have no PS.
    private static RawEntry DecodeX64(ulong entry, int level, bool executeDisable)
    {
        bool present = (entry & 1) != 0;
        bool large = (entry & 0x80) != 0;
        (large && (level is 0 or > 2)).ShouldBeFalse();
        bool table = present && level > 0 && !large;
        if (table)
        {
            // Whoever may do something below must be let through: R/W and U/S, and no XD.
            (entry & 0x8000_0000_0000_0006).ShouldBe(6ul);
        }

        Access access = Access.Read | ((entry & 2) != 0 ? Access.Write : 0)
            | (executeDisable && (entry >> 63) == 0 ? Access.Execute : 0);
        if (!executeDisable)
        {
            (entry >> 63).ShouldBe(0ul);
        }

        return new(present, table, entry & Address52, access, (entry & 0x40) != 0, false);
    }

    // VT-d specification, section 9.8, "Second-Stage Paging Entries".
    private static RawEntry DecodeVtd(ulong entry, int level, bool snoop, bool accessedAndDirty)
    {
        bool present = (entry & 3) != 0;
        bool large = (entry & 0x80) != 0;
        (large && (level is 0 or > 2)).ShouldBeFalse();
        bool table = present && level > 0 && !large;
        if (table)
        {
            (entry & 0x803).ShouldBe(3ul);
        }
        else if (present)
        {
            ((entry & 0x800) != 0).ShouldBe(snoop);
            ((entry & 0x100) != 0).ShouldBe(accessedAndDirty);
        }

        return new(present, table, entry & Address52, (Access)(entry & 3), (entry & 0x200) != 0, false);
    }

    private static ulong Read(TableBench bench, PhysicalAddress location)
    {
        if (bench.Geometry.EntryBytes == 8)
        {
            bench.Memory.Read64(location, out ulong entry);
            return entry;
        }

        bench.Memory.Read32(location, out uint half);
        return half;
    }
}
