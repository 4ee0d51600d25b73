using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

public sealed class RandomTests
{
    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void Random_maps_and_unmaps_leave_what_the_model_says(TableCase what)
    {
        Random random = new(20_25);
        for (int round = 0; round < 4; round++)
        {
            using TableBench bench = new(what);
            PageModel model = new(what);
            for (int step = 0; step < 40; step++)
            {
                (ulong iova, ulong address, ulong length) = RandomRange(random, bench.Geometry);
                if (random.Next(3) != 0)
                {
                    Access access = (Access)random.Next(1, 8);
                    Access expected = (access & Access.Write) != 0 ? access | Access.Read : access;
                    bench.Map(iova, address, length, access).ShouldBe(model.Map(iova, address, length, expected));
                }
                else
                {
                    bench.Unmap(iova, length).ShouldBe(model.Unmap(iova, length));
                }

                if (step % 8 == 0)
                {
                    model.ShouldBeTheSameAs(bench);
                }
            }

            model.ShouldBeTheSameAs(bench);
            bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
        }
    }

    // Ranges that meet often: near the start of one of four spots, with lengths around every leaf size.
    internal static (ulong Iova, ulong Address, ulong Length) RandomRange(Random random, Geometry geometry)
    {
        int level = random.Next(geometry.LeafLog2.Length);
        int log2 = geometry.LeafLog2[level];
        ulong unit = 1ul << log2;
        ulong length = unit * (ulong)random.Next(1, 5);
        if (random.Next(2) == 0)
        {
            length += (ulong)random.Next(0, 40) << 12;
        }

        ulong spot = (ulong)random.Next(4) << (geometry.ApertureBits - 2);
        ulong iova = spot + unit * (ulong)random.Next(3) + ((ulong)random.Next(0, 3) * (ulong)random.Next(20) << 12);

        // The physical address agrees with the IOVA modulo the leaf size, or only modulo the size below: 512 times the leaves.
        ulong agreed = level > 0 && random.Next(4) == 0 ? 1ul << geometry.LeafLog2[level - 1] : unit;
        ulong address = unit * (ulong)random.Next(2) + (iova & (agreed - 1));
        ulong aperture = 1ul << geometry.ApertureBits;
        length = Math.Min(length, aperture - iova);
        ulong output = 1ul << geometry.OutputBits;
        if (address >= output || length > output - address)
        {
            address = iova & (unit - 1) & (output - 1);
            length = Math.Min(length, output - address);
        }

        return (iova, address, length);
    }
}
