using System.Globalization;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Campaigns.Noise;

/// <summary>
/// The RISC-V model over tables of noise, with random requests and writes to its registers: each request ends with one of three outcomes in
/// bounded work, and nothing is thrown (invariant 7).
/// </summary>
internal sealed class RiscVNoise : INoise
{
    // Two device contexts, a process context, and two stages of five levels, each access of the first with a walk of the second.
    private const int MostAccesses = 400;
    private const int Requests = 2_000;
    private const int RegisterBytes = 1024;

    public string Name => "riscv";

    public void Run(int seed, NoiseReport report)
    {
        Random random = new(seed);
        NoiseMemory memory = new((ulong)random.NextInt64());
        RiscVIommu iommu = new(Options(random, (CachingMode)(seed % 3)), memory);
        Start(iommu, random);
        for (int i = 0; i < Requests; i++)
        {
            long before = memory.Accesses;
            DmaRequest request = Request(random);
            iommu.Translate(request, out DmaTranslation translation);
            report.Count("requests");
            report.See((ulong)translation.Status);
            report.See(translation.Status == DmaStatus.Success ? translation.Address.Value : 0);
            report.Count(translation.Status == DmaStatus.Success ? "translated" : "refused");
            if (memory.Accesses - before >= MostAccesses)
            {
                report.Find(string.Create(CultureInfo.InvariantCulture, $"request {i} ({request}) took {memory.Accesses - before} accesses of memory"));
            }

            if (translation.Status is not (DmaStatus.Success or DmaStatus.UnsupportedRequest or DmaStatus.CompleterAbort))
            {
                report.Find(string.Create(CultureInfo.InvariantCulture, $"request {i} ({request}) ended with {translation.Status}"));
            }

            if ((i & 15) == 0)
            {
                Disturb(iommu, random, report);
            }
        }
    }

    private static RiscVIommuOptions Options(Random random, CachingMode caching)
    {
        ulong capabilities = RiscVIommuOptions.FullCapabilities;
        foreach (ulong bit in (ReadOnlySpan<ulong>)[
            Capabilities.MsiFlatBit, Capabilities.MsiMrifBit, Capabilities.AmoHwadBit, Capabilities.T2gpaBit,
            Capabilities.SvpbmtBit, Capabilities.Svrsw60t59bBit, Capabilities.Sv57Bit, Capabilities.Sv57x4Bit])
        {
            capabilities &= random.Next(4) == 0 ? ~bit : ulong.MaxValue;
        }

        return new()
        {
            Capabilities = capabilities,
            Caching = caching,
            GxlWritable = random.Next(2) == 0,
            IotlbEntries = 32 * random.Next(3),
            IotlbWays = 1 << random.Next(4),
            DdtCacheEntries = 4 * random.Next(3),
            PdtCacheEntries = 4 * random.Next(3),
        };
    }

    private static void Start(RiscVIommu iommu, Random random)
    {
        iommu.Write32(RegisterOffset.FeaturesControl, (uint)random.Next(8));
        iommu.Write64(RegisterOffset.CommandQueueBase, Page(random) | 3);
        iommu.Write64(RegisterOffset.FaultQueueBase, Page(random) | 4);
        iommu.Write64(RegisterOffset.PageRequestQueueBase, Page(random) | 2);
        iommu.Write32(RegisterOffset.CommandQueueCsr, 3);
        iommu.Write32(RegisterOffset.FaultQueueCsr, 3);
        iommu.Write32(RegisterOffset.PageRequestQueueCsr, 3);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, Page(random) | (uint)random.Next(1, 5));
    }

    private static void Disturb(RiscVIommu iommu, Random random, NoiseReport report)
    {
        switch (random.Next(8))
        {
            case 0:
                iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, Page(random) | (uint)random.Next(1, 6));
                break;
            case 1:
                iommu.Write32(RegisterOffset.CommandQueueTail, (uint)random.Next(16));
                break;
            case 2:
                // All that stops a queue is cleared by writing ones.
                iommu.Write32(RegisterOffset.CommandQueueCsr + ((uint)random.Next(3) * 4), 0xf03);
                break;
            case 3:
                _ = iommu.HandleInvalidationCompletion(
                    new(2, (ushort)random.Next(1 << 16), (byte)random.Next(256), Pasid.Invalid, (ulong)random.NextInt64()));
                break;
            case 4:
                iommu.HandlePageRequest(new(4, (ushort)random.Next(1 << 16), null, new((uint)random.Next(1 << 20)), (ulong)random.NextInt64()));
                break;
            case 5:
                iommu.Write32(RegisterOffset.FaultQueueHead, (uint)random.Next(64));
                break;
            case 6:
                report.See((ulong)iommu.Write(Request(random), new byte[random.Next(4) == 0 ? random.Next(10_000) : 4]));
                break;
            default:
                uint offset = (uint)random.Next(RegisterBytes / 4) * 4;
                report.See(iommu.Read32(offset));

                // Where the command queue is, is not changed: one of 2^32 commands made of noise may be legal for long.
                if (offset is < RegisterOffset.CommandQueueBase or >= RegisterOffset.CommandQueueHead)
                {
                    iommu.Write32(offset, (uint)random.NextInt64());
                }

                break;
        }
    }

    private static ulong Page(Random random) => PpnField.FromAddress((ulong)random.Next(1 << 16) << 12);

    private static DmaRequest Request(Random random)
    {
        uint device = (uint)random.Next(random.Next(4) == 0 ? 1 << 24 : 256);
        ulong address = (ulong)random.NextInt64() >> random.Next(64);
        return new(
            new(device), new(random.Next(4) == 0 ? ~address : address), (DmaFlags)random.Next(64), (DmaKind)random.Next(3),
            new((uint)random.Next(random.Next(2) == 0 ? 256 : 1 << 20)));
    }
}
