using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware.Tests.Fuzz;

/// <summary>
/// The model walks plain tables in its own process's memory a shorter way, and looks up hits a shorter way. Over a memory that
/// hides its host addresses it takes the long ways. Both must give the same answers, records and stores.
/// </summary>
public sealed class FastWalkTests
{
    private const ulong Directory = 0x1000;
    private const ulong FaultQueue = 0x2000;
    private const ulong Tables = 0x20_0000;
    private const int TablePages = 64;
    private const ulong GuestTables = 0x40_0000;
    private const ulong GuestTablesOfADevice = 0x2_0000;
    private const int Requests = 400;

    private static readonly int s_rounds = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1" ? 3_000 : 60;

    [Theory]
    [InlineData(0, false)]
    [InlineData(0, true)]
    [InlineData(64, false)]
    [InlineData(64, true)]
    public void Short_and_long_ways_answer_alike(int iotlbEntries, bool secondStage)
    {
        int successes = 0, failures = 0;
        for (int round = 0; round < s_rounds; round++)
        {
            using SparsePhysicalMemory plain = new(), hidden = new();
            Random random = new((round * 4) + (secondStage ? 1 : 0) + iotlbEntries);
            RiscVIommuOptions options = new() { IotlbEntries = iotlbEntries, IotlbWays = 4, CollectStatistics = round % 3 == 0 };
            RiscVIommu fast = new(options, plain), slow = new(options, new Hidden(hidden));
            ulong[] content = Content(random, secondStage);
            foreach ((RiscVIommu iommu, SparsePhysicalMemory memory) in new[] { (fast, plain), (slow, hidden) })
            {
                Fill(memory, content, new Random(round), secondStage);
                iommu.Write64(RegisterOffset.FaultQueueBase, PpnField.FromAddress(FaultQueue) | 6);
                iommu.Write32(RegisterOffset.FaultQueueCsr, QueueCsr.EnableBit);
                iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(Directory) | (ulong)IommuMode.OneLevel);
            }

            for (int i = 0; i < Requests; i++)
            {
                DmaRequest request = RandomRequest(random);
                fast.Translate(request, out DmaTranslation one);
                slow.Translate(request, out DmaTranslation other);
                one.ShouldBe(other, $"round {round}, request {i}: {request}");
                successes += one.Status == DmaStatus.Success ? 1 : 0;
                failures += one.Status == DmaStatus.Success ? 0 : 1;
            }

            fast.Read32(RegisterOffset.FaultQueueTail).ShouldBe(slow.Read32(RegisterOffset.FaultQueueTail));
            byte[] left = new byte[0x40_0000], right = new byte[0x40_0000];
            plain.Read(new(Tables), left).ShouldBe(MemoryStatus.Success);
            hidden.Read(new(Tables), right).ShouldBe(MemoryStatus.Success);
            left.AsSpan().SequenceEqual(right).ShouldBeTrue($"round {round}: A and D bits");
        }

        successes.ShouldBeGreaterThan(s_rounds);
        failures.ShouldBeGreaterThan(s_rounds);
    }

    [Theory]
    [InlineData(20, DmaStatus.UnsupportedRequest)]
    [InlineData(21, DmaStatus.Success)]
    public void A_table_beyond_PAS_is_not_read_although_memory_is_there(int physicalBits, DmaStatus expected)
    {
        const ulong Root = 0x4000, Middle = 0x10_0000, Leaves = 0x10_1000;
        using SparsePhysicalMemory memory = new();
        RiscVIommuOptions options = new();
        options = options with { Capabilities = (options.Capabilities & ~(0x3ful << 32)) | ((ulong)physicalBits << 32) };
        RiscVIommu iommu = new(options, memory);
        _ = memory.Write64(new(Root), PpnField.FromAddress(Middle) | PageTableEntry.ValidBit);
        _ = memory.Write64(new(Middle), PpnField.FromAddress(Leaves) | PageTableEntry.ValidBit);
        _ = memory.Write64(new(Leaves), PpnField.FromAddress(0x5000) | 0xdf);
        _ = memory.Write64(new(Directory + DeviceContextOffset.FirstStageContext), (8ul << 60) | (Root >> 12));
        _ = memory.Write64(new(Directory), DeviceTranslationControl.ValidBit);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(Directory) | (ulong)IommuMode.OneLevel);

        for (int again = 0; again < 2; again++)
        {
            iommu.Translate(new(new(0), new(0x123)), out DmaTranslation translation);

            translation.Status.ShouldBe(expected);
        }
    }

    // Pages of entries: mostly pointers to other pages of the region and leaves, some with anything that a walk may stumble over.
    private static ulong[] Content(Random random, bool secondStage)
    {
        ulong[] content = new ulong[TablePages * 512];
        for (int i = 0; i < content.Length; i++)
        {
            ulong page = Tables + ((ulong)random.Next(TablePages) << 12);
            ulong entry = random.Next(16) switch
            {
                < 7 => PpnField.FromAddress(page) | PageTableEntry.ValidBit,
                < 12 => PpnField.FromAddress((ulong)random.Next(secondStage ? 1 << 18 : 1 << 20) << 12) | 0xd7,
                12 => PpnField.FromAddress((ulong)random.Next(1 << 8) << 30) | 0xdf,
                13 => PpnField.FromAddress((ulong)random.Next(1 << 20) << 12) | (uint)random.Next(256),
                14 => PpnField.FromAddress((ulong)random.Next(1 << 20) << 12) | 0x57 | ((ulong)random.Next(256) << 56),
                _ => (ulong)random.NextInt64(),
            };
            content[i] = entry;
        }

        return content;
    }

    private static void Fill(SparsePhysicalMemory memory, ulong[] content, Random random, bool secondStage)
    {
        for (int i = 0; i < content.Length; i++)
        {
            _ = memory.Write64(new(Tables + ((ulong)i * 8)), content[i]);
        }

        for (uint device = 0; device < 8; device++)
        {
            ulong context = Directory + (device * 64);
            ulong update = (ulong)random.Next(4) << 7;
            int mode = random.Next(3);
            if (secondStage)
            {
                int levels = random.Next(3, 6);
                ulong root = GuestTables + (device * GuestTablesOfADevice);
                FillGuestTables(memory, root, levels, random);
                _ = memory.Write64(
                    new(context + DeviceContextOffset.Iohgatp), ((5ul + (ulong)levels) << 60) | ((ulong)device << 44) | (root >> 12));
            }

            _ = memory.Write64(new(context + DeviceContextOffset.TranslationAttributes), (ulong)device << 12);
            _ = memory.Write64(
                new(context + DeviceContextOffset.FirstStageContext), ((8ul + (ulong)mode) << 60) | ((Tables >> 12) + (ulong)random.Next(TablePages)));
            _ = memory.Write64(new(context), DeviceTranslationControl.ValidBit | update);
        }
    }

    // The first gigabyte stands for itself: in one entry, or in 512 of which some are noise.
    private static void FillGuestTables(SparsePhysicalMemory memory, ulong root, int levels, Random random)
    {
        ulong entry = root;
        ulong next = root + 0x4000;
        for (int level = levels - 1; level > 2; level--, entry = next, next += 0x1000)
        {
            _ = memory.Write64(new(entry), PpnField.FromAddress(next) | PageTableEntry.ValidBit);
        }

        if (random.Next(2) == 0)
        {
            _ = memory.Write64(new(entry), 0x17ul | ((ulong)random.Next(4) << 6));
            return;
        }

        _ = memory.Write64(new(entry), PpnField.FromAddress(next) | PageTableEntry.ValidBit);
        for (uint i = 0; i < 512; i++)
        {
            ulong leaf = PpnField.FromAddress((ulong)i << 21) | (random.Next(8) == 0 ? (uint)random.Next(256) : 0xdfu);
            _ = memory.Write64(new(next + (i * 8)), leaf);
        }
    }

    // Few addresses, so that hits are among them.
    private static DmaRequest RandomRequest(Random random)
    {
        ulong address = ((ulong)random.Next(3) << 38) | ((ulong)random.Next(3) << 30) | ((ulong)random.Next(3) << 21)
            | ((ulong)random.Next(4) << 12) | (uint)random.Next(4096);
        address = random.Next(16) == 0 ? (ulong)random.NextInt64() : address;
        DmaFlags flags = (DmaFlags)random.Next(4) | (random.Next(8) == 0 ? (DmaFlags)random.Next(64) : 0);
        return new(new((uint)random.Next(8)), new(address), flags, DmaKind.Untranslated, new((uint)random.Next(4)));
    }

    /// <summary>Memory that does not say that it is this process's.</summary>
    private sealed class Hidden(SparsePhysicalMemory inner) : IPhysicalMemory
    {
        public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => inner.Read(address, destination);

        public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => inner.Write(address, source);

        public MemoryStatus Read64(PhysicalAddress address, out ulong value) => inner.Read64(address, out value);

        public MemoryStatus Write64(PhysicalAddress address, ulong value) => inner.Write64(address, value);

        public MemoryStatus Read32(PhysicalAddress address, out uint value) => inner.Read32(address, out value);

        public MemoryStatus Write32(PhysicalAddress address, uint value) => inner.Write32(address, value);

        public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
            inner.CompareExchange64(address, expected, desired, out observed);

        public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
    }
}
