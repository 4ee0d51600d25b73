using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware.Tests.Model;

/// <summary>Devices' accesses to memory-resident interrupt files (section 2.3.3; Advanced Interrupt Architecture, "MSI PTE, MRIF mode").</summary>
public sealed class ResidentInterruptTests
{
    private const ulong Context = 0x1000 + (Device * 64);
    private const ulong MsiTable = 0x8000;
    private const ulong File = 0x9200;
    private const ulong Notice = 0xa000;
    private const uint NoticeId = 0x5a5;
    private const ulong FaultQueue = 0x1_0000;
    private const ulong Page = 0x2800_0000;
    private const uint Device = 3;

    [Theory]
    [InlineData(0u, 0x000u)]
    [InlineData(1u, 0x000u)]
    [InlineData(63u, 0x000u)]
    [InlineData(64u, 0x010u)]
    [InlineData(2047u, 0x1f0u)]
    public void A_word_at_offset_0_or_4_sets_the_pending_bit_of_the_identity_and_then_notifies(uint identity, uint offset)
    {
        foreach (bool bigEndian in (ReadOnlySpan<bool>)[false, true])
        {
            using Bed bed = new(new());
            bed.Memory.Write64(new(File + offset), 1ul << 40);
            bed.Write(Page + (bigEndian ? 4ul : 0), Word(identity, bigEndian)).ShouldBe(DmaStatus.Success);
            bed.Word64(File + offset).ShouldBe((1ul << 40) | (1ul << (int)(identity % 64)));
            bed.Word64(File + offset + 8).ShouldBe(0ul, "the enable bits are software's");
            bed.Messages.ShouldBe([(Notice, NoticeId)]);

            bed.Write(Page + (bigEndian ? 4ul : 0), Word(identity, bigEndian)).ShouldBe(DmaStatus.Success);
            bed.Messages.Count.ShouldBe(2, "each MSI notifies, pending already or not");
        }
    }

    [Theory]
    [InlineData(0ul, 2048u)]
    [InlineData(0ul, 0xffff_ffffu)]
    [InlineData(8ul, 1u)]
    [InlineData(0xffcul, 1u)]
    public void A_word_that_is_no_MSI_is_accepted_and_discarded(ulong offset, uint value)
    {
        using Bed bed = new(new());
        bed.Write(Page + offset, Word(value, bigEndian: false)).ShouldBe(DmaStatus.Success);
        bed.IsFileEmpty().ShouldBeTrue();
        bed.Messages.ShouldBeEmpty();
        bed.Iommu.Read32(RegisterOffset.FaultQueueTail).ShouldBe(0u);
    }

    [Theory]
    [InlineData(0ul, 1)]
    [InlineData(0ul, 2)]
    [InlineData(0ul, 8)]
    [InlineData(1ul, 4)]
    [InlineData(0xffeul, 4)]
    public void Any_other_access_is_refused_without_a_record(ulong offset, int length)
    {
        using Bed bed = new(new());
        bed.Write(Page + offset, new byte[length]).ShouldBe(DmaStatus.UnsupportedRequest);
        bed.Read(Page + offset, new byte[length]).ShouldBe(DmaStatus.UnsupportedRequest);
        bed.IsFileEmpty().ShouldBeTrue();
        bed.Messages.ShouldBeEmpty();
        bed.Iommu.Read32(RegisterOffset.FaultQueueTail).ShouldBe(0u);
    }

    [Fact]
    public void An_aligned_word_reads_0()
    {
        using Bed bed = new(new());
        bed.Memory.Write64(new(File), ulong.MaxValue);
        byte[] word = [1, 2, 3, 4];
        bed.Read(Page, word).ShouldBe(DmaStatus.Success);
        word.ShouldBe(new byte[4]);
    }

    [Theory]
    [InlineData(MemoryStatus.AccessFault, FaultCause.MrifAccessFault)]
    [InlineData(MemoryStatus.DataCorruption, FaultCause.MrifDataCorruption)]
    public void A_file_that_cannot_be_accessed_is_a_fault_of_the_write_unless_DTF_hides_it(MemoryStatus status, FaultCause cause)
    {
        foreach (bool hidden in (ReadOnlySpan<bool>)[false, true])
        {
            using Bed bed = new(new(), hidden ? DeviceTranslationControl.DisableTranslationFaultsBit : 0);
            bed.Faulty.Bad = (File, 16, status);
            bed.Write(Page, Word(5, bigEndian: false)).ShouldBe(DmaStatus.UnsupportedRequest);
            bed.Messages.ShouldBeEmpty();
            bed.Iommu.Read32(RegisterOffset.FaultQueueTail).ShouldBe(hidden ? 0u : 1u);
            if (!hidden)
            {
                FaultRecord record = new(bed.Word64(FaultQueue), 0, bed.Word64(FaultQueue + 16), bed.Word64(FaultQueue + 24));
                record.Cause.ShouldBe(cause);
                record.Type.ShouldBe(TransactionType.UntranslatedWrite);
                bed.Word64(FaultQueue + 16).ShouldBe(Page);
            }
        }
    }

    [Fact]
    public void A_file_beyond_the_physical_addresses_is_an_access_fault()
    {
        ulong capabilities = (RiscVIommuOptions.FullCapabilities & ~(0x3ful << Capabilities.PasShift)) | (40ul << Capabilities.PasShift);
        using Bed bed = new(new() { Capabilities = capabilities });
        bed.MapFile(1ul << 40);
        bed.Write(Page, Word(5, bigEndian: false)).ShouldBe(DmaStatus.UnsupportedRequest);
        new FaultRecord(bed.Word64(FaultQueue), 0, 0, 0).Cause.ShouldBe(FaultCause.MrifAccessFault);
    }

    [Fact]
    public void Without_a_sink_the_notice_is_stored_to_memory_little_endian()
    {
        using Bed bed = new(new() { FeaturesControl = 0 }, hasSink: false);
        bed.Write(Page, Word(5, bigEndian: false)).ShouldBe(DmaStatus.Success);
        bed.Word64(Notice).ShouldBe(NoticeId);
    }

    [Fact]
    public void MSIs_of_many_devices_at_once_lose_no_bit()
    {
        using Bed bed = new(new());
        Parallel.For(0, 2048, new() { MaxDegreeOfParallelism = 4 }, i => bed.Write(Page, Word((uint)i, bigEndian: false)).ShouldBe(DmaStatus.Success));
        for (ulong pair = 0; pair < 32; pair++)
        {
            bed.Word64(File + (pair * 16)).ShouldBe(ulong.MaxValue);
        }

        bed.Messages.Count.ShouldBe(2048);
    }

    private static byte[] Word(uint value, bool bigEndian)
    {
        byte[] bytes = new byte[4];
        if (bigEndian)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        }
        else
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        }

        return bytes;
    }

    // A device whose only interrupt file, at Page, is in memory.
    private sealed class Bed : IMsiSink, IDisposable
    {
        private readonly Lock _gate = new();

        public Bed(RiscVIommuOptions options, ulong control = 0, bool hasSink = true)
        {
            Faulty = new(Memory);
            Iommu = new(options, Faulty, msiSink: hasSink ? this : null);
            Store(Context, DeviceTranslationControl.ValidBit | control);
            Store(Context + DeviceContextOffset.Iohgatp, ((ulong)Iohgatp.ModeSv39x4 << TablePointer.ModeShift) | 0x4);
            Store(Context + DeviceContextOffset.MsiPageTablePointer, ((ulong)Msiptp.ModeFlat << TablePointer.ModeShift) | (MsiTable >> 12));
            Store(Context + DeviceContextOffset.MsiAddressPattern, Page >> 12);
            MapFile(File);
            Iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x1000) | (ulong)IommuMode.OneLevel);
            Iommu.Write64(RegisterOffset.FaultQueueBase, PpnField.FromAddress(FaultQueue) | 4);
            Iommu.Write32(RegisterOffset.FaultQueueCsr, QueueCsr.EnableBit);
        }

        public SparsePhysicalMemory Memory { get; } = new();

        public FaultyMemory Faulty { get; }

        public RiscVIommu Iommu { get; }

        public List<(ulong Address, uint Data)> Messages { get; } = [];

        public void MapFile(ulong file)
        {
            Store(MsiTable, MsiPageTableEntry.ValidBit | ((ulong)MsiPageTableEntry.ModeMrif << MsiPageTableEntry.ModeShift)
                | ((file >> 9) << MsiPageTableEntry.MrifAddressShift));
            Store(MsiTable + 8, PpnField.FromAddress(Notice) | (NoticeId & 0x3ff) | ((ulong)(NoticeId >> 10) << MsiPageTableEntry.NoticeId10Shift));
        }

        public DmaStatus Write(ulong address, byte[] bytes) => Iommu.Write(new(new(Device), new(address)), bytes);

        public DmaStatus Read(ulong address, byte[] bytes) => Iommu.Read(new(new(Device), new(address)), bytes);

        public ulong Word64(ulong address)
        {
            Memory.Read64(new(address), out ulong value).ShouldBe(MemoryStatus.Success);
            return value;
        }

        public bool IsFileEmpty() => Enumerable.Range(0, 64).All(i => Word64(File + ((ulong)i * 8)) == 0);

        public MemoryStatus Send(PhysicalAddress address, uint data)
        {
            lock (_gate)
            {
                Messages.Add((address.Value, data));
            }

            return MemoryStatus.Success;
        }

        public void Dispose() => Memory.Dispose();

        private void Store(ulong address, ulong value) => Memory.Write64(new(address), value).ShouldBe(MemoryStatus.Success);
    }

    // Memory with one range that fails.
    private sealed class FaultyMemory(SparsePhysicalMemory memory) : IPhysicalMemory
    {
        public (ulong Start, ulong Length, MemoryStatus Status)? Bad { get; set; }

        public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => Check(address) ?? memory.Read(address, destination);

        public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => Check(address) ?? memory.Write(address, source);

        public MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            MemoryStatus status = memory.Read64(address, out value);
            return Check(address) ?? status;
        }

        public MemoryStatus Write64(PhysicalAddress address, ulong value) => Check(address) ?? memory.Write64(address, value);

        public MemoryStatus Read32(PhysicalAddress address, out uint value)
        {
            MemoryStatus status = memory.Read32(address, out value);
            return Check(address) ?? status;
        }

        public MemoryStatus Write32(PhysicalAddress address, uint value) => Check(address) ?? memory.Write32(address, value);

        public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
        {
            observed = 0;
            return Check(address) ?? memory.CompareExchange64(address, expected, desired, out observed);
        }

        public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

        private MemoryStatus? Check(PhysicalAddress address) =>
            Bad is { } bad && address.Value - bad.Start < bad.Length ? bad.Status : null;
    }
}
