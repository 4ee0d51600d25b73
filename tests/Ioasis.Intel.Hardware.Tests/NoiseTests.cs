using System.Diagnostics;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>Whatever is in tables, queues and registers: requests end, and nothing is thrown.</summary>
public sealed class NoiseTests
{
    private static readonly bool s_all = Environment.GetEnvironmentVariable("IOASIS_TEST_ALL") == "1";

    [Theory]
    [InlineData(CachingMode.None, 500_000)]
    [InlineData(CachingMode.Realistic, 500_000)]
    [InlineData(CachingMode.Hostile, 20_000)]
    public void Requests_over_random_tables_end(CachingMode caching, int count)
    {
        count *= s_all ? 10 : 1;
        const int PerUnit = 5_000;
        Stopwatch watch = Stopwatch.StartNew();
        int[] results = new int[8];
        for (int seed = 0; seed < count / PerUnit; seed++)
        {
            Random random = new(seed);
            NoiseMemory memory = new(random);
            bool legacy = seed % 3 == 0;
            bool tidy = seed % 4 != 0;
            if (tidy)
            {
                MakeContexts(memory, random, legacy);
            }

            VtdIommu unit = new(VtdBench.With(caching, addCap: seed % 2 == 0 ? Capability.CachingModeBit : 0), memory);
            unit.Write64(
                RegisterOffset.RootTableAddress, (tidy ? 0 : (ulong)random.Next(512) << 12) | ((legacy ? 0ul : 1) << RootTable.ModeShift));
            unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
            unit.Write64(RegisterOffset.InterruptTableAddress, ((ulong)random.Next(512) << 12) | 15);
            unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetInterruptTableBit);
            unit.Write32(
                RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit | (seed % 5 == 0 ? GlobalControl.InterruptRemappingEnableBit : 0));
            unit.Write64(RegisterOffset.PageRequestQueueAddress, (ulong)random.Next(512) << 12);
            for (int i = 0; i < PerUnit; i++)
            {
                ulong address = (ulong)random.NextInt64() >> random.Next(64);
                DmaRequest request = new(
                    new((uint)random.Next(random.Next(2) == 0 ? 4 : 0x1_0000)),
                    new(random.Next(4) == 0 ? ~address : address),
                    (DmaFlags)random.Next(64),
                    (DmaKind)random.Next(3),
                    new((uint)random.Next(1 << random.Next(21))));
                unit.Translate(request, out DmaTranslation translation);
                results[(int)translation.Status & 7]++;
                if (i % 64 == 0)
                {
                    uint offset = (uint)random.Next(0x400) & ~3u;
                    if (offset is not (RegisterOffset.GlobalCommand or RegisterOffset.RootTableAddress or RegisterOffset.RootTableAddress + 4))
                    {
                        unit.Write32(offset, (uint)random.Next() & (uint)random.Next());
                    }

                    _ = unit.Read32((uint)random.Next(0x1000));
                    unit.HandlePageRequest(new(4, (ushort)random.Next(16), null, new((uint)random.Next(4)), (ulong)random.NextInt64()));
                    _ = unit.HandleInvalidationCompletion(new(2, (ushort)random.Next(16), null, Pasid.Invalid, (ulong)random.NextInt64()));
                }
            }
        }

        results[(int)DmaStatus.Success].ShouldBeGreaterThan(count / 1000, $"{string.Join(' ', results)}");
        results.Sum().ShouldBe(count / PerUnit * PerUnit);
        watch.Elapsed.ShouldBeLessThan(TimeSpan.FromMinutes(s_all ? 20 : 4));
    }

    // Good contexts of devices 0 to 3, and good PASIDs 0 to 63, over tables of noise: without them hardly a request gets that far.
    private static void MakeContexts(NoiseMemory memory, Random random, bool legacy)
    {
        ulong Table() => (ulong)random.Next(4, 512) << 12;

        void Put(ulong address, ulong value) => memory.Write64(new(address), value).ShouldBe(MemoryStatus.Success);

        Put(0, 0x1001);
        Put(8, 0);
        for (ulong device = 0; device < 4; device++)
        {
            ulong place = 0x1000 + (device * (legacy ? (ulong)ContextEntry.Size : ScalableContextEntry.Size));
            Put(place, legacy ? Table() | ((ulong)random.Next(2) << ContextEntry.TranslationTypeShift) | 1 : 0x2001 | VtdBench.AllContextFlags);
            Put(place + 8, legacy ? (ulong)random.Next(1, 4) | (7 << ContextEntry.HighDomainIdShift) : 0);
            if (!legacy)
            {
                Put(place + 16, 0);
                Put(place + 24, 0);
            }
        }

        Put(0x2000, legacy ? 0 : 0x3001ul);
        for (ulong place = 0x3000; place < 0x4000 && !legacy; place += PasidTableEntry.Size)
        {
            ulong type = (ulong)random.Next(1, 5);
            Put(place, Table() | (type << PasidTableEntry.Word0TranslationTypeShift) | ((ulong)random.Next(1, 4) << PasidTableEntry.Word0AddressWidthShift) | 1);
            Put(place + 8, 7 | PasidTableEntry.Word1PageWalkSnoopBit);
            Put(place + 16, Table() | ((ulong)random.Next(2) << PasidTableEntry.Word2PagingModeShift));
            for (ulong rest = place + 24; rest < place + 64; rest += 8)
            {
                Put(rest, 0);
            }
        }
    }

    [Theory]
    [InlineData(TranslationTableMode.Legacy)]
    [InlineData(TranslationTableMode.Scalable)]
    internal void Random_descriptors_are_executed_or_stop_the_queue(TranslationTableMode mode)
    {
        Random random = new(4);
        int stops = 0;
        int executed = 0;
        foreach (CachingMode caching in Enum.GetValues<CachingMode>())
        {
            using VtdBench bench = new(VtdBench.With(caching));
            bench.Enable(mode);
            bench.EnableQueue(wide: mode == TranslationTableMode.Scalable);
            for (int i = 0; i < (s_all ? 200_000 : 5_000); i++)
            {
                // Mostly types that exist with few other bits, so that some are good.
                ulong sparse = (ulong)random.NextInt64() & (ulong)random.NextInt64() & (ulong)random.NextInt64() & ~0xe0ful;
                bench.Submit((sparse & ~0xe0ful) | (uint)random.Next(1, 12), (ulong)random.NextInt64() & 0xffff_f000 & (ulong)random.NextInt64());
                uint status = bench.Iommu.Read32(RegisterOffset.FaultStatus);
                if ((status & FaultStatus.QueueErrorBit) != 0)
                {
                    stops++;
                    bench.Command(GlobalControl.QueuedInvalidationEnableBit, false);
                    bench.Iommu.Write32(RegisterOffset.FaultStatus, FaultStatus.QueueErrorBit);
                    bench.EnableQueue(wide: mode == TranslationTableMode.Scalable);
                }
                else
                {
                    executed++;
                }
            }
        }

        stops.ShouldBeGreaterThan(100);
        executed.ShouldBeGreaterThan(20);
    }

    /// <summary>Two mebibytes of random words, found again at every address: entries mostly look alive and point anywhere.</summary>
    private sealed class NoiseMemory : IPhysicalMemory
    {
        private readonly ulong[] _words = new ulong[1 << 18];

        public NoiseMemory(Random random)
        {
            for (int i = 0; i < _words.Length; i++)
            {
                ulong word = (ulong)random.NextInt64() & 0x000f_ffff_ffff_ffff;
                _words[i] = random.Next(8) == 0 ? word | ((ulong)random.Next() << 48) : (word & ~0xf80ul) | ((ulong)random.Next(4) * 0x80 & (ulong)random.Next()) | 3;
            }
        }

        public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
        {
            for (int i = 0; i < destination.Length; i++)
            {
                ulong place = address.Value + (ulong)i;
                destination[i] = (byte)(Word(place) >> (int)((place & 7) * 8));
            }

            return MemoryStatus.Success;
        }

        public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
        {
            for (int i = 0; i < source.Length; i++)
            {
                ulong place = address.Value + (ulong)i;
                int shift = (int)((place & 7) * 8);
                Word(place) = (Word(place) & ~(0xfful << shift)) | ((ulong)source[i] << shift);
            }

            return MemoryStatus.Success;
        }

        public MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            value = Word(address.Value);
            return (address.Value >> 12) % 61 == 60 ? MemoryStatus.AccessFault : MemoryStatus.Success;
        }

        public MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            Word(address.Value) = value;
            return MemoryStatus.Success;
        }

        public MemoryStatus Read32(PhysicalAddress address, out uint value)
        {
            value = (uint)(Word(address.Value) >> (int)((address.Value & 4) * 8));
            return MemoryStatus.Success;
        }

        public MemoryStatus Write32(PhysicalAddress address, uint value)
        {
            int shift = (int)((address.Value & 4) * 8);
            Word(address.Value) = (Word(address.Value) & ~(0xffff_fffful << shift)) | ((ulong)value << shift);
            return MemoryStatus.Success;
        }

        public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
        {
            observed = Word(address.Value);
            if (observed == expected)
            {
                Word(address.Value) = desired;
            }

            return MemoryStatus.Success;
        }

        public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

        private ref ulong Word(ulong address) => ref _words[(address >> 3) & (ulong)(_words.Length - 1)];
    }
}
