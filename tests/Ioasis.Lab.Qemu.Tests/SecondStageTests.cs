using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Second stages by themselves, under a guest's first stage, and with MSI page tables.</summary>
[Trait("Requirement", "S4.17")]
public class SecondStageTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Gva = 0x40_0000;
    private const uint Pscid = 7;
    private const ulong HostBase = QemuRig.DataStart + 0x100_0000;

    [Theory]
    [InlineData(PagingMode.Sv39, 41)]
    [InlineData(PagingMode.Sv48, 50)]
    [InlineData(PagingMode.Sv57, 59)]
    public void A_device_reaches_what_a_second_stage_maps_up_to_its_last_page(PagingMode mode, int bits)
    {
        using QemuRig rig = new(new() { Driver = new() { PreferredMode = mode } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewSecondStage(rig.Devices[edu.Id]);
        domain.Mode.ShouldBe(mode);
        domain.Aperture.Last.ShouldBe((1ul << bits) - 1);
        ulong last = (1ul << bits) - QemuRig.Page;
        domain.ShouldMap(0x1000, QemuRig.DataStart);
        domain.ShouldMap(last, QemuRig.DataStart + QemuRig.Page);
        domain.ShouldMap(Iova, QemuRig.DataStart + 0x20_0000, 2ul << 20);
        rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, 0x1000, QemuRig.DataStart);
        rig.ShouldReach(edu, last, QemuRig.DataStart + QemuRig.Page);
        rig.ShouldReach(edu, Iova + 0x1f_f000, QemuRig.DataStart + 0x3f_f000);
        rig.ShouldFault(edu, 0x5000, FaultCause.ReadGuestPageFault).Reason.ShouldBe(IommuFaultReason.NotMapped);
        domain.ShouldUnmap(last);
        rig.ShouldFault(edu, last, FaultCause.WriteGuestPageFault, write: true);
        rig.ShouldReach(edu, 0x1000, QemuRig.DataStart);
    }

    [Fact]
    public void A_device_reaches_through_both_stages_and_never_beyond_the_second()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device), HostBase);
        guest.Map(Gva, Guest.Data + 0x3000);
        guest.Map(Gva + 0x1000, 0xdead_0000);
        device.Group.Attach(guest.Nest(device, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Gva, guest.ToHost(Guest.Data + 0x3000));
        rig.ShouldFault(edu, Gva + 0x5000, FaultCause.ReadPageFault);
        rig.ShouldFault(edu, Gva + 0x1000, FaultCause.ReadGuestPageFault);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Gva, FaultCause.DdtEntryNotValid);
    }

    [Fact]
    public void What_the_guest_invalidates_is_gone_and_another_guest_with_the_same_names_keeps_its_own()
    {
        using QemuRig rig = new(new() { Devices = [QemuRig.Edu, QemuRig.Edu] });
        IommuDevice one = rig.Devices[rig.Edus[0].Id];
        IommuDevice two = rig.Devices[rig.Edus[1].Id];
        using Guest first = new(rig.Memory, rig.NewSecondStage(one), HostBase);
        using Guest second = new(rig.Memory, rig.NewSecondStage(two), HostBase + 0x100_0000);
        first.Map(Gva, Guest.Data);
        second.Map(Gva, Guest.Data);
        RiscVNestedDomain inFirst = first.Nest(one, Pscid);
        one.Group.Attach(inFirst).ShouldBe(Errno.Success);
        two.Group.Attach(second.Nest(two, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(rig.Edus[0], Gva, first.ToHost(Guest.Data));
        rig.ShouldReach(rig.Edus[1], Gva, second.ToHost(Guest.Data));
        first.Unmap(Gva);
        second.Unmap(Gva);

        // Not told yet: what is cached still leads there.
        rig.ShouldReach(rig.Edus[0], Gva, first.ToHost(Guest.Data));
        Guest.ShouldInvalidate(inFirst, Command.InvalidateFirstStage(null, Pscid, Gva));
        rig.ShouldFault(rig.Edus[0], Gva, FaultCause.ReadPageFault);
        rig.ShouldReach(rig.Edus[1], Gva, second.ToHost(Guest.Data));
    }

    [Theory]
    [InlineData(RiscVQuirks.None)]
    [InlineData(RiscVQuirks.GuestAddressesUnknown)]
    internal void What_the_host_takes_from_a_guest_is_gone_if_the_driver_is_told_how_QEMU_caches_it(RiscVQuirks quirks)
    {
        using QemuRig rig = new(new() { Driver = new() { Quirks = quirks } });
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device), HostBase);
        guest.Map(Gva, Guest.Data);
        device.Group.Attach(guest.Nest(device, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Gva, guest.ToHost(Guest.Data));
        guest.Parent.ShouldUnmap(Guest.Data);
        if (quirks == RiscVQuirks.None)
        {
            // QEMU looks for the guest-physical address among the addresses before the first stage: not what section 3.1.1
            // says (docs/conformance.md, "QEMU").
            rig.ShouldReach(edu, Gva, guest.ToHost(Guest.Data));
            return;
        }

        rig.ShouldFault(edu, Gva, FaultCause.ReadGuestPageFault);
        guest.Parent.ShouldMap(Guest.Data, QemuRig.DataStart);
        rig.ShouldReach(edu, Gva, QemuRig.DataStart);
    }

    [Fact]
    public void A_guest_has_processes_of_its_own()
    {
        using QemuRig rig = new(new() { PasidBits = 8 });
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device), HostBase);
        IoPageTable other = guest.NewTable();
        guest.Map(Gva, Guest.Data);
        guest.Map(Gva, Guest.Data + 0x1000, other);
        ulong pointer = guest.NewDirectory(out ulong directory);
        guest.SetProcess(directory, 0, guest.Table, 1);
        guest.SetProcess(directory, 9, other, 2);
        const ulong control = DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.DefaultProcessBit;
        device.Group.Attach(guest.Nest(device, Guest.Describe(control, 0, pointer))).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Gva, guest.ToHost(Guest.Data));
        rig.Translate(edu.Id, new(9), Gva).ShouldBe(guest.ToHost(Guest.Data + 0x1000));
        rig.Translate(edu.Id, new(10), Gva).ShouldBeNull();
    }

    [Fact]
    public void A_message_of_a_guests_device_goes_to_the_interrupt_file_that_the_MSI_page_table_names()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        const ulong firstFile = 0x2800_0000;
        const ulong file = QemuRig.DataStart + (40 * QemuRig.Page);
        const ulong other = QemuRig.DataStart + (41 * QemuRig.Page);
        RiscVPagingDomain domain = rig.NewSecondStage(device, new(firstFile >> 12, 3));
        domain.ShouldMap(Iova, QemuRig.DataStart);
        domain.MapInterruptFile(new(firstFile + (2 * QemuRig.Page)), new(file)).ShouldBe(Errno.Success);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        edu.SetMessage(firstFile + (2 * QemuRig.Page), 0x55);
        edu.RaiseInterrupt();
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        rig.Memory.ReadWord(new(file)).ShouldBe(0x55u);

        // The file moves, as it does when the guest's processor moves.
        domain.UnmapInterruptFile(new(firstFile + (2 * QemuRig.Page))).ShouldBe(Errno.Success);
        domain.MapInterruptFile(new(firstFile + (2 * QemuRig.Page)), new(other)).ShouldBe(Errno.Success);
        rig.Memory.Write32(new(file), 0);
        edu.RaiseInterrupt();
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        (rig.Memory.ReadWord(new(file)), rig.Memory.ReadWord(new(other))).ShouldBe((0u, 0x55u));

        // A message to a file that nobody mapped goes nowhere, and says so.
        edu.SetMessage(firstFile + QemuRig.Page, 0x66);
        edu.RaiseInterrupt();
        rig.HandleInterrupts();
        rig.Faults.ShouldHaveSingleItem().Cause.ShouldBe((int)FaultCause.MsiPteNotValid);
        (rig.Memory.ReadWord(new(file)), rig.Memory.ReadWord(new(other))).ShouldBe((0u, 0x55u));
    }

    [Fact]
    public void A_message_for_a_file_in_memory_is_noted_there_and_its_notice_is_sent()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        const ulong firstFile = 0x2800_0000;
        const ulong memory = QemuRig.DataStart + (50 * QemuRig.Page) + 512;
        const ulong notice = QemuRig.DataStart + (51 * QemuRig.Page);
        const int identity = 0x55;

        // Advanced interrupt architecture, 9.5.3: for each 64 identities, 64 pending bits, then 64 enable bits.
        ulong pending = memory + ((ulong)(identity / 64) * 16);
        ulong bit = 1ul << (identity % 64);
        RiscVPagingDomain domain = rig.NewSecondStage(device, new(firstFile >> 12, 3));
        domain.MapResidentInterruptFile(new(firstFile), new(memory), new(notice), 0x123).ShouldBe(Errno.Success);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        edu.SetMessage(firstFile, identity);
        edu.RaiseInterrupt();
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        rig.Memory.Read64(new(pending), out ulong noted);
        noted.ShouldBe(bit);
        rig.Memory.ReadWord(new(notice)).ShouldBe(0u);

        // Enabled: now the notice follows.
        rig.Memory.Write64(new(pending), 0);
        rig.Memory.Write64(new(pending + 8), bit);
        edu.RaiseInterrupt();
        rig.HandleInterrupts();
        rig.Memory.Read64(new(pending), out noted);
        noted.ShouldBe(bit);
        rig.Memory.ReadWord(new(notice)).ShouldBe(0x123u);
    }
}
