using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware.Tests.Model;

/// <summary>Wires and messages (sections 5.18, 5.28, 5.29), and that their receiver may come straight back.</summary>
public sealed class InterruptTests
{
    private const ulong FaultQueue = 0x10_0000;

    [Fact]
    public void A_wire_is_asserted_while_a_pending_bit_selects_it_and_its_handler_may_access_registers()
    {
        using SparsePhysicalMemory memory = new();
        Wires wires = new();
        RiscVIommu iommu = new(new() { FeaturesControl = FeaturesControl.WiredInterruptsBit }, memory, lines: wires);
        EnableFaultQueue(iommu);
        iommu.Write64(RegisterOffset.InterruptCauseToVector, 5ul << InterruptCauseToVector.FaultQueueShift);
        wires.OnAssert = () =>
        {
            iommu.Read32(RegisterOffset.FaultQueueTail).ShouldBe(1u);
            iommu.Write32(RegisterOffset.FaultQueueHead, 1);
            iommu.Write32(RegisterOffset.InterruptPendingStatus, (uint)InterruptPending.FaultQueue);
        };

        iommu.Translate(new(new(1), new(0x1000)), out DmaTranslation translation);
        translation.Status.ShouldBe(DmaStatus.UnsupportedRequest);
        wires.Seen.ShouldBe([(5, true), (5, false)]);
        iommu.Read32(RegisterOffset.InterruptPendingStatus).ShouldBe(0u);
    }

    [Fact]
    public void A_message_is_held_back_while_masked_and_sent_when_the_mask_goes()
    {
        using SparsePhysicalMemory memory = new();
        Messages messages = new();
        RiscVIommu iommu = new(new(), memory, msiSink: messages);
        EnableFaultQueue(iommu);
        iommu.Write64(RegisterOffset.MsiConfigurationTable, 0x2000_0004);
        iommu.Write32(RegisterOffset.MsiConfigurationTable + MsiConfiguration.DataOffset, 42);
        iommu.Write32(RegisterOffset.MsiConfigurationTable + MsiConfiguration.VectorControlOffset, MsiConfiguration.MaskedBit);

        iommu.Translate(new(new(1), new(0x1000)), out _);
        messages.Seen.ShouldBeEmpty();
        iommu.Write32(RegisterOffset.MsiConfigurationTable + MsiConfiguration.VectorControlOffset, 0);
        messages.Seen.ShouldBe([(0x2000_0004, 42)]);
    }

    [Fact]
    public void Enabling_the_interrupts_of_a_queue_with_an_error_raises_one()
    {
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new(), memory);
        iommu.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(FaultQueue) | 4);
        iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        iommu.Write32(RegisterOffset.CommandQueueTail, 1);
        (iommu.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.CommandIllegalBit).ShouldNotBe(0u, "a command of zeros");
        iommu.Read32(RegisterOffset.InterruptPendingStatus).ShouldBe(0u);

        iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit);
        iommu.Read32(RegisterOffset.InterruptPendingStatus).ShouldBe((uint)InterruptPending.CommandQueue);
    }

    [Fact]
    public void QoS_IDs_are_those_of_the_device_context_or_of_the_register_while_bare()
    {
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new(), memory);
        iommu.Write32(RegisterOffset.QosId, 0x0123_0456);
        DmaRequest request = new(new(2), new(0x1000));
        iommu.TryGetQosIds(request, out _, out _).ShouldBeFalse();
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, (ulong)IommuMode.Bare);
        iommu.TryGetQosIds(request, out uint rcid, out uint mcid).ShouldBeTrue();
        (rcid, mcid).ShouldBe((0x456u, 0x123u));

        memory.Write64(new(0x4000 + (2 * 64) + DeviceContextOffset.TranslationAttributes), (0x77ul << DeviceTranslationAttributes.RcidShift) | (0x88ul << DeviceTranslationAttributes.McidShift));
        memory.Write64(new(0x4000 + (2 * 64)), DeviceTranslationControl.ValidBit);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x4000) | (ulong)IommuMode.OneLevel);
        iommu.TryGetQosIds(request, out rcid, out mcid).ShouldBeTrue();
        (rcid, mcid).ShouldBe((0x77u, 0x88u));
    }

    [Fact]
    public void A_message_that_nothing_takes_is_a_fault_of_its_own()
    {
        using SparsePhysicalMemory memory = new();
        Messages messages = new() { Status = MemoryStatus.AccessFault };
        RiscVIommu iommu = new(new(), memory, msiSink: messages);
        EnableFaultQueue(iommu);
        iommu.Write64(RegisterOffset.MsiConfigurationTable, 0x2000_0004);

        iommu.Translate(new(new(1), new(0x1000)), out _);
        iommu.Read32(RegisterOffset.FaultQueueTail).ShouldBe(2u);
        memory.Read64(new(FaultQueue + 32), out ulong header);
        memory.Read64(new(FaultQueue + 48), out ulong iotval);
        new FaultRecord(header, 0, iotval, 0).Cause.ShouldBe(FaultCause.MsiWriteAccessFault);
        iotval.ShouldBe(0x2000_0004ul);
    }

    [Fact]
    public void A_pending_bit_drives_its_wire_as_soon_as_wires_are_chosen()
    {
        using SparsePhysicalMemory memory = new();
        Wires wires = new();
        RiscVIommu iommu = new(new(), memory, lines: wires);
        EnableFaultQueue(iommu);
        iommu.Translate(new(new(1), new(0x1000)), out _);
        iommu.Write32(RegisterOffset.FaultQueueCsr, 0);
        iommu.Read32(RegisterOffset.InterruptPendingStatus).ShouldBe((uint)InterruptPending.FaultQueue);
        wires.Seen.ShouldBeEmpty();

        iommu.Write32(RegisterOffset.FeaturesControl, FeaturesControl.WiredInterruptsBit);
        wires.Seen.ShouldBe([(0, true)]);
        iommu.Write32(RegisterOffset.FeaturesControl, 0);
        wires.Seen.ShouldBe([(0, true), (0, false)]);
    }

    [Theory]
    [InlineData(RegisterOffset.InterruptPendingStatus)]
    [InlineData(RegisterOffset.CounterOverflow)]
    [InlineData(RegisterOffset.CyclesCounter)]
    public void An_overflow_of_the_cycles_counter_interrupts_whichever_register_finds_it(uint register)
    {
        using SparsePhysicalMemory memory = new();
        Messages messages = new();
        ulong cycles = 0;
        RiscVIommu iommu = new(new() { HpmCounterBits = 32, CycleSource = () => cycles }, memory, msiSink: messages);
        iommu.Write64(RegisterOffset.MsiConfigurationTable, 0x1000);
        iommu.Write64(RegisterOffset.CyclesCounter, 0xffff_ffff);
        iommu.Read32(register);
        messages.Seen.ShouldBeEmpty();

        cycles = 3;
        uint read = iommu.Read32(register);
        messages.Seen.Count.ShouldBe(1);
        read.ShouldBe(register switch
        {
            RegisterOffset.InterruptPendingStatus => (uint)InterruptPending.PerformanceMonitor,
            RegisterOffset.CounterOverflow => 1u,
            _ => 2u,
        });
        iommu.Read32(RegisterOffset.InterruptPendingStatus).ShouldBe((uint)InterruptPending.PerformanceMonitor);
        cycles = 1ul << 32;
        iommu.Write32(RegisterOffset.InterruptPendingStatus, uint.MaxValue);
        iommu.Read32(register);
        messages.Seen.Count.ShouldBe(1, "OF is set already");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_message_of_a_counter_that_a_request_overflows_precedes_that_of_its_fault(bool isPageRequest)
    {
        using SparsePhysicalMemory memory = new();
        Messages messages = new();
        RiscVIommu iommu = new(new(), memory, msiSink: messages);
        EnableFaultQueue(iommu);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x4000) | (ulong)IommuMode.OneLevel);
        iommu.Write64(RegisterOffset.InterruptCauseToVector, (1ul << InterruptCauseToVector.FaultQueueShift) | (2ul << InterruptCauseToVector.PerformanceMonitorShift));
        iommu.Write64(RegisterOffset.MsiConfigurationTable + MsiConfiguration.EntrySize, 0x1000);
        iommu.Write64(RegisterOffset.MsiConfigurationTable + (2 * MsiConfiguration.EntrySize), 0x2000);
        iommu.Write64(RegisterOffset.EventSelector1, (ulong)HpmEvent.DeviceDirectoryWalk);
        iommu.Write64(RegisterOffset.EventCounter1, ulong.MaxValue);

        if (isPageRequest)
        {
            iommu.HandlePageRequest(new(PcieMessageCode.PageRequest, 1, null, Primitives.Pasid.Invalid, 0));
        }
        else
        {
            iommu.Write64(RegisterOffset.TranslationRequestControl, TranslationRequestControl.GoBusyBit | (1ul << TranslationRequestControl.DidShift));
        }

        messages.Seen.Select(m => m.Address).ShouldBe([0x2000ul, 0x1000ul]);
    }

    [Theory]
    [InlineData(ReferenceDeviations.None, false)]
    [InlineData(ReferenceDeviations.FenceAddress62Bits, true)]
    internal void A_fence_to_an_address_beyond_PAS_is_a_memory_fault_up_to_bit_63(ReferenceDeviations deviations, bool stores)
    {
        const ulong Queue = 0x20_0000;
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new() { Deviations = deviations }, memory);
        iommu.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(Queue) | 4);
        iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        memory.Write64(new(Queue), (ulong)CommandOpcode.Iofence | CommandBits.AddressValidBit | (7ul << CommandBits.FenceDataShift));
        memory.Write64(new(Queue + 8), (1ul << 61) | (0x3000 >> 2));
        iommu.Write32(RegisterOffset.CommandQueueTail, 1);
        memory.Read64(new(0x3000), out ulong stored);
        stored.ShouldBe(stores ? 7ul : 0);
        iommu.Read32(RegisterOffset.CommandQueueHead).ShouldBe(stores ? 1u : 0);
        ((iommu.Read32(RegisterOffset.CommandQueueCsr) & QueueCsr.MemoryFaultBit) != 0).ShouldBe(!stores);
    }

    private static void EnableFaultQueue(RiscVIommu iommu)
    {
        iommu.Write64(RegisterOffset.FaultQueueBase, PpnField.FromAddress(FaultQueue) | 4);
        iommu.Write32(RegisterOffset.FaultQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit);
    }

    private sealed class Wires : IInterruptLines
    {
        public List<(int Vector, bool Asserted)> Seen { get; } = [];

        public Action? OnAssert { get; set; }

        public void SetLevel(int vector, bool asserted)
        {
            Seen.Add((vector, asserted));
            if (asserted)
            {
                OnAssert?.Invoke();
            }
        }
    }

    private sealed class Messages : IMsiSink
    {
        public List<(ulong Address, uint Data)> Seen { get; } = [];

        public MemoryStatus Status { get; init; } = MemoryStatus.Success;

        public MemoryStatus Send(Primitives.PhysicalAddress address, uint data)
        {
            Seen.Add((address.Value, data));
            return Status;
        }
    }
}
