using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Shared;

/// <summary>The path of one IOVA, with every part beyond our tables and commands being QEMU's.</summary>
public abstract class DmaPathTests
{
    private const ulong Iova = 0x4000_0000;

    private protected abstract LabRig NewRig(LabNeeds needs);

    [Fact]
    public void A_DMA_that_crosses_pages_follows_each_of_them_and_stops_nothing_but_the_part_that_faults()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong iova = 0x10_0000;
        ulong first = rig.Data.Start + (7 * LabRig.Page);
        ulong second = rig.Data.Start + (3 * LabRig.Page);
        domain.ShouldMap(iova, first);
        domain.ShouldMap(iova + LabRig.Page, second);
        byte[] noise = LabRig.Noise(1, 2048);
        rig.Memory.Write(new(first + 3072), noise.AsSpan(0, 1024));
        rig.Memory.Write(new(second), noise.AsSpan(1024));
        edu.ReadMemory(new(iova + 3072), 2048);
        edu.WriteMemory(new(iova + 1024), 2048);
        rig.Memory.ReadBytes(new(first + 1024), 2048).ShouldBe(noise);
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();

        // The second page goes: what lies in the first still arrives.
        domain.ShouldUnmap(iova + LabRig.Page);
        byte[] before = rig.Memory.ReadBytes(new(second), 1024);
        edu.WriteMemory(new(iova + 3072), 2048);
        rig.HandleInterrupts();
        rig.Memory.ReadBytes(new(first + 3072), 1024).ShouldBe(noise.AsSpan(0, 1024).ToArray());
        rig.Memory.ReadBytes(new(second), 1024).ShouldBe(before);
        rig.Faults.ShouldNotBeEmpty();
        rig.Faults.ShouldAllBe(f => f.Iova.Value >= iova + LabRig.Page && f.Iova.Value < iova + (2 * LabRig.Page)
            && f.Cause == rig.CauseOf(Refusal.NotMapped, write: true));
        rig.Faults[0].Iova.Value.ShouldBe(iova + LabRig.Page);
    }

    [Fact]
    public void The_identity_domain_passes_addresses_unchanged()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        rig.Devices[edu.Id].Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, rig.Data.Start + 0x4_5678, rig.Data.Start + 0x4_5678, 256);
        rig.Devices[edu.Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, rig.Data.Start, Refusal.NotAttached);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Edu_reaches_what_is_mapped_and_faults_before_and_after()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        (edu.Identification & 0xff).ShouldBe(0xedu);
        rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        PagingDomain domain = rig.NewAttachedDomain(edu);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        domain.ShouldMap(Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova + 0xfc0, rig.Data.Start + 0xfc0);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova + 0x123, Refusal.NotMapped, count: 1);
        rig.ShouldFault(edu, Iova + 0x123, Refusal.NotMapped, write: true, count: 1);
        rig.Devices[edu.Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        rig.Interrupts.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void The_test_device_finds_its_pattern_where_the_table_says()
    {
        using LabRig rig = NewRig(new());
        IommuTestDevice test = rig.TestDevices[0];
        IommuDevice device = rig.Devices[test.Id];
        PagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, rig.Data.Start);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        test.Write(new(Iova + 0x10), new(rig.Data.Start + 0x10), 256).IsSuccess.ShouldBeTrue();
        rig.Memory.ReadWord(new(rig.Data.Start + 0x10 + 252)).ShouldBe(IommuTestDevice.Pattern);

        // The device's own check is real: told another place, it does not find the pattern.
        test.Write(new(Iova + 0x10), new(rig.Data.Start + 0x800), 256).IsSuccess.ShouldBeFalse();
        domain.ShouldUnmap(Iova);
        test.Write(new(Iova + 0x10), new(rig.Data.Start + 0x10), 16).IsSuccess.ShouldBeFalse();
        rig.HandleInterrupts();
        rig.Faults.ShouldNotBeEmpty();
        rig.Faults.ShouldAllBe(f => f.DeviceId == test.Id && f.Iova.Value >= (Iova & ~0xffful) && f.Iova.Value < Iova + 0x20);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void A_page_that_was_mapped_for_reading_is_read_and_never_written()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        rig.NewAttachedDomain(edu).ShouldMap(Iova, rig.Data.Start, access: Access.Read);
        byte[] noise = LabRig.Noise(2, 64);
        rig.Memory.Write(new(rig.Data.Start), noise);
        rig.ShouldFault(edu, Iova, Refusal.ReadOnly, write: true);
        edu.ReadMemory(new(Iova), 64);
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        rig.Memory.ReadBytes(new(rig.Data.Start), 64).ShouldBe(noise);
    }
}
