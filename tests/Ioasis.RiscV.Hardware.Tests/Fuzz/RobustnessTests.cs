using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Fuzz;

/// <summary>No input from tables, registers or devices may make the model throw or loop (invariant 7).</summary>
public sealed class RobustnessTests
{
    // Each request may read a device context (2 + 8 doublewords), a process context (2 + 2) and walk two stages of five levels, each
    // first-stage access with its own second-stage walk, with a re-read and a retry for A and D; a fault and an interrupt besides.
    private const int MaxAccessesOfARequest = 400;
    private const int RequestsOfARound = 2_000;

    private static readonly bool s_all = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1";

    private static int Rounds => s_all ? 5_000 / 3 + 1 : 50;

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void Random_requests_against_tables_of_noise_and_random_register_writes_end_with_a_status_in_bounded_work(CachingMode caching)
    {
        long requests = 0, successes = 0, faults = 0;
        for (int round = 0; round < Rounds; round++)
        {
            Random random = new((round * 3) + (int)caching);
            NoiseMemory memory = new((ulong)random.NextInt64());
            RiscVIommu iommu = new(RandomOptions(random, caching), memory);
            Start(iommu, random);
            for (int i = 0; i < RequestsOfARound; i++)
            {
                long before = memory.Accesses;
                iommu.Translate(RandomRequest(random), out DmaTranslation translation);
                (memory.Accesses - before).ShouldBeLessThan(MaxAccessesOfARequest, $"round {round}, request {i}");
                requests++;
                successes += translation.Status == DmaStatus.Success ? 1 : 0;
                faults += translation.Status is DmaStatus.UnsupportedRequest or DmaStatus.CompleterAbort ? 1 : 0;
                if ((i & 15) == 0)
                {
                    Disturb(iommu, random);
                }
            }
        }

        requests.ShouldBe((long)Rounds * RequestsOfARound);
        (successes + faults).ShouldBe(requests, "each request ends with one of the three statuses");
        successes.ShouldBeGreaterThan(requests / 1000, "the noise is meant to let some requests through");
        faults.ShouldBeGreaterThan(requests / 1000, "the noise is meant to fault some requests");
    }

    [Fact]
    public void Random_register_accesses_of_any_offset_and_alignment_do_no_harm()
    {
        for (int round = 0; round < (s_all ? 200 : 20); round++)
        {
            Random random = new(round);
            NoiseMemory memory = new((ulong)random.NextInt64());
            RiscVIommu iommu = new(RandomOptions(random, (CachingMode)(round % 3)), memory);
            for (int i = 0; i < 20_000; i++)
            {
                uint offset = random.Next(8) == 0 ? (uint)random.NextInt64(0, 1L << 32) : (uint)random.Next(1100);
                if (random.Next(4) != 0)
                {
                    offset &= ~3u;
                }

                // A queue of 2^32 commands made of noise may be legal for long: keep the command queue short.
                ulong value = (ulong)random.NextInt64() ^ ((ulong)random.Next(2) << 63);
                value = (offset & ~7u) == RegisterOffset.CommandQueueBase ? value & ~0x1cul : value;
                switch (random.Next(4))
                {
                    case 0:
                        iommu.Write32(offset, (uint)value);
                        break;
                    case 1:
                        iommu.Write64(offset, value);
                        break;
                    case 2:
                        _ = iommu.Read32(offset);
                        break;
                    default:
                        _ = iommu.Read64(offset);
                        break;
                }
            }

            iommu.Read64(RegisterOffset.Capabilities).ShouldBe(iommu.Options.Capabilities);
            iommu.Read64(0x1000).ShouldBe(0ul);
            iommu.Read32(uint.MaxValue).ShouldBe(0u);
        }
    }

    private static RiscVIommuOptions RandomOptions(Random random, CachingMode caching)
    {
        ulong capabilities = RiscVIommuOptions.FullCapabilities;
        foreach (ulong bit in (ReadOnlySpan<ulong>)[
            Capabilities.MsiFlatBit, Capabilities.AmoHwadBit, Capabilities.Sv57Bit, Capabilities.Sv57x4Bit, Capabilities.SvpbmtBit,
            Capabilities.T2gpaBit, Capabilities.MsiMrifBit, Capabilities.Svrsw60t59bBit])
        {
            if (random.Next(4) == 0)
            {
                capabilities &= ~bit;
            }
        }

        return new()
        {
            Capabilities = capabilities,
            GxlWritable = random.Next(2) == 0,
            Caching = caching,
            IotlbEntries = random.Next(3) * 32,
            IotlbWays = 1 << random.Next(4),
            DdtCacheEntries = random.Next(3) * 4,
            PdtCacheEntries = random.Next(3) * 4,
            CollectStatistics = random.Next(2) == 0,
        };
    }

    // Queues and a directory somewhere in the noise.
    private static void Start(RiscVIommu iommu, Random random)
    {
        iommu.Write32(RegisterOffset.FeaturesControl, (uint)random.Next(8));
        iommu.Write64(RegisterOffset.CommandQueueBase, RandomPage(random) | 3);
        iommu.Write64(RegisterOffset.FaultQueueBase, RandomPage(random) | 4);
        iommu.Write64(RegisterOffset.PageRequestQueueBase, RandomPage(random) | 2);
        iommu.Write32(RegisterOffset.CommandQueueCsr, 3);
        iommu.Write32(RegisterOffset.FaultQueueCsr, 3);
        iommu.Write32(RegisterOffset.PageRequestQueueCsr, 3);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, RandomPage(random) | (uint)random.Next(1, 5));
    }

    private static void Disturb(RiscVIommu iommu, Random random)
    {
        switch (random.Next(10))
        {
            case 0:
                iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, RandomPage(random) | (uint)random.Next(1, 6));
                break;
            case 1:
                iommu.Write32(RegisterOffset.CommandQueueTail, (uint)random.Next(16));
                break;
            case 2:
                // Clears whatever stopped a queue.
                iommu.Write32((uint)(RegisterOffset.CommandQueueCsr + (random.Next(3) * 4)), 0xf03);
                break;
            case 3:
                _ = iommu.HandleInvalidationCompletion(new(2, (ushort)random.Next(1 << 16), (byte)random.Next(256), Pasid.Invalid, (ulong)random.NextInt64()));
                break;
            case 4:
                iommu.HandlePageRequest(new(
                    4, (ushort)random.Next(1 << 16), random.Next(2) == 0 ? null : (byte)random.Next(256), new((uint)random.Next(1 << 20)), (ulong)random.NextInt64()));
                break;
            case 5:
                iommu.Write32(RegisterOffset.FaultQueueHead, (uint)random.Next(64));
                break;
            case 6:
                iommu.Write64(RegisterOffset.TranslationRequestIova, (ulong)random.NextInt64());
                iommu.Write64(RegisterOffset.TranslationRequestControl, ((ulong)random.NextInt64() << 1) | 1ul);
                break;
            case 7:
                // Words find memory-resident interrupt files; longer ones cross pages.
                DmaStatus written = iommu.Write(RandomRequest(random), new byte[random.Next(4) == 0 ? random.Next(10_000) : 4]);
                written.ShouldBeOneOf(DmaStatus.Success, DmaStatus.UnsupportedRequest, DmaStatus.CompleterAbort);
                break;
            case 8:
                DmaStatus read = iommu.Read(RandomRequest(random), new byte[random.Next(4) == 0 ? random.Next(10_000) : 4]);
                read.ShouldBeOneOf(DmaStatus.Success, DmaStatus.UnsupportedRequest, DmaStatus.CompleterAbort);
                break;
            default:
                uint offset = (uint)random.Next(RegisterOffsetEnd / 4) * 4;
                if (offset is not (>= RegisterOffset.CommandQueueBase and < RegisterOffset.CommandQueueHead))
                {
                    iommu.Write32(offset, (uint)random.NextInt64());
                }

                break;
        }
    }

    private const int RegisterOffsetEnd = 1024;

    private static ulong RandomPage(Random random) => PpnField.FromAddress((ulong)random.Next(1 << 16) << 12);

    private static DmaRequest RandomRequest(Random random)
    {
        DmaFlags flags = (DmaFlags)random.Next(64);
        DmaKind kind = (DmaKind)random.Next(3);
        uint device = random.Next(4) == 0 ? (uint)random.Next(1 << 24) : (uint)random.Next(256);
        ulong address = random.Next(3) switch
        {
            0 => (ulong)random.NextInt64() ^ ((ulong)random.Next(2) << 63),
            1 => (ulong)random.Next(),
            _ => (ulong)(random.NextInt64(1L << 39) << 25 >> 25),
        };
        return new(new(device), new(address), flags, kind, new(random.Next(2) == 0 ? (uint)random.Next(256) : (uint)random.Next(1 << 20)));
    }
}
