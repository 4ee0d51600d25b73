using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>MSIs of devices: through MSI page tables to interrupt files, and through ordinary pages where there are none.</summary>
[Trait("Requirement", "S4.17")]
public class InterruptFileTests
{
    private const ulong Window = 0x2800_0000;
    private const ulong File = 0x9000_0000;
    private const ulong Target = 0x8000_0000;

    // Four harts with four files each: page-number bits 1:0 and 9:8.
    private static readonly InterruptFileAddresses s_files = new(Window >> 12, 0x303);

    [Fact]
    public void The_bits_under_the_mask_number_the_files()
    {
        s_files.Count.ShouldBe(16ul);
        s_files.Contains(new(Window + 0x30_3abc)).ShouldBeTrue();
        s_files.Contains(new(Window + 0x4000)).ShouldBeFalse();
        s_files.IndexOf(new(Window + 0x30_1000)).ShouldBe(0b1101ul);
    }

    [Fact]
    public void An_MSI_is_stored_in_the_interrupt_file_that_its_address_stands_for()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewSecondStage(device, interruptFiles: s_files);
        domain.ShouldMap(0x1000, Target);
        domain.MapInterruptFile(new(Window + 0x30_1000), new(File)).ShouldBe(Errno.Success);
        domain.MapInterruptFile(new(Window), new(File + 0x5000)).ShouldBe(Errno.Success);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        Send(rig, device, Window + 0x30_1000, 42).ShouldBe(DmaStatus.Success);
        rig.Memory.Read32(new(File), out uint data).ShouldBe(MemoryStatus.Success);
        data.ShouldBe(42u);
        Send(rig, device, Window, 43).ShouldBe(DmaStatus.Success);
        rig.Memory.Read32(new(File + 0x5000), out data).ShouldBe(MemoryStatus.Success);
        data.ShouldBe(43u);
        rig.ShouldFault(device, Window + 0x1000, FaultCause.MsiPteNotValid, write: true).Reason.ShouldBe(IommuFaultReason.NotMapped);
        rig.ShouldReach(device, 0x1000, Target);

        // A file that was not there needs no invalidation; one that goes is gone.
        domain.MapInterruptFile(new(Window + 0x1000), new(File + 0x6000)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window + 0x1000, File + 0x6000, write: true);
        domain.UnmapInterruptFile(new(Window)).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Window, FaultCause.MsiPteNotValid, write: true);
        rig.ShouldReach(device, Window + 0x30_1000, File, write: true);
        domain.MapInterruptFile(new(Window), new(File + 0x7000)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, File + 0x7000, write: true);
    }

    [Fact]
    public void An_MSI_to_a_file_in_memory_is_recorded_there_with_a_notice()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewSecondStage(device, interruptFiles: s_files);
        domain.MapResidentInterruptFile(new(Window + 0x2000), new(0xff_1234_5600), new(File), 0x7fe).ShouldBe(Errno.Success);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        DmaTranslation translation = rig.Dma(device, Window + 0x2000, write: true);
        translation.Status.ShouldBe(DmaStatus.Success);
        (translation.Flags & DmaTranslationFlags.Interrupt).ShouldNotBe(default);
        translation.Interrupt.ShouldBe(new MrifTarget(new(0xff_1234_5600), new(File), 0x7fe));
        domain.UnmapInterruptFile(new(Window + 0x2000)).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Window + 0x2000, FaultCause.MsiPteNotValid, write: true);
        domain.MapResidentInterruptFile(new(Window + 0x2000), new(0x1100), new(File), 1).ShouldBe(Errno.InvalidArgument);
        domain.MapResidentInterruptFile(new(Window + 0x2000), new(0x1200), new(File + 8), 1).ShouldBe(Errno.InvalidArgument);
        domain.MapResidentInterruptFile(new(Window + 0x2000), new(0x1200), new(File), 2048).ShouldBe(Errno.InvalidArgument);
        domain.MapResidentInterruptFile(new(0x5000), new(0x1200), new(File), 1).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void A_guest_sends_MSIs_through_both_stages()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain parent = rig.NewSecondStage(device, interruptFiles: s_files);
        parent.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.Success);
        using Guest guest = new(rig.Memory, parent);
        guest.Map(0x7000, Window);
        device.Group.Attach(guest.Nest(device, 1)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x7004, File + 4, write: true);
        parent.UnmapInterruptFile(new(Window)).ShouldBe(Errno.Success);
        rig.ShouldFault(device, 0x7000, FaultCause.MsiPteNotValid, write: true);
    }

    [Fact]
    public void Without_a_table_a_doorbell_is_mapped_like_a_page()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.Success);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, File, write: true);
        domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.AddressInUse);
        domain.MapResidentInterruptFile(new(Window + 0x1000), new(0x1200), new(File), 1).ShouldBe(Errno.NotSupported);
        domain.UnmapInterruptFile(new(Window)).ShouldBe(Errno.Success);
        rig.ShouldFault(device, Window, FaultCause.WritePageFault, write: true);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void A_device_that_goes_on_to_a_domain_without_MSI_table_takes_nothing_of_the_old_one_along(int pasidBits)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1, pasidBits);
        RiscVPagingDomain msi = rig.NewSecondStage(device, interruptFiles: s_files);
        RiscVPagingDomain second = rig.NewSecondStage(device);
        RiscVPagingDomain first = rig.NewDomain(device);
        msi.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.Success);
        second.ShouldMap(Window, Target);
        first.ShouldMap(Window, Target + 0x1000);
        device.Group.Attach(msi).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, File, write: true);
        device.Group.Attach(second).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, Target, write: true);
        device.Group.Attach(msi).ShouldBe(Errno.Success);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, Target + 0x1000, write: true);
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Window, Window, write: true);
    }

    [Fact]
    [Trait("Requirement", "S4.2")]
    public void What_the_hardware_or_the_domain_cannot_do_is_refused()
    {
        const ulong msi = Capabilities.MsiFlatBit | Capabilities.MsiMrifBit | Capabilities.AmoMrifBit;
        using Rig full = new(new() { Driver = new() { Name = "full" } });
        using Rig flat = new(
            new()
            {
                Capabilities = RiscVIommuOptions.FullCapabilities & ~(Capabilities.MsiMrifBit | Capabilities.AmoMrifBit),
                Driver = new() { Name = "flat" },
            },
            full);
        using Rig none = new(
            new() { Capabilities = RiscVIommuOptions.FullCapabilities & ~msi, Driver = new() { Name = "none" } }, full);
        IommuDevice device = full.AddDevice(1);
        IommuDevice inFlat = flat.AddDevice(1);
        IommuDevice inNone = none.AddDevice(1);
        RiscVPagingDomain domain = full.NewSecondStage(device, interruptFiles: s_files);
        inFlat.Group.Attach(domain).ShouldBe(Errno.InvalidArgument);
        inNone.Group.Attach(domain).ShouldBe(Errno.InvalidArgument);
        domain.BondCount.ShouldBe(0);
        RiscVPagingDomain basic = flat.NewSecondStage(inFlat, interruptFiles: s_files);
        basic.MapResidentInterruptFile(new(Window), new(0x1200), new(File), 1).ShouldBe(Errno.NotSupported);
        device.Group.Attach(basic).ShouldBe(Errno.Success);
        PagingDomainOptions wanted = new() { NestParent = true };
        none.Driver.SupportsMsiPageTables.ShouldBeFalse();
        none.Driver.TryAllocatePagingDomain(inNone, wanted, s_files, out _).ShouldBe(Errno.NotSupported);
        full.Driver.TryAllocatePagingDomain(device, wanted with { NestParent = false }, s_files, out _).ShouldBe(Errno.NotSupported);
        full.Driver.TryAllocatePagingDomain(device, wanted, new InterruptFileAddresses(1ul << 40, 0), out _)
            .ShouldBe(Errno.InvalidArgument);
        full.Driver.TryAllocatePagingDomain(device, wanted, new InterruptFileAddresses(0, 0x1_ffff), out _)
            .ShouldBe(Errno.InvalidArgument);
        domain.MapInterruptFile(new(Window + 4), new(File)).ShouldBe(Errno.InvalidArgument);
        domain.MapInterruptFile(new(Window), new(File + 0x10)).ShouldBe(Errno.InvalidArgument);
        domain.MapInterruptFile(new(Window), new(1ul << 57)).ShouldBe(Errno.InvalidArgument);
        domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.Success);
        domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.AddressInUse);
        domain.UnmapInterruptFile(new(Window + 0x1000)).ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S4.10")]
    public void A_table_and_its_domain_are_made_and_given_back_together()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(1);
        FailAtEveryStep.Run(
            () => new Made(rig.Pages.AllocatedBytes),
            made => rig.Driver.TryAllocatePagingDomain(device, new() { NestParent = true }, new InterruptFileAddresses(0, 0xfff), out made.Domain),
            (made, result, step) =>
            {
                (result == Errno.Success).ShouldBe(step == 0);
                made.Domain?.Dispose();
                rig.Pages.AllocatedBytes.ShouldBe(made.Bytes);
            }).ShouldBe(2);
    }

    [Fact]
    public void Taking_a_file_away_fails_at_any_step_and_can_be_repeated() => FailAtEveryStep.Run(
        () =>
        {
            Rig rig = new();
            IommuDevice device = rig.AddDevice(1);
            RiscVPagingDomain domain = rig.NewSecondStage(device, interruptFiles: s_files);
            domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.Success);
            device.Group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldReach(device, Window, File, write: true);
            return (rig, device, domain);
        },
        state => state.domain.UnmapInterruptFile(new(Window)),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            if (step != 0)
            {
                state.domain.MapInterruptFile(new(Window), new(File)).ShouldBe(Errno.AddressInUse);
                state.rig.ShouldReach(state.device, Window, File, write: true);
                state.domain.UnmapInterruptFile(new(Window)).ShouldBe(Errno.Success);
            }

            state.rig.ShouldFault(state.device, Window, FaultCause.MsiPteNotValid, write: true);
            state.rig.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    private static DmaStatus Send(Rig rig, IommuDevice device, ulong address, uint data) =>
        rig.Hardware.Write(new(device.Id, new(address), DmaFlags.Write), BitConverter.GetBytes(data));

    private sealed class Made(long bytes)
    {
        public RiscVPagingDomain? Domain;

        public long Bytes { get; } = bytes;
    }
}
