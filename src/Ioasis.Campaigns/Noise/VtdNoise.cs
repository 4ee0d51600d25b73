using System.Globalization;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Campaigns.Noise;

/// <summary>The model of VT-d over tables of noise, in legacy and scalable mode: each request ends, and nothing is thrown (invariant 7).</summary>
internal sealed class VtdNoise : INoise
{
    private const int Requests = 2_000;
    private const int Pages = 128;

    public string Name => "vtd";

    public void Run(int seed, NoiseReport report)
    {
        Random random = new(seed);
        LoopedMemory memory = new(random, Pages * 512);
        bool legacy = random.Next(3) == 0;
        VtdIommu unit = new(
            new()
            {
                Caching = (CachingMode)(seed % 3),
                Capabilities = new(VtdIommuOptions.AllCapabilities.Value | (random.Next(2) == 0 ? Capability.CachingModeBit : 0)),
            },
            memory);
        MakeContexts(memory, random, legacy);
        unit.Write64(RegisterOffset.RootTableAddress, (legacy ? 0ul : 1ul) << RootTable.ModeShift);
        unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
        unit.Write64(RegisterOffset.PageRequestQueueAddress, (ulong)random.Next(Pages) << 12);
        for (int i = 0; i < Requests; i++)
        {
            ulong address = (ulong)random.NextInt64() >> random.Next(64);
            DmaRequest request = new(
                new((uint)random.Next(random.Next(2) == 0 ? 4 : 0x1_0000)), new(random.Next(4) == 0 ? ~address : address),
                (DmaFlags)random.Next(64), (DmaKind)random.Next(3), new((uint)random.Next(1 << random.Next(21))));
            unit.Translate(request, out DmaTranslation translation);
            report.Count("requests");
            report.See((ulong)translation.Status);
            report.See(translation.Status == DmaStatus.Success ? translation.Address.Value : 0);
            report.Count(translation.Status == DmaStatus.Success ? "translated" : "refused");
            if (translation.Status is not (DmaStatus.Success or DmaStatus.UnsupportedRequest or DmaStatus.CompleterAbort))
            {
                report.Find(string.Create(CultureInfo.InvariantCulture, $"request {i} ({request}) ended with {translation.Status}"));
            }

            if (i % 64 == 0)
            {
                Disturb(unit, random, report);
            }
        }
    }

    private static void Disturb(VtdIommu unit, Random random, NoiseReport report)
    {
        uint offset = (uint)random.Next(0x400) & ~3u;
        if (offset is not (RegisterOffset.GlobalCommand or RegisterOffset.RootTableAddress or RegisterOffset.RootTableAddress + 4))
        {
            unit.Write32(offset, (uint)random.Next() & (uint)random.Next());
        }

        report.See(unit.Read32((uint)random.Next(0x1000) & ~3u));
        unit.HandlePageRequest(new(4, (ushort)random.Next(16), null, new((uint)random.Next(4)), (ulong)random.NextInt64()));
        _ = unit.HandleInvalidationCompletion(new(2, (ushort)random.Next(16), null, Pasid.Invalid, (ulong)random.NextInt64()));
    }

    // Contexts of devices 0 to 3 that lead on, and PASIDs 0 to 63: without them hardly a request would get as far as the tables.
    private static void MakeContexts(LoopedMemory memory, Random random, bool legacy)
    {
        memory.Put(0, 0x1001);
        memory.Put(8, 0);
        for (ulong device = 0; device < 4; device++)
        {
            ulong place = 0x1000 + (device * (legacy ? (ulong)ContextEntry.Size : ScalableContextEntry.Size));
            memory.Put(place, legacy
                ? Table() | ((ulong)random.Next(2) << ContextEntry.TranslationTypeShift) | 1
                : 0x2001 | ScalableContextEntry.DeviceTlbBit | ScalableContextEntry.PasidBit | ScalableContextEntry.PageRequestBit);
            memory.Put(place + 8, legacy ? (ulong)random.Next(1, 4) | (7 << ContextEntry.HighDomainIdShift) : 0);
            if (!legacy)
            {
                memory.Put(place + 16, 0);
                memory.Put(place + 24, 0);
            }
        }

        memory.Put(0x2000, legacy ? 0 : 0x3001ul);
        for (ulong place = 0x3000; place < 0x4000 && !legacy; place += PasidTableEntry.Size)
        {
            memory.Put(
                place,
                Table() | ((ulong)random.Next(1, 5) << PasidTableEntry.Word0TranslationTypeShift)
                | ((ulong)random.Next(1, 4) << PasidTableEntry.Word0AddressWidthShift) | 1);
            memory.Put(place + 8, 7 | PasidTableEntry.Word1PageWalkSnoopBit);
            memory.Put(place + 16, Table() | ((ulong)random.Next(2) << PasidTableEntry.Word2PagingModeShift));
            for (ulong rest = place + 24; rest < place + 64; rest += 8)
            {
                memory.Put(rest, 0);
            }
        }

        ulong Table() => (ulong)random.Next(4, Pages) << 12;
    }
}
