using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Taking an IOMMU over: refusals with reasons, and whatever an earlier owner left.</summary>
public sealed class ProbeTests
{
    private const ulong OldRoot = 0x10_0000;

    [Theory]
    [InlineData(VtdMode.Auto, 0ul, ExtendedCapability.QueuedInvalidationBit, "ECAP_REG.QI")]
    [InlineData(VtdMode.Scalable, 0ul, ExtendedCapability.ScalableModeBit, "ECAP_REG.SMTS")]
    [InlineData(VtdMode.Scalable, 0ul, ExtendedCapability.FirstStageBit | ExtendedCapability.SecondStageBit, "ECAP_REG.FSTS, SSTS")]
    [InlineData(VtdMode.Legacy, 0x1ful << 8, 0ul, "CAP_REG.SAGAW")]
    [InlineData(VtdMode.Scalable, 0x1ful << 8, ExtendedCapability.FirstStageBit, "CAP_REG.SAGAW")]
    public void Hardware_that_lacks_what_is_needed_is_refused_by_name(VtdMode mode, ulong capability, ulong extended, string named)
    {
        using Rig rig = new(new RigOptions
        {
            Driver = new() { Mode = mode },
            Registers = window => new Masked(window, capability, extended),
        });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.Log.ToString().ShouldContain(named);
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Hardware.Read32(RegisterOffset.GlobalStatus).ShouldBe(0u);
    }

    [Fact]
    public void Registers_that_do_not_answer_are_refused()
    {
        using Rig rig = new(new RigOptions { Registers = static _ => new Dead() });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
    }

    public static TheoryData<VtdDriverOptions> BadOptions { get; } =
    [
        new VtdDriverOptions { Segment = 0x1_0000 },
        new VtdDriverOptions { Mode = (VtdMode)7 },
        new VtdDriverOptions { PreferredLevels = 2 },
        new VtdDriverOptions { PreferredLevels = 6 },
        new VtdDriverOptions { QueueSizeLog2 = 16 },
        new VtdDriverOptions { QueueSizeLog2 = 6 },
        new VtdDriverOptions { PageRequestQueueSizeLog2 = 15 },
        new VtdDriverOptions { HostAddressWidth = 53 },
        new VtdDriverOptions { InvalidationLimit = 0 },
        new VtdDriverOptions { InvalidationLimit = 65 },
        new VtdDriverOptions { DomainIdBits = 1 },
        new VtdDriverOptions { CommandTimeout = TimeSpan.Zero },
        new VtdDriverOptions { AtsTimeout = TimeSpan.FromSeconds(-1) },
        new VtdDriverOptions { FaultMessage = new(new(0xfee0_0002), 1) },
    ];

    [Theory]
    [MemberData(nameof(BadOptions))]
    public void An_option_out_of_range_is_named_and_refused(VtdDriverOptions options)
    {
        using Rig rig = new(new RigOptions { Driver = options });
        rig.ProbeResult.ShouldBe(Errno.InvalidArgument);
        rig.Log.ToString().ShouldContain("option out of range");
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void Without_scalable_mode_it_is_run_in_legacy_mode()
    {
        const ulong scalable = ExtendedCapability.ScalableModeBit | ExtendedCapability.SupervisorRequestBit | ExtendedCapability.PasidBit
            | ExtendedCapability.FirstStageBit | ExtendedCapability.PageWalkCoherencyBit | ExtendedCapability.RidPasidBit
            | ExtendedCapability.NestedBit | ExtendedCapability.PageRequestBit | ExtendedCapability.StopMarkerBit
            | ExtendedCapability.RidPrivilegeBit | ExtendedCapability.SecondStageDirtyBit | ExtendedCapability.ExtendedAccessedBit
            | ExtendedCapability.AbortDmaBit | ExtendedCapability.SecondStageBit;
        using Rig rig = new(new RigOptions().With(
            withoutExtended: scalable, withoutCapability: Capability.FirstStage1GiBBit | Capability.FirstStage5LevelBit));
        rig.Driver.IsScalable.ShouldBeFalse(rig.Log.ToString());
        IommuDevice device = rig.AddDevice(0x0110);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(0x1000, 0x4000_0000);
        rig.ShouldReach(device, 0x1000, 0x4000_0000);
        rig.Driver.Dispose();

        // Without abort-DMA mode, what is left is that DMA passes.
        (rig.Hardware.Read32(RegisterOffset.GlobalStatus) & ~GlobalControl.OneShotMask).ShouldBe(0u);
    }

    // Somebody's tables translate when the driver comes; devices that go on see either those or ours, never untranslated memory.
    [Theory]
    [InlineData(VtdMode.Scalable, TranslationTableMode.Legacy)]
    [InlineData(VtdMode.Legacy, TranslationTableMode.Legacy)]
    internal void An_IOMMU_that_was_left_on_is_taken_over_without_a_gap(VtdMode mode, TranslationTableMode left)
    {
        List<string> passed = [];
        VtdIommu? hardware = null;
        using Rig rig = new(new RigOptions
        {
            Driver = new() { Mode = mode },
            Before = (iommu, memory) =>
            {
                hardware = iommu;
                LeaveOn(iommu, memory, left);
            },
            Registers = window => new AfterEachWrite(window, offset =>
            {
                hardware!.Translate(new(new DeviceId(8), new(0x7000_0000)), out DmaTranslation stray);
                if (stray.Status == DmaStatus.Success)
                {
                    passed.Add($"{offset:x} {stray.Address}");
                }
            }),
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.Log.ToString());
        passed.ShouldBeEmpty();
        rig.Log.ToString().ShouldContain("left on");
        rig.HandleInterrupts();
        rig.Sink.Faults.Clear();

        // What the earlier owner mapped, and the hardware cached, is gone.
        rig.Hardware.Translate(new(new DeviceId(8), new(0x1000)), out DmaTranslation old);
        old.Status.ShouldNotBe(DmaStatus.Success);
        IommuDevice device = rig.AddDevice(8);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(0x1000, 0x4000_0000);
        rig.ShouldReach(device, 0x1000, 0x4000_0000);
    }

    [Theory]
    [InlineData(VtdMode.Legacy)]
    [InlineData(VtdMode.Scalable)]
    public void What_the_hardware_cached_for_a_former_owner_is_forgotten(VtdMode mode)
    {
        // Without ESRTPS a new root table empties no cache (section 6.6).
        RigOptions options = new RigOptions { Driver = new() { Mode = mode } }.With(withoutCapability: Capability.SetRootTableInvalidatesBit);
        using Rig rig = new(options);
        IommuDevice device = rig.AddDevice(0x10);
        rig.Attached(device).ShouldMap(0x1000, 0x8000_0000);
        rig.ShouldReach(device, 0x1000, 0x8000_0000);

        // The owner is gone without a word; the next one comes.
        VtdIommuInstance.TryProbe(rig.Hardware, rig.Memory, rig.Pages, options.Driver, out VtdIommuInstance? next).ShouldBe(Errno.Success);
        rig.Hardware.Translate(new(device.Id, new(0x1000)), out DmaTranslation translation);
        translation.Status.ShouldNotBe(DmaStatus.Success);
        next!.Dispose();
    }

    [Fact]
    public void A_queue_that_was_left_with_an_error_does_not_stop_ours()
    {
        using Rig rig = new(new RigOptions
        {
            Before = static (iommu, memory) =>
            {
                memory.Write64(new(0x20_0000), 0xfff).ShouldBe(MemoryStatus.Success);
                iommu.Write64(RegisterOffset.InvalidationQueueAddress, 0x20_0000);
                iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.QueuedInvalidationEnableBit);
                iommu.Write64(RegisterOffset.InvalidationQueueTail, 16);
                (iommu.Read32(RegisterOffset.FaultStatus) & FaultStatus.QueueErrorBit).ShouldNotBe(0u);
            },
            Driver = new() { CommandTimeout = TimeSpan.FromMilliseconds(20) },
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.Log.ToString());
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Fact]
    public void A_second_owner_gets_what_the_first_left_behind()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(8);
        VtdPagingDomain domain = rig.Attached(device);
        domain.ShouldMap(0x1000, 0x4000_0000);
        rig.ShouldReach(device, 0x1000, 0x4000_0000);
        rig.Driver.Dispose();
        rig.Hardware.Translate(new(new DeviceId(8), new(0x1000)), out DmaTranslation translation);
        translation.Status.ShouldNotBe(DmaStatus.Success, "DMA passes after the driver has gone");
        VtdIommuInstance.TryProbe(rig.Hardware, rig.Memory, rig.Pages, new(), out VtdIommuInstance? second).ShouldBe(Errno.Success);
        rig.Hardware.Translate(new(new DeviceId(8), new(0x1000)), out translation);
        translation.Status.ShouldNotBe(DmaStatus.Success);
        second!.Dispose();
        domain.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void Tables_beyond_the_host_address_width_are_refused()
    {
        using Rig rig = new(new RigOptions { Driver = new() { HostAddressWidth = 36 } });
        rig.ProbeResult.ShouldBe(Errno.Success);
        RangePageAllocator far = new(rig.Memory, new(1ul << 40, (1ul << 40) + 0xff_ffff));
        VtdIommuInstance.TryProbe(rig.Hardware, rig.Memory, far, new() { HostAddressWidth = 36, Logger = rig.Log }, out _)
            .ShouldBe(Errno.NotSupported);
        far.AllocatedBytes.ShouldBe(0);
    }

    // Device 0:1.0 has one page mapped, by a 4-level table, and the hardware has cached it.
    private static void LeaveOn(VtdIommu iommu, SparsePhysicalMemory memory, TranslationTableMode mode)
    {
        ulong[] tables = [OldRoot, OldRoot + 0x1000, OldRoot + 0x2000, OldRoot + 0x3000, OldRoot + 0x4000, OldRoot + 0x5000];
        void Store(ulong address, ulong value) => memory.Write64(new(address), value).ShouldBe(MemoryStatus.Success);
        Store(tables[0], tables[1] | 1);
        Store(tables[1] + (8 * ContextEntry.Size) + 8, 2 | (9ul << 8));
        Store(tables[1] + (8 * ContextEntry.Size), tables[2] | 1);
        Store(tables[2], tables[3] | 3);
        Store(tables[3], tables[4] | 3);
        Store(tables[4], tables[5] | 3);
        Store(tables[5] + 8, 0x5000_0000 | 3);
        iommu.Write64(RegisterOffset.RootTableAddress, OldRoot | ((ulong)mode << RootTable.ModeShift));
        iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
        iommu.Translate(new(new DeviceId(8), new(0x1000)), out DmaTranslation translation);
        translation.Address.ShouldBe(new PhysicalAddress(0x5000_0000));
    }

    private sealed class Masked(IRegisterWindow inner, ulong capability, ulong extended) : Testing.RegisterDecorator(inner)
    {
        public override ulong Read64(uint offset) => base.Read64(offset) & ~(offset switch
        {
            RegisterOffset.Capability => capability,
            RegisterOffset.ExtendedCapability => extended,
            _ => 0ul,
        });
    }

    private sealed class AfterEachWrite(IRegisterWindow inner, Action<uint> then) : Testing.RegisterDecorator(inner)
    {
        public override void Write32(uint offset, uint value)
        {
            base.Write32(offset, value);
            then(offset);
        }

        public override void Write64(uint offset, ulong value)
        {
            base.Write64(offset, value);
            then(offset);
        }
    }

    private sealed class Dead : IRegisterWindow
    {
        public uint Read32(uint offset) => uint.MaxValue;

        public ulong Read64(uint offset) => ulong.MaxValue;

        public void Write32(uint offset, uint value)
        {
        }

        public void Write64(uint offset, ulong value)
        {
        }
    }
}
