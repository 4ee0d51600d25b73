namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>
/// Requests over random tables: mostly for what leaves map, the others near it or anywhere; 8 bytes, aligned. Reads come first, so that what
/// is read was there before.
/// </summary>
internal static class RandomRequests
{
    public static IEnumerable<ModelRequest> Over(RandomTables tables, Random random, int devices, int count)
    {
        for (int i = 0; i < count; i++)
        {
            int device = random.Next(devices);
            ulong iova = (ulong)random.NextInt64() >> random.Next(48);
            if (tables.Leaves.Count > 0 && random.Next(100) < 95)
            {
                MadeLeaf leaf = tables.Leaves[random.Next(tables.Leaves.Count)];
                device = random.Next(100) < 97 ? leaf.Device : device;

                // A large leaf is used where it covers the pool, if it does.
                ulong offset = (ulong)random.Next(RandomTables.PoolPages * 4096);
                offset = leaf.SizeLog2 == 12 ? offset & 0xfff
                    : RandomTables.Pool - leaf.Target < 1ul << leaf.SizeLog2 ? RandomTables.Pool - leaf.Target + offset
                    : offset;
                iova = leaf.Iova + offset;
                iova ^= random.Next(100) < 12 ? 1ul << random.Next(12, 64) : 0;
            }

            yield return new(device, iova & ~7ul, i >= count / 2);
        }
    }
}
