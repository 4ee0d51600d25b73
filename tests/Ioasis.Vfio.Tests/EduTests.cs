using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Examples;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>QEMU's educational device, and the driver for it, on the embedded platform.</summary>
public class EduTests
{
    /// <summary>The IOMMU of the machines.</summary>
    private protected virtual IommuSlot Slot => new RiscVIommuSlot();

    private static readonly DeviceId s_id = DeviceId.FromPci(0, 0, 3, 0);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<EduTiming, bool> Ways { get; } = new MatrixTheoryData<EduTiming, bool>(
        [EduTiming.Immediate, EduTiming.Timed], [false, true]);

    private static void ShouldBeRight(EduReport report) => report.ShouldBe(new(0x0100_00ed, 3628800, 4096));

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task The_driver_computes_and_does_DMA_both_ways_by_dev_iommu(EduTiming timing, bool wired)
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new(new() { Timing = timing, Delay = TimeSpan.FromMilliseconds(1) });
        EmbeddedEndpoint endpoint = platform.AddDevice(edu, s_id);
        ShouldBeRight(await EduProgram.RunByIommuAsync(platform.Kernel, endpoint.DevicePath, wired, Token));
        edu.FailedTransfers.ShouldBe(0);
        platform.FaultCount.ShouldBe(0);
        platform.Audit.IsEmpty.ShouldBeTrue();
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task The_same_driver_runs_through_a_container(EduTiming timing, bool wired)
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new(new() { Timing = timing, Delay = TimeSpan.FromMilliseconds(1) });
        EmbeddedEndpoint endpoint = platform.AddDevice(edu, s_id);
        ShouldBeRight(await EduProgram.RunByContainerAsync(
            platform.Kernel, endpoint.Device.Group.Id, endpoint.Device.Name, wired, cancellationToken: Token));
        platform.Audit.IsEmpty.ShouldBeTrue();
    }

    [Fact]
    public async Task The_same_driver_runs_with_dev_iommu_in_the_place_of_a_container()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new();
        EmbeddedEndpoint endpoint = platform.AddDevice(edu, s_id);
        ShouldBeRight(await EduProgram.RunByContainerAsync(
            platform.Kernel, endpoint.Device.Group.Id, endpoint.Device.Name, containerPath: "/dev/iommu", cancellationToken: Token));
        platform.Audit.IsEmpty.ShouldBeTrue();
    }

    [Fact]
    public void What_is_not_mapped_or_no_bus_master_moves_nothing()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new();
        using Opened opened = new(platform, platform.AddDevice(edu, s_id));
        void Transfer()
        {
            opened.Bar.Write(0x80, 0x10_0000u);
            opened.Bar.Write(0x88, 0x40000u);
            opened.Bar.Write(0x90, 16u);
            opened.Bar.Write(0x98, 1u);
        }

        Transfer();
        edu.FailedTransfers.ShouldBe(1);
        platform.FaultCount.ShouldBe(0);
        opened.Config.Write(4, (ushort)6);
        Transfer();
        edu.FailedTransfers.ShouldBe(2);
        platform.FaultCount.ShouldBe(1);

        // It says that it is done all the same, as the original does.
        opened.Bar.Read<uint>(0x98).ShouldBe(0u);
    }

    [Fact]
    public void Registers_answer_as_the_documentation_says()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new(new() { Timing = EduTiming.Stepped });
        using Opened opened = new(platform, platform.AddDevice(edu, s_id));
        VfioRegion bar = opened.Bar;
        bar.Size.ShouldBe(1ul << 20);
        bar.Read<uint>(0).ShouldBe(0x0100_00edu);
        bar.Write(4, 0x0f0f_1234u);
        bar.Read<uint>(4).ShouldBe(0xf0f0_edcbu);

        // Only whole words; only the DMA registers as 64 bits in one.
        bar.Read<ushort>(0).ShouldBe(ushort.MaxValue);
        bar.Read<ulong>(0).ShouldBe(ulong.MaxValue);
        bar.Write(0x80, 0x1122_3344_5566_7788ul);
        bar.Read<ulong>(0x80).ShouldBe(0x1122_3344_5566_7788ul);
        bar.Read<uint>(0x30).ShouldBe(uint.MaxValue);

        // While it computes, the operand cannot be changed.
        bar.Write(8, 5u);
        bar.Read<uint>(0x20).ShouldBe(1u);
        bar.Write(8, 6u);
        edu.Step().ShouldBeTrue();
        edu.Step().ShouldBeFalse();
        bar.Read<uint>(8).ShouldBe(120u);
        bar.Read<uint>(0x20).ShouldBe(0u);
        bar.Write(8, 34u);
        _ = edu.Step();
        bar.Read<uint>(8).ShouldBe(0u);
        bar.Write(8, 13u);
        _ = edu.Step();
        bar.Read<uint>(8).ShouldBe(1932053504u);

        bar.Write(0x60, 3u);
        bar.Write(0x60, 4u);
        bar.Read<uint>(0x24).ShouldBe(7u);
        (opened.Config.Read<ushort>(6) & 8).ShouldBe(8);
        bar.Write(0x64, 5u);
        bar.Read<uint>(0x24).ShouldBe(2u);
        bar.Write(0x64, 2u);
        (opened.Config.Read<ushort>(6) & 8).ShouldBe(0);
    }

    [Fact]
    public void While_a_transfer_runs_its_registers_cannot_be_changed_and_addresses_are_cut_to_28_bits()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new(new() { Timing = EduTiming.Stepped });
        using Opened opened = new(platform, platform.AddDevice(edu, s_id));
        unsafe
        {
            void* page = NativeMemory.AlignedAlloc(4096, 4096);
            Span<byte> bytes = new(page, 4096);
            bytes.Fill(0x5a);
            opened.Space.Map(new((ulong)page, 4096), new(0x20_0000), Access.ReadWrite);
            opened.Config.Write(4, (ushort)6);
            opened.Bar.Write(0x80, 0xf020_0010u);
            opened.Bar.Write(0x88, 0x40100u);
            opened.Bar.Write(0x90, 32u);
            opened.Bar.Write(0x98, 1u);
            opened.Bar.Write(0x80, 0u);
            opened.Bar.Write(0x98, 3u);
            opened.Bar.Read<uint>(0x80).ShouldBe(0xf020_0010u);
            edu.Step().ShouldBeTrue();
            edu.FailedTransfers.ShouldBe(0);

            // Back to another place: exactly the bytes, no more.
            bytes.Clear();
            opened.Bar.Write(0x80, 0x40100u);
            opened.Bar.Write(0x88, 0x20_0800u);
            opened.Bar.Write(0x98, 3u);
            _ = edu.Step();
            bytes.IndexOf((byte)0x5a).ShouldBe(0x800);
            bytes.Count((byte)0x5a).ShouldBe(32);

            // Outside the device's buffer nothing moves.
            opened.Bar.Write(0x80, 0x40ff0u);
            opened.Bar.Write(0x98, 3u);
            _ = edu.Step();
            edu.FailedTransfers.ShouldBe(1);
            _ = opened.Space.Unmap(new(0x20_0000), 4096);
            NativeMemory.AlignedFree(page);
        }
    }

    [Fact]
    public void A_close_stops_it_and_the_next_client_finds_it_as_new()
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot] });
        using EduDevice edu = new();
        EmbeddedEndpoint endpoint = platform.AddDevice(edu, s_id);
        using (Opened first = new(platform, endpoint))
        {
            first.Config.Write(4, (ushort)0x406);
            first.Bar.Write(4, 77u);
            first.Bar.Write(0x60, 1u);
            edu.IsBusMaster.ShouldBeTrue();
        }

        edu.IsBusMaster.ShouldBeFalse();
        using Opened second = new(platform, endpoint);
        second.Config.Read<ushort>(4).ShouldBe((ushort)0x103);
        second.Bar.Read<uint>(4).ShouldBe(0u);
        second.Bar.Read<uint>(0x24).ShouldBe(0u);
    }

    private sealed class Opened : IDisposable
    {
        private readonly IommuFd _iommu;
        private readonly VfioDevice _device;

        public Opened(EmbeddedPlatform platform, EmbeddedEndpoint endpoint)
        {
            _iommu = IommuFd.Open(platform.Kernel);
            _device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
            _ = _device.Bind(_iommu);
            Space = _iommu.AllocateAddressSpace();
            _ = _device.Attach(Space);
            Config = _device.GetRegion(VfioPciRegion.Config);
            Bar = _device.GetRegion(VfioPciRegion.Bar0);
        }

        public IoAddressSpace Space { get; }

        public VfioRegion Config { get; }

        public VfioRegion Bar { get; }

        public void Dispose()
        {
            _device.Dispose();
            Space.Dispose();
            _iommu.Dispose();
        }
    }
}
