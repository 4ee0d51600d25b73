using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver.Tests;

/// <summary>Fault records: what is reported of each, and that none is lost in silence (S4.16).</summary>
public sealed class FaultTests
{
    [Fact]
    public void A_fault_names_device_PASID_address_access_and_cause()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x4321, pasidBits: 16);
        VtdPagingDomain domain = rig.NewDomain(device);
        device.Group.AttachPasid(new(77), domain).ShouldBe(Errno.Success);
        domain.ShouldMap(0x1000, 0x4000_0000, access: Access.Read);
        IommuFault fault = rig.ShouldFault(device, 0x1abc, FaultReason.ScalableWriteDenied, write: true, pasid: new(77));
        fault.ShouldBe(new IommuFault(
            device.Id, device, new(77), new(0x1000), Access.Write, IommuFaultReason.NotMapped, (int)FaultReason.ScalableWriteDenied, 0, false));
        rig.Log.ToString().ShouldContain("no write permission");
    }

    [Fact]
    public void A_flood_is_reported_up_to_the_registers_and_the_loss_is_told()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x0008);
        _ = rig.Attached(device);
        for (ulong i = 0; i < 20; i++)
        {
            rig.Hardware.Translate(new(device.Id, new(i << 12)), out DmaTranslation translation);
            translation.Status.ShouldNotBe(DmaStatus.Success);
        }

        rig.HandleInterrupts();
        rig.Sink.Faults.Select(static fault => fault.Iova.Value >> 12).ShouldBe(Enumerable.Range(0, 8).Select(static i => (ulong)i));
        rig.Sink.Lost.ShouldBe(1);
        rig.Driver.Statistics.FaultOverflows.ShouldBe(1);

        // Reporting goes on.
        rig.ShouldFault(device, 0x5000, FaultReason.SecondStageNotPresent);
        rig.Driver.Statistics.Faults.ShouldBe(9);
    }

    [Fact]
    public void Records_that_wrap_are_read_in_order()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x0008);
        _ = rig.Attached(device);
        ulong next = 0;
        foreach (int burst in (int[])[5, 3, 7, 1, 8, 6])
        {
            rig.Sink.Faults.Clear();
            ulong first = next;
            for (int i = 0; i < burst; i++)
            {
                rig.Hardware.Translate(new(device.Id, new(next++ << 12)), out _);
            }

            rig.HandleInterrupts();
            rig.Sink.Faults.Select(static fault => fault.Iova.Value >> 12).ShouldBe(Enumerable.Range(0, burst).Select(i => first + (ulong)i));
        }

        rig.Sink.Lost.ShouldBe(0);
    }

    [Fact]
    public void A_device_that_nobody_knows_is_reported_by_its_ID()
    {
        using Rig rig = new();
        rig.Hardware.Translate(new(new DeviceId(0x0008), new(0x5000), DmaFlags.Write), out DmaTranslation translation);
        rig.HandleInterrupts();
        translation.Status.ShouldNotBe(DmaStatus.Success);
        IommuFault fault = rig.Sink.Faults.ShouldHaveSingleItem();
        fault.Device.ShouldBeNull();
        fault.DeviceId.ShouldBe(new DeviceId(8));
        fault.Reason.ShouldBe(IommuFaultReason.Blocked);
        fault.Access.ShouldBe(Access.Write);
    }

    // T1 is bit 62 of the second doubleword, T2 bit 28; EXE 30, PRIV 29, PP 31, AT 61:60 (section 11.4.7.6).
    [Theory]
    [InlineData(0ul, Access.Write, 0u, false, 0ul)]
    [InlineData(1ul << 62, Access.Read, 0u, false, 0ul)]
    [InlineData((1ul << 62) | (1ul << 28), Access.ReadWrite, 0u, false, 0ul)]
    [InlineData(1ul << 28, Access.None, 0u, false, 0ul)]
    [InlineData((1ul << 62) | (1ul << 30), Access.Read | Access.Execute, 0u, false, 0ul)]
    [InlineData((1ul << 62) | (1ul << 31) | (1ul << 29) | (0x12345ul << 40), Access.Read, 0x12345u, true, 0ul)]
    [InlineData((1ul << 62) | (1ul << 29) | (0x12345ul << 40) | (2ul << 60), Access.Read, 0u, false, 2ul)]
    public void Each_field_of_a_record_is_decoded(ulong bits, Access access, uint pasid, bool privileged, ulong detail)
    {
        ulong high = bits | (1ul << 63) | (0x86ul << 32) | 0x4321;
        IommuFault fault = FaultRecords.Decode(0x1234_5678_9abc_d000, high, 3, static _ => null);
        fault.ShouldBe(new IommuFault(
            new(0x3_4321), null, new(pasid), new(0x1234_5678_9abc_d000), access, IommuFaultReason.NotMapped, 0x86, detail, privileged));
    }

    [Theory]
    [InlineData(0x02, IommuFaultReason.Blocked)]
    [InlineData(0x05, IommuFaultReason.NotMapped)]
    [InlineData(0x0b, IommuFaultReason.BadTable)]
    [InlineData(0x0d, IommuFaultReason.NotAllowed)]
    [InlineData(0x22, IommuFaultReason.Other)]
    [InlineData(0x31, IommuFaultReason.NotAllowed)]
    [InlineData(0x33, IommuFaultReason.Blocked)]
    [InlineData(0x45, IommuFaultReason.NotAllowed)]
    [InlineData(0x59, IommuFaultReason.Blocked)]
    [InlineData(0x5a, IommuFaultReason.BadTable)]
    [InlineData(0x71, IommuFaultReason.NotMapped)]
    [InlineData(0x78, IommuFaultReason.BadTable)]
    [InlineData(0x91, IommuFaultReason.BadTable)]
    [InlineData(0xee, IommuFaultReason.Other)]
    public void Each_cause_has_a_reason_that_every_IOMMU_shares(int cause, IommuFaultReason reason) =>
        FaultRecords.Decode(0, (1ul << 63) | ((ulong)cause << 32), 0, static _ => null).Reason.ShouldBe(reason);
}
