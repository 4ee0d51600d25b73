using Ioasis.Explain.Meaning;
using Ioasis.Replay.Recording;
using Shouldly;
using Xunit;

namespace Ioasis.Explain.Tests;

/// <summary>What an address looks like, what a recording proves, and that the likeliest cause stands first.</summary>
public sealed class DiagnosisTests
{
    [Theory]
    [InlineData("0x10", AddressLook.Null)]
    [InlineData("0xffffffffffffffff", AddressLook.MappingError)]
    [InlineData("0xdead000000000100", AddressLook.Poison)]
    [InlineData("0x6b6b6b6b6b6b6b6b", AddressLook.Poison)]
    [InlineData("0xfee00000", AddressLook.InterruptRange)]
    [InlineData("0xffff888123456000", AddressLook.KernelVirtual)]
    [InlineData("0xffffc90000123000", AddressLook.KernelVirtual)]
    [InlineData("0x7f1234567000", AddressLook.UserVirtual)]
    [InlineData("0xfffffffff7e00000", AddressLook.SignExtended)]
    [InlineData("0xffe00000", AddressLook.LinuxIova)]
    [InlineData("0x100000000", AddressLook.Plain)]
    internal void An_address_is_recognised(string address, AddressLook look) => Explain(Intel(address)).Look.ShouldBe(look);

    [Theory]
    [InlineData("BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable", AddressLook.PhysicalMemory)]
    [InlineData("DMAR: RMRR base: 0x0000007d000000 end: 0x0000007d7fffff", AddressLook.FirmwareRegion)]
    [InlineData("pci 0000:02:00.0: BAR 0 [mem 0x7d000000-0x7d0fffff 64bit]", AddressLook.DeviceRegister)]
    [InlineData("pci 0000:02:00.0: reg 0x10: [mem 0x7d000000-0x7d0fffff]", AddressLook.DeviceRegister)]
    internal void What_the_log_says_of_the_machine_is_used(string line, AddressLook look) =>
        Explain($"{line}\n{Intel("0x7d001000")}").Look.ShouldBe(look);

    [Fact]
    public void A_function_that_does_not_exist_is_a_phantom_of_function_0() =>
        Explain($"pci 0000:01:00.0: [1b4b:9172] type 00 class 0x010601\n{Intel("0xffe00000", "01:00.1", 2)}").Causes[0].ShouldContain("phantom function");

    [Theory]
    [InlineData(0xfff00000, 2.0, HistoryVerdict.Mapped, "Direction")]
    [InlineData(0xfff00000, 3.5, HistoryVerdict.UseAfterUnmap, "Use after unmap")]
    [InlineData(0xffe01000, 2.0, HistoryVerdict.PastEnd, "went past the end")]
    [InlineData(0xffdff000, 2.0, HistoryVerdict.BeforeStart, "before the start")]
    [InlineData(0xffc00000, 2.0, HistoryVerdict.MappedLater, "before its buffer was mapped")]
    [InlineData(0xffa00000, 2.0, HistoryVerdict.OtherDevice, "another device's")]
    [InlineData(0x80000010, 2.0, HistoryVerdict.UpperBitsLost, "upper 32 bits")]
    [InlineData(0x0000e0ff00000000, 2.0, HistoryVerdict.BytesSwapped, "byte order")]
    [InlineData(0x12345000, 2.0, HistoryVerdict.NeverMapped, "never mapped")]
    internal void A_recording_proves_the_cause(ulong address, double time, HistoryVerdict verdict, string cause)
    {
        Explanation explanation = Explanation.Of(
            Log(FormattableString.Invariant($"[    {time:0.000000}] ") + Intel($"0x{address:x}")), new(Recording()))[0];
        explanation.Histories.ShouldHaveSingleItem().Verdict.ShouldBe(verdict);
        explanation.Causes[0].ShouldContain(cause);
    }

    [Fact]
    public void Use_after_unmap_says_how_long_before_and_where()
    {
        IovaHistory history = new HistoryFinder(Recording()).Find(0xfff00000, "0000:01:00.0", 3.5);
        history.Text.ShouldContain("500 ms before the fault");
        history.Events.Select(static e => e.IsUnmap).ShouldBe([false, true]);
    }

    [Fact]
    public void Each_address_of_a_flood_is_judged_at_its_own_time_and_each_mistake_is_named()
    {
        string log = $"[    2.000000] {Intel("0xffe01000")}\n[    2.500000] {Intel("0xfff00000")}\n[    3.500000] {Intel("0xfff00000")}\n[    3.600000] {Intel("0x12345000")}";
        Explanation explanation = Explanation.Of(Log(log), new(Recording())).ShouldHaveSingleItem();
        explanation.Histories.Select(static history => history.Verdict).ShouldBe([HistoryVerdict.PastEnd, HistoryVerdict.Mapped, HistoryVerdict.NeverMapped]);
        explanation.Causes[0].ShouldContain("went past the end");
        explanation.Causes[1].ShouldContain("Direction");
        explanation.Causes[2].ShouldContain("never mapped");

        // Only the time differs.
        string later = log.Replace("2.500000", "3.400000", StringComparison.Ordinal);
        Explanation.Of(Log(later), new(Recording()))[0].Histories[1].Verdict.ShouldBe(HistoryVerdict.UseAfterUnmap);
    }

    [Fact]
    public void A_time_that_the_recording_does_not_cover_is_taken_for_its_end()
    {
        HistoryFinder finder = new(Recording());
        finder.Covers(100).ShouldBeFalse();
        finder.Find(0xfff00000, "0000:01:00.0", 100).Verdict.ShouldBe(HistoryVerdict.UseAfterUnmap);
    }

    private static string Intel(string address, string device = "01:00.0", int reason = 5) =>
        $"DMAR: [DMA Write NO_PASID] Request device [{device}] fault addr {address} [fault reason 0x{reason:x2}] text";

    private static FaultLog Log(string text) => FaultLog.Read(new StringReader(text), TestContext.Current.CancellationToken);

    private static Explanation Explain(string text) => Explanation.Of(Log(text)).ShouldHaveSingleItem();

    // 01:00.0 maps three buffers at 1 s, unmaps one at 3 s and maps one more at 4 s; 02:00.0 maps one.
    private static KernelTrace Recording()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, """
                # tracer: nop
                  test-1   [000] d....     1.000000: map: IOMMU: iova=0x00000000fff00000 - 0x00000000fff01000 paddr=0x0000000010000000 size=4096
                  test-1   [000] .....     1.000001: dma_map_phys: 0000:01:00.0 dir=TO_DEVICE dma_addr=fff00000 size=4096 phys_addr=10000000 attrs=
                  test-1   [000] d....     1.000002: map: IOMMU: iova=0x00000000ffe00000 - 0x00000000ffe01000 paddr=0x0000000010001000 size=4096
                  test-1   [000] .....     1.000003: dma_map_phys: 0000:01:00.0 dir=TO_DEVICE dma_addr=ffe00000 size=4096 phys_addr=10001000 attrs=
                  test-1   [000] d....     1.000004: map: IOMMU: iova=0x0000000380000000 - 0x0000000380001000 paddr=0x0000000010002000 size=4096
                  test-1   [000] .....     1.000005: dma_map_phys: 0000:01:00.0 dir=TO_DEVICE dma_addr=380000000 size=4096 phys_addr=10002000 attrs=
                  test-1   [000] d....     1.000006: map: IOMMU: iova=0x00000000ffa00000 - 0x00000000ffa01000 paddr=0x0000000010003000 size=4096
                  test-1   [000] .....     1.000007: dma_map_phys: 0000:02:00.0 dir=TO_DEVICE dma_addr=ffa00000 size=4096 phys_addr=10003000 attrs=
                  test-1   [000] d....     3.000000: unmap: IOMMU: iova=0x00000000fff00000 - 0x00000000fff01000 size=4096 unmapped_size=4096
                  test-1   [000] .....     3.000001: dma_unmap_phys: 0000:01:00.0 dir=TO_DEVICE dma_addr=fff00000 size=4096 attrs=
                  test-1   [000] d....     4.000000: map: IOMMU: iova=0x00000000ffc00000 - 0x00000000ffc01000 paddr=0x0000000010004000 size=4096
                  test-1   [000] .....     4.000001: dma_map_phys: 0000:01:00.0 dir=TO_DEVICE dma_addr=ffc00000 size=4096 phys_addr=10004000 attrs=

                """);
            return RecordingReader.Read(path, cancellationToken: TestContext.Current.CancellationToken).Trace.ShouldNotBeNull();
        }
        finally
        {
            File.Delete(path);
        }
    }
}
