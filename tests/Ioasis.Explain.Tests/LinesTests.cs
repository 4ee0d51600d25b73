using Shouldly;
using Xunit;

namespace Ioasis.Explain.Tests;

/// <summary>Every form of a fault that kernels print, decoded field by field, behind every kind of prefix.</summary>
public sealed class LinesTests
{
    public static TheoryData<string> Prefixes =>
    [
        "",
        "[   12.345678] ",
        "[   12.345678][  T123] ",
        "<3>[   12.345678] ",
        "kern  :err   : [   12.345678] ",
        "[Sat Nov 28 23:00:00 2026] ",
        "Nov 28 23:00:00 host kernel: [   12.345678] ",
        "Nov 28 23:00:00 host kernel: ",
        "2026-11-28T23:00:00.123456+01:00 host kernel: ",
        "[   12.345678] host kernel: ",
        "> > [   12.345678] ",
        "\ufeff",
    ];

    [Theory]
    [MemberData(nameof(Prefixes))]
    public void A_prefix_changes_nothing_but_the_time(string prefix)
    {
        Fault fault = One(prefix + "DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0xffe00000 [fault reason 0x05] PTE Write access is not set\r");
        (fault.Source, fault.Device, fault.Access, fault.Address, fault.Code).ShouldBe((FaultSource.Intel, "0000:01:00.0", FaultAccess.Write, 0xffe00000ul, 5));
        fault.Time.ShouldBe(prefix.Contains("12.345678", StringComparison.Ordinal) ? 12.345678 : null);
        (fault.Line, fault.Kind).ShouldBe((1, FaultKind.NotMappedOrDenied));
    }

    [Theory]
    // Linux 2.6 to 4: two lines.
    [InlineData("DMAR:[DMA Read] Request device [00:02.0] fault addr 1234000 \nDMAR:[fault reason 06] PTE Read access is not set", FaultAccess.Read, "0000:00:02.0", 0x1234000ul, 6, null)]
    [InlineData("dmar: DMAR:[DMA Write] Request device [00:02.0] fault addr 1234000\ndmar: DMAR:[fault reason 02] Present bit in context entry is clear", FaultAccess.Write, "0000:00:02.0", 0x1234000ul, 2, null)]
    // 4.8 to 5.8: one line.
    [InlineData("DMAR: [DMA Read] Request device [3b:00.1] fault addr fffff000 [fault reason 06] PTE Read access is not set", FaultAccess.Read, "0000:3b:00.1", 0xfffff000ul, 6, null)]
    [InlineData("DMAR: [DMA Write] Request device [3b:00.1] fault addr fffff000 [fault reason 12] non-zero reserved fields in PTE", FaultAccess.Write, "0000:3b:00.1", 0xfffff000ul, 12, null)]
    // 5.9 to 5.12: with PASID, all ones for none.
    [InlineData("DMAR: [DMA Read] Request device [6a:01.0] PASID ffffffff fault addr 7f0000001000 [fault reason 06] PTE Read access is not set", FaultAccess.Read, "0000:6a:01.0", 0x7f0000001000ul, 6, null)]
    [InlineData("DMAR: [DMA Read] Request device [6a:01.0] PASID 2a fault addr 7f0000001000 [fault reason 113] SM: Present bit in first-level paging entry is clear", FaultAccess.Read, "0000:6a:01.0", 0x7f0000001000ul, 0x71, 0x2au)]
    // Since 5.13.
    [InlineData("DMAR: [DMA Write PASID 0x2a] Request device [6a:01.0] fault addr 0x7f0000001000 [fault reason 0x59] SM: Present bit in PASID Table is clear", FaultAccess.Write, "0000:6a:01.0", 0x7f0000001000ul, 0x59, 0x2au)]
    [InlineData("DMAR: [DMA Read NO_PASID] Request device [0x6a:0x01.0] fault addr 0x0 [fault reason 0x06] PTE Read access is not set", FaultAccess.Read, "0000:6a:01.0", 0ul, 6, null)]
    // Xen.
    [InlineData("(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:1a.0] fault addr bf7df000, iommu reg = ffff82c000203000\n(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set", FaultAccess.Write, "0000:00:1a.0", 0xbf7df000ul, 5, null)]
    internal void Intel(string text, FaultAccess access, string device, ulong address, int code, uint? pasid)
    {
        Fault fault = One(text);
        (fault.Source, fault.Access, fault.Device, fault.Address, fault.Code, fault.Pasid)
            .ShouldBe((FaultSource.Intel, access, device, (ulong?)address, (int?)code, pasid));
        fault.Kind.ShouldNotBe(FaultKind.Unknown);
    }

    [Theory]
    [InlineData("DMAR: INTR-REMAP: Request device [[f0:1f.7] fault index 18\nDMAR: INTR-REMAP:[fault reason 34] Present field in the IRTE entry is clear", 0x22, "0x18")]
    [InlineData("DMAR: [INTR-REMAP] Request device [f0:1f.7] fault index 0 [fault reason 37] Blocked a compatibility format interrupt request", 0x25, "0x0")]
    [InlineData("DMAR: [INTR-REMAP] Request device [0xf0:0x1f.7] fault index 0xa00 [fault reason 0x26] Blocked an interrupt request due to source-id verification failure", 0x26, "0xa00")]
    public void Intel_interrupts(string text, int code, string index)
    {
        Fault fault = One(text);
        (fault.Kind, fault.Access, fault.Code, fault.Address, fault.Device).ShouldBe((FaultKind.Interrupt, FaultAccess.Interrupt, code, null, "0000:f0:1f.7"));
        fault.Fields.ShouldContain(new FaultField("interrupt index", index));
    }

    [Fact]
    public void A_mail_that_wrapped_the_line_is_read_all_the_same()
    {
        Fault fault = One("> [ 1.000000] DMAR: [DMA Read NO_PASID] Request device [02:00.0] fault addr 0xfff00000\n> [fault reason 0x06] PTE Read access is not set");
        (fault.Code, fault.Address).ShouldBe((6, 0xfff00000ul));
    }

    [Theory]
    [InlineData("AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x0000 address=0x00000000fdf80000 flags=0x0070]", "0000:01:00.0", 0xfdf80000ul, FaultAccess.Write, FaultKind.Denied)]
    [InlineData("nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000f address=0xfffffff000 flags=0x0000]", "0000:01:00.0", 0xfffffff000ul, FaultAccess.Read, FaultKind.NotMapped)]
    [InlineData("iommu ivhd0: AMD-Vi: Event logged [IO_PAGE_FAULT device=0001:01:00.0 domain=0x000f address=0x1000 flags=0x0020]", "0001:01:00.0", 0x1000ul, FaultAccess.Write, FaultKind.NotMapped)]
    [InlineData("AMD-Vi: Event logged [IO_PAGE_FAULT device=20:00.1 domain=0x0012 address=0xfffffffdf8000000 flags=0x0008]", "0000:20:00.1", 0xfffffffdf8000000ul, FaultAccess.Interrupt, FaultKind.Interrupt)]
    [InlineData("AMD-Vi: Event logged [IO_PAGE_FAULT device=20:00.1 domain=0x0012 address=0x2000 flags=0x0050]", "0000:20:00.1", 0x2000ul, FaultAccess.Read, FaultKind.Denied)]
    internal void Amd_page_faults(string text, string device, ulong address, FaultAccess access, FaultKind kind)
    {
        Fault fault = One(text);
        (fault.Source, fault.Device, fault.Address, fault.Access, fault.Kind).ShouldBe((FaultSource.Amd, device, (ulong?)address, access, kind));
    }

    [Theory]
    [InlineData("ILLEGAL_DEV_TABLE_ENTRY device=0000:05:00.0 pasid=0x00000 address=0xfffffffdf8000000 flags=0x0008", FaultKind.TableError)]
    [InlineData("DEV_TAB_HARDWARE_ERROR device=05:00.0 address=0x1000 flags=0x0000", FaultKind.TableError)]
    [InlineData("PAGE_TAB_HARDWARE_ERROR device=05:00.0 pasid=0x0001 address=0x1000 flags=0x0000", FaultKind.TableError)]
    [InlineData("ILLEGAL_COMMAND_ERROR address=0x1000", FaultKind.Command)]
    [InlineData("COMMAND_HARDWARE_ERROR address=0x1000 flags=0x0000", FaultKind.Command)]
    [InlineData("IOTLB_INV_TIMEOUT device=05:00.0 address=0x1000", FaultKind.Command)]
    [InlineData("INVALID_DEVICE_REQUEST device=0000:05:00.0 pasid=0x00001 address=0xfffffffdf8000000 flags=0x0a00", FaultKind.RequestRefused)]
    [InlineData("INVALID_PPR_REQUEST device=0000:05:00.0 pasid=0x00001 address=0x1000 flags=0x0000 tag=0x001", FaultKind.RequestRefused)]
    [InlineData("RMP_PAGE_FAULT vmg_tag=0x0000, gpa=0x1000, flags_rmp=0x0000, flags=0x0000", FaultKind.Denied)]
    [InlineData("UNKNOWN event[0]=0x00000001 event[1]=0x00000002 event[2]=0x00000003 event[3]=0x00000004", FaultKind.Unknown)]
    internal void Amd_other_events(string inside, FaultKind kind) => One($"AMD-Vi: Event logged [{inside}]").Kind.ShouldBe(kind);

    [Theory]
    [InlineData("arm-smmu e0200000.smmu: Unhandled context fault: fsr=0x402, iova=0xfe00000, fsynr=0x11, cb=3", FaultSource.ArmSmmu, FaultAccess.Write, FaultKind.NotMapped, null)]
    [InlineData("arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x408, iova=0xfe00000, fsynr=0x1, cbfrsynra=0x8c2, cb=3", FaultSource.ArmSmmu, FaultAccess.Read, FaultKind.Denied, 0x8c2u)]
    [InlineData("qcom-iommu-ctx 1e22000.iommu-ctx: Unhandled context fault: fsr=0x2, iova=0x000000000fe00000, fsynr=0x41, cb=1", FaultSource.Qualcomm, FaultAccess.Execute, FaultKind.NotMapped, null)]
    [InlineData("arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0xfe00000, fsynr=0x12, cbfrsynra=0x1, cb=7\narm-smmu 15000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x8c2\narm-smmu 15000000.iommu: FSYNR0 = 00000012 [S1CBNDX=0 WNR PLVL=2]", FaultSource.ArmSmmu, FaultAccess.Write, FaultKind.NotMapped, 0x8c2u)]
    internal void Smmu_v2(string text, FaultSource source, FaultAccess access, FaultKind kind, uint? stream)
    {
        Fault fault = One(text);
        (fault.Source, fault.Access, fault.Kind, fault.Requester, fault.Address).ShouldBe((source, access, kind, stream, (ulong?)0xfe00000));
    }

    [Theory]
    [InlineData("arm-smmu 5000000.iommu: Blocked unknown Stream ID 0x400; boot with \"arm-smmu.disable_bypass=0\" to allow, but this may have security implications")]
    [InlineData("arm-smmu 5000000.iommu: Unexpected global fault, this could be serious\narm-smmu 5000000.iommu: \tGFSR 0x80000002, GFSYNR0 0x00000000, GFSYNR1 0x00000400, GFSYNR2 0x00000000")]
    public void Smmu_v2_without_a_context(string text)
    {
        Fault fault = One(text);
        (fault.Kind, fault.Requester).ShouldBe((FaultKind.DeviceUnknown, 0x400u));
    }

    private const string RawEvent =
        "arm-smmu-v3 9050000.smmuv3: event 0x10 received:\narm-smmu-v3 9050000.smmuv3: \t0x0000010000000010\n"
        + "arm-smmu-v3 9050000.smmuv3: \t0x0000020800000000\narm-smmu-v3 9050000.smmuv3: \t0x00000000ffffe000\narm-smmu-v3 9050000.smmuv3: \t0x0000000000000000";

    [Fact]
    public void Smmu_v3_raw()
    {
        Fault fault = One(RawEvent);
        (fault.Source, fault.Reason, fault.Kind, fault.Requester, fault.Address, fault.Access, fault.Pasid)
            .ShouldBe((FaultSource.ArmSmmuV3, "F_TRANSLATION", FaultKind.NotMapped, 0x100u, 0xffffe000ul, FaultAccess.Read, null));
        fault.Fields.ShouldContain(new FaultField("class", "input address"));
    }

    [Fact]
    public void Smmu_v3_raw_and_decoded_are_one_fault()
    {
        Fault fault = One(RawEvent
            + "\narm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffffe000 ipa: 0x0"
            + "\narm-smmu-v3 9050000.smmuv3: unpriv data write s1 \"Input address caused fault\" stag: 0x0");
        (fault.Device, fault.Access, fault.Address, fault.Requester).ShouldBe(("0000:01:00.0", FaultAccess.Write, 0xffffe000ul, 0x100u));
    }

    [Fact]
    public void Smmu_v3_decoded_alone_and_a_client_that_is_no_PCI_function()
    {
        Fault fault = One(
            "arm-smmu-v3 a.smmu: event: F_PERMISSION client: a0000.dma-controller sid: 0x5 ssid: 0x2 iova: 0x1000 ipa: 0x0\n"
            + "arm-smmu-v3 a.smmu: priv inst read s2 \"Translation table walk caused fault\" stag: 0x1");
        (fault.Device, fault.Pasid, fault.Kind, fault.Access, fault.Code).ShouldBe(("a0000.dma-controller", 2u, FaultKind.Denied, FaultAccess.Execute, 0x13));
    }

    [Fact]
    public void Smmu_v3_that_is_cut_off_says_so() =>
        One("arm-smmu-v3 a.smmu: event 0x02 received:\narm-smmu-v3 a.smmu: \t0x0000000500000002").Fields.ShouldHaveSingleItem().Value.ShouldContain("1 of 4");

    [Theory]
    [InlineData("riscv-iommu 0000:00:01.0: Fault 15 devid: 0x8 iotval: fffff000 iotval2: 0", FaultKind.NotMappedOrDenied, FaultAccess.Write, 0xfffff000ul)]
    [InlineData("riscv,iommu 3010000.iommu: Fault 258 devid: 0x8 iotval: 0 iotval2: 0", FaultKind.DeviceUnknown, FaultAccess.Unknown, null)]
    [InlineData("riscv-iommu 0000:00:01.0: Fault 21 devid: 0x8 iotval: 1000 iotval2: 80001001", FaultKind.NotMappedOrDenied, FaultAccess.Read, 0x1000ul)]
    internal void RiscV(string text, FaultKind kind, FaultAccess access, ulong? address)
    {
        Fault fault = One(text);
        (fault.Source, fault.Kind, fault.Access, fault.Address, fault.Device).ShouldBe((FaultSource.RiscV, kind, access, address, "0000:00:01.0"));
    }

    [Theory]
    [InlineData("virtio_iommu virtio0: page fault from EP 8 at 0xfffff000 [W]", FaultAccess.Write, 0xfffff000ul, FaultKind.NotMappedOrDenied)]
    [InlineData("virtio_iommu virtio0: domain fault from EP 8 at 0x1000 [R]", FaultAccess.Read, 0x1000ul, FaultKind.DeviceUnknown)]
    [InlineData("virtio_iommu virtio0: unknown fault from EP 8", FaultAccess.Unknown, null, FaultKind.Unknown)]
    internal void Virtio(string text, FaultAccess access, ulong? address, FaultKind kind)
    {
        Fault fault = One(text);
        (fault.Source, fault.Access, fault.Address, fault.Kind, fault.Requester).ShouldBe((FaultSource.Virtio, access, address, kind, 8u));
    }

    [Fact]
    public void A_flood_is_one_group_and_what_the_kernel_left_out_is_counted()
    {
        FaultLog log = Read(string.Concat(Enumerable.Range(0, 100).Select(static i =>
            $"[ {i}.000000] DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x{0xffe00000 + (i * 4096):x} [fault reason 0x05] PTE Write access is not set\n"))
            + "[ 101.000000] dmar_fault: 1234 callbacks suppressed\n");
        FaultGroup group = FaultGroup.Fold(log.Faults).ShouldHaveSingleItem();
        (group.Count, group.Pages, group.Lowest, group.LastTime, log.Suppressed).ShouldBe((100L, 100, 0xffe00000ul, 99.0, 1234L));
    }

    [Fact]
    public void What_looks_like_a_fault_and_is_not_understood_is_counted_and_not_guessed_at()
    {
        FaultLog log = Read("mtk-iommu 1: fault type=0x280 iova=0x1000 pa=0x0\nDMAR: DRHD: handling fault status reg 2\nusb 1-1: new device\n");
        (log.Faults.Count, log.UnknownLines, log.Lines).ShouldBe((0, 1, 3));
    }

    [Fact]
    public void No_text_whatever_throws()
    {
        Random random = new(7);
        string[] pieces =
        [
            "DMAR: [DMA Write", "Request device [", "01:00.0]", "fault addr ", "0xffffffffffffffffffff", "[fault reason ", "99999999999]", "0x", "AMD-Vi: Event logged [",
            "IO_PAGE_FAULT", " flags=", "=", "]", "event 0x10 received:", "\t0x0000010000000010", "Fault 999999 devid: 0x", "Unhandled context fault: fsr=0x402, iova=0x", "\n", " ", "\u0000", "FSR    = ",
        ];
        for (int i = 0; i < 20_000; i++)
        {
            Explanation.Of(Read(string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => pieces[random.Next(pieces.Length)])))).ShouldNotBeNull();
        }
    }

    private static FaultLog Read(string text) => FaultLog.Read(new StringReader(text), TestContext.Current.CancellationToken);

    private static Fault One(string text) => Read(text).Faults.ShouldHaveSingleItem();
}
