using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;
using Microsoft.Extensions.Logging;

namespace Ioasis.Driver.Tests;

/// <summary>Taking over an IOMMU: what is found out, what is refused, and in which state it may have been left.</summary>
public class ProbeTests
{
    private const ulong Full = RiscVIommuOptions.FullCapabilities;
    private const ulong IgsMask = 3ul << Capabilities.IgsShift;

    [Theory]
    [InlineData(IommuMode.ThreeLevel, true, 3, 0xff_ffff)]
    [InlineData(IommuMode.TwoLevel, true, 2, 0x7fff)]
    [InlineData(IommuMode.OneLevel, true, 1, 0x3f)]
    [InlineData(IommuMode.ThreeLevel, false, 3, 0xff_ffff)]
    [InlineData(IommuMode.TwoLevel, false, 2, 0xffff)]
    [InlineData(IommuMode.OneLevel, false, 1, 0x7f)]
    public void The_directory_has_the_levels_that_the_hardware_keeps(IommuMode max, bool extended, int levels, uint lastId)
    {
        using Rig rig = new(new()
        {
            MaxMode = max,
            Capabilities = extended ? Full : Full & ~(Capabilities.MsiFlatBit | Capabilities.MsiMrifBit | Capabilities.AmoMrifBit),
        });
        rig.Driver.DirectoryLevels.ShouldBe(levels);
        IommuDevice device = rig.AddDevice(lastId);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(0x1000, 0x8000_0000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x1234, 0x8000_0234);
        rig.Core.TryAddDevice(rig.Driver, new(lastId + 1ul), "beyond", null, default, out _).ShouldBe(Errno.NoDeviceOrAddress);
    }

    [Fact]
    public void A_directory_too_small_for_the_platform_is_refused_by_name()
    {
        using Rig rig = new(new() { MaxMode = IommuMode.TwoLevel, Driver = new() { RequiredDeviceIdBits = 24 } });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.Log.ToString().ShouldContain("24 bits of device ID");
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [InlineData(Capabilities.VersionMask, 0x20ul, "version 2.0")]
    [InlineData(Capabilities.Sv39Bit | Capabilities.Sv48Bit | Capabilities.Sv57Bit, 0ul, "Sv39, Sv48 and Sv57")]
    [InlineData(IgsMask, 0ul, "interrupts")]
    public void What_is_missing_is_named_and_refused(ulong clear, ulong set, string name)
    {
        using Rig rig = new(new() { Capabilities = (Full & ~clear) | set });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.Log.Lines.ShouldContain(line => line.Level == LogLevel.Error && line.Text.Contains(name));
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void An_IOMMU_that_is_big_endian_only_is_refused()
    {
        using Rig rig = new(new()
        {
            Capabilities = Full & ~Capabilities.EndBit,
            Hardware = options => options with { FeaturesControl = FeaturesControl.BigEndianBit, BigEndianWritable = false },
        });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.Log.ToString().ShouldContain("big-endian only");
    }

    [Fact]
    public void An_IOMMU_that_was_left_big_endian_is_turned_round()
    {
        using Rig rig = new(new()
        {
            Hardware = options => options with { FeaturesControl = FeaturesControl.BigEndianBit },
        });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(0x1000, 0x8000_0000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x1000, 0x8000_0000);
    }

    [Theory]
    [InlineData(PagingMode.Sv48, Capabilities.Sv39Bit, PagingMode.Sv39)]
    [InlineData(PagingMode.Sv57, Capabilities.Sv39Bit | Capabilities.Sv48Bit, PagingMode.Sv48)]
    [InlineData(PagingMode.Sv39, Capabilities.Sv39Bit | Capabilities.Sv48Bit, PagingMode.Sv39)]
    [InlineData(PagingMode.Sv57, Capabilities.Sv39Bit | Capabilities.Sv48Bit | Capabilities.Sv57Bit, PagingMode.Sv57)]
    public void The_paging_mode_is_the_nearest_that_the_hardware_has(PagingMode preferred, ulong has, PagingMode expected)
    {
        ulong modes = Capabilities.Sv39Bit | Capabilities.Sv48Bit | Capabilities.Sv57Bit;
        using Rig rig = new(new() { Capabilities = (Full & ~modes) | has, Driver = new() { PreferredMode = preferred } });
        rig.NewDomain(rig.AddDevice(1)).Mode.ShouldBe(expected);
    }

    [Fact]
    public void An_IOMMU_that_another_left_running_is_taken_over_and_forgets_what_it_cached()
    {
        using Rig first = new();
        IommuDevice device = first.AddDevice(0x10);
        RiscVPagingDomain domain = first.NewDomain(device);
        domain.ShouldMap(0x1000, 0x8000_0000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        first.ShouldReach(device, 0x1000, 0x8000_0000);

        // The first driver is gone without a word; its queues and its directory are live.
        RecordingLogger log = new();
        RiscVIommuInstance.TryProbe(
            first.Hardware, first.Memory, first.Pages, new() { Logger = log }, out RiscVIommuInstance? second)
            .ShouldBe(Errno.Success, log.ToString());
        log.ToString().ShouldContain("was left on");
        first.Hardware.Translate(new(device.Id, new(0x1000)), out DmaTranslation translation);
        translation.Status.ShouldNotBe(DmaStatus.Success);
        IommuSubsystem core = new();
        core.TryAddDevice(second!, new(0x10), "again", null, default, out IommuDevice? again).ShouldBe(Errno.Success);
        second!.TryAllocatePagingDomain(again!, default, out PagingDomain? fresh).ShouldBe(Errno.Success);
        fresh!.ShouldMap(0x1000, 0x9000_0000);
        again!.Group.Attach(fresh!).ShouldBe(Errno.Success);
        first.Hardware.Translate(new(device.Id, new(0x1000)), out translation);
        translation.Address.ShouldBe(new PhysicalAddress(0x9000_0000));
        second.Dispose();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Messages_are_set_up_where_there_are_no_wires(int vectorBits)
    {
        MsiMessage message = new(new(0x2800_0000), 7);
        List<(ulong Address, uint Data)> sent = [];
        using SparsePhysicalMemory memory = new();
        RangePageAllocator pages = new(memory, new(1ul << 32, (1ul << 33) - 1));
        RiscVIommu hardware = new(
            new() { Capabilities = Full & ~IgsMask, Caching = CachingMode.Hostile, VectorBits = vectorBits },
            memory, null, new Sink(sent));
        RecordingSink faults = new();
        RiscVIommuInstance.TryProbe(
            hardware, memory, pages, new() { MsiMessages = [message], FaultSink = faults }, out RiscVIommuInstance? driver)
            .ShouldBe(Errno.Success);
        hardware.Translate(new(new(5), new(0x1000)), out _);
        sent.ShouldHaveSingleItem().ShouldBe((message.Address.Value, message.Data));
        driver!.HandleInterrupt(0);
        faults.Faults.ShouldHaveSingleItem().DeviceId.ShouldBe(new DeviceId(5));
        driver.Dispose();
    }

    [Theory]
    [InlineData(1ul << 24)]
    [InlineData(0x3f7aul << 16)]
    [InlineData((1ul << 32) | 0x100)]
    public void A_device_beyond_24_bits_is_refused_in_words_and_leaves_nothing(ulong id)
    {
        using Rig rig = new();
        DeviceId beyond = new(id);
        rig.Core.TryAddDevice(rig.Driver, beyond, "beyond", null, default, out IommuDevice? device).ShouldBe(Errno.NoDeviceOrAddress);
        device.ShouldBeNull();
        rig.Core.Devices.ShouldBeEmpty();
        string reason = rig.Driver.ReasonToRefuse(beyond).ShouldNotBeNull();
        reason.ShouldContain(beyond.ToString());
        reason.ShouldContain("24 bits");
        rig.Log.ToString()!.ShouldContain(reason);

        // Not even the one whose ID has the same lower bits is in the way of the next.
        DeviceId last = new(0xff_ffff);
        rig.Driver.ReasonToRefuse(last).ShouldBeNull();
        _ = rig.AddDevice((uint)id & 0xff_ffff);
        rig.Core.TryAddDevice(rig.Driver, last, "last", null, default, out _).ShouldBe(Errno.Success);
    }

    [Fact]
    public void A_dead_IOMMU_is_given_up_in_bounded_time()
    {
        using Rig rig = new(new()
        {
            Registers = window => new StuckBusy(window),
            Driver = new() { TimeProvider = new CreepingTime() },
        });
        rig.ProbeResult.ShouldBe(Errno.TimedOut);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [InlineData(0, 9)]
    [InlineData(16, 9)]
    [InlineData(10, 16)]
    public void Options_out_of_range_are_refused(int commandLog2, int faultLog2)
    {
        using Rig rig = new(new()
        {
            Driver = new() { CommandQueueSizeLog2 = commandLog2, FaultQueueSizeLog2 = faultLog2 },
        });
        rig.ProbeResult.ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Tables_beyond_the_physical_address_space_are_refused()
    {
        ulong pas = 0x3ful << Capabilities.PasShift;
        using Rig rig = new(new() { Capabilities = (Full & ~pas) | (32ul << Capabilities.PasShift) });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.Log.ToString().ShouldContain("32 bits of physical address");
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_queue_is_as_small_as_the_hardware_wants_it()
    {
        using Rig rig = new(new() { Registers = window => new SmallQueues(window, 3) });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        for (ulong i = 1; i <= 100; i++)
        {
            domain.ShouldMap(i << 12, 0x8000_0000);
            rig.ShouldReach(device, i << 12, 0x8000_0000);
            domain.ShouldUnmap(i << 12);
            _ = rig.ShouldFault(device, i << 12, FaultCause.ReadPageFault);
        }

        using Rig smaller = new(new() { Registers = window => new SmallQueues(window, 2) });
        smaller.ProbeResult.ShouldBe(Errno.NotSupported);
        smaller.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [InlineData(true, ReservedRegionKind.Msi)]
    [InlineData(false, ReservedRegionKind.SoftwareMsi)]
    [Trait("Requirement", "S4.17")]
    public void The_window_of_the_MSI_doorbells_is_reserved(bool hasMsiTables, ReservedRegionKind expected)
    {
        AddressRange window = new(0x2800_0000, 0x28ff_ffff);
        using Rig rig = new(new()
        {
            Capabilities = hasMsiTables
                ? RiscVIommuOptions.FullCapabilities
                : RiscVIommuOptions.FullCapabilities & ~(Capabilities.MsiFlatBit | Capabilities.MsiMrifBit),
            Driver = new() { MsiWindow = window },
        });
        rig.AddDevice(1).GetReservedRegions().ShouldHaveSingleItem()
            .ShouldBe(new ReservedRegion(window, expected, Access.Write));
        using Rig plain = new();
        plain.AddDevice(1).GetReservedRegions().ShouldBeEmpty();
    }

    private sealed class SmallQueues(IRegisterWindow inner, uint maxLog2) : RegisterDecorator(inner)
    {
        public override void Write64(uint offset, ulong value)
        {
            bool isBase = offset is RegisterOffset.CommandQueueBase or RegisterOffset.FaultQueueBase
                or RegisterOffset.PageRequestQueueBase;
            ulong log2 = value & QueueBase.Log2SizeMinus1Mask;
            base.Write64(offset, isBase ? (value & ~QueueBase.Log2SizeMinus1Mask) | Math.Min(log2, maxLog2 - 1) : value);
        }
    }

    private sealed class Sink(List<(ulong Address, uint Data)> sent) : IMsiSink
    {
        public MemoryStatus Send(PhysicalAddress address, uint data)
        {
            sent.Add((address.Value, data));
            return MemoryStatus.Success;
        }
    }

    private sealed class StuckBusy(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        public override ulong Read64(uint offset) => offset == RegisterOffset.DeviceDirectoryTablePointer
            ? base.Read64(offset) | DeviceDirectoryTablePointer.BusyBit
            : base.Read64(offset);
    }
}
