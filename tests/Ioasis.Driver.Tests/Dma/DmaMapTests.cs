using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>A driver's buffers are reached by its device, exactly, as long as they are mapped and no longer.</summary>
public class DmaMapTests
{
    private const ulong Buffer = 0x8_1234_5000;

    [Theory]
    [InlineData(0, 1)]
    [InlineData(0, 4096)]
    [InlineData(0x123, 64)]
    [InlineData(0xfff, 2)]
    [InlineData(0x800, 0x3000)]
    [InlineData(0, 0x20_0000)]
    [InlineData(0x10, 0x4_0000)]
    public void A_buffer_is_reached_byte_for_byte_and_faults_after_a_strict_unmap(ulong offset, ulong length)
    {
        using DmaRig rig = new();
        Iova address = rig.Map(Buffer + offset, length);
        (address.Value & 0xfff).ShouldBe((Buffer + offset) & 0xfff);
        rig.ShouldLeadTo(address, length, Buffer + offset);
        rig.Dma.Unmap(address, length).ShouldBe(Errno.Success);
        rig.ShouldNotReach(address);
        rig.ShouldNotReach(address + (length - 1));
        rig.ShouldBeEmpty();
    }

    [Theory]
    [InlineData(DmaDirection.Bidirectional, true, true)]
    [InlineData(DmaDirection.ToDevice, true, false)]
    [InlineData(DmaDirection.FromDevice, true, true)]
    public void The_direction_is_what_the_device_may_do(DmaDirection direction, bool reads, bool writes)
    {
        using DmaRig rig = new();
        Iova address = rig.Map(Buffer, 4096, direction);
        if (reads)
        {
            rig.Rig.ShouldReach(rig.Device, address.Value, Buffer);
        }

        if (writes)
        {
            rig.Rig.ShouldReach(rig.Device, address.Value, Buffer, write: true);
        }
        else
        {
            rig.Rig.ShouldFault(rig.Device, address.Value, FaultCause.WritePageFault, write: true);
        }
    }

    [Fact]
    public void A_lazy_unmap_takes_effect_with_the_flush_and_its_IOVA_is_not_used_before()
    {
        using DmaRig rig = new(DmaMode.Lazy);
        Iova address = rig.Map(Buffer, 4096);
        rig.ShouldLeadTo(address, 4096, Buffer);
        rig.Dma.Unmap(address, 4096).ShouldBe(Errno.Success);

        // The hostile cache still has it: that is what lazy means, and why the address must not come again.
        rig.ShouldLeadTo(address, 4096, Buffer);
        rig.Domain.PendingCount.ShouldBe(1);
        for (ulong i = 0; i < 100; i++)
        {
            rig.Map(Buffer + (i << 12), 4096).ShouldNotBe(address);
        }

        rig.Domain.Flush().ShouldBe(Errno.Success);
        rig.ShouldNotReach(address);
        rig.Domain.PendingCount.ShouldBe(0);
        rig.Map(Buffer, 4096).ShouldBe(address);
        rig.ShouldLeadTo(address, 4096, Buffer);
    }

    [Fact]
    public void A_strict_unmap_in_a_lazy_domain_takes_effect_at_once()
    {
        using DmaRig rig = new(DmaMode.Lazy);
        Iova address = rig.Map(Buffer, 4096);
        rig.ShouldLeadTo(address, 4096, Buffer);
        rig.Dma.Unmap(address, 4096, DmaAttributes.Strict).ShouldBe(Errno.Success);
        rig.ShouldNotReach(address);
        rig.Domain.PendingCount.ShouldBe(0);
    }

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData(0x3fff_fffful)]
    public void No_address_is_above_the_mask_of_the_device(ulong mask)
    {
        using DmaRig rig = new(device: new() { AddressMask = mask });
        for (int i = 0; i < 200; i++)
        {
            (rig.Map(Buffer, 0x4000).Value + 0x3fff).ShouldBeLessThanOrEqualTo(mask);
        }

        rig.Dma.Map(new(Buffer), mask + 2, DmaDirection.ToDevice, out _).ShouldBe(Errno.NoSpace);
    }

    [Fact]
    public void Addresses_below_4_GiB_come_first_where_the_device_wants_them_and_others_when_they_are_used_up()
    {
        using DmaRig rig = new(device: new() { Prefer32Bit = true });
        rig.Map(Buffer, 4096).Value.ShouldBeLessThan(1ul << 32);
        rig.Domain.Iovas.Reserve(new(0x1000, 0xf000_0000)).ShouldBe(Errno.Success);
        rig.Map(0, 0x1000_0000).Value.ShouldBeGreaterThan(uint.MaxValue);
        rig.Dma.Map(new(0), 0x1000_0000, DmaDirection.ToDevice, out _, DmaAttributes.Below4G).ShouldBe(Errno.NoSpace);
    }

    [Fact]
    public void What_was_not_mapped_so_cannot_be_unmapped()
    {
        using DmaRig rig = new();
        Iova address = rig.Map(Buffer, 0x3000);
        rig.Dma.Unmap(address, 0).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Unmap(address, 0x2800).ShouldBe(Errno.Success, "whole pages count");
        rig.Dma.Unmap(address, 0x3000).ShouldBe(Errno.InvalidArgument);
        Iova other = rig.Map(Buffer, 0x4000);
        rig.Dma.Unmap(other, 0x3000).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Unmap(other + 0x1000, 0x2000).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Unmap(new(ulong.MaxValue - 0xfff), 0x1000).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Unmap(new(0x40_0000), 0x1000).ShouldBe(Errno.InvalidArgument);
        rig.ShouldLeadTo(other, 0x4000, Buffer);
        rig.Dma.Unmap(other, 0x4000).ShouldBe(Errno.Success);
        rig.Dma.Unmap(other, 0x4000).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Nonsense_is_refused_and_maps_nothing()
    {
        using DmaRig rig = new();
        rig.Dma.Map(new(Buffer), 0, DmaDirection.ToDevice, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Map(new(Buffer), 1, (DmaDirection)17, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Map(new(ulong.MaxValue), 1, DmaDirection.ToDevice, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Map(new(1), ulong.MaxValue, DmaDirection.ToDevice, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.Map(new(1ul << 58), 4096, DmaDirection.ToDevice, out _).ShouldBe(Errno.OutOfRange);
        rig.ShouldBeEmpty();
    }

    [Fact]
    public void Steady_maps_and_unmaps_allocate_no_managed_memory_strict_or_lazy()
    {
        foreach (DmaMode mode in (DmaMode[])[DmaMode.Strict, DmaMode.Lazy])
        {
            using DmaRig rig = new(mode, domain: new() { UseTimer = false, Slots = 1, Iova = new() { Slots = 1 } });
            DmaSegment[] list = [new(new(Buffer), 0x1000), new(new(Buffer + 0x10_0000), 0x2000), new(new(Buffer + 0x20_0010), 0x80)];
            DmaMappedSegment[] mapped = new DmaMappedSegment[3];
            int failures = 0;
            SteadyState.AllocatedBytes(() =>
            {
                for (int i = 0; i < 1000; i++)
                {
                    failures += rig.Dma.Map(new(Buffer + 5), 1500, DmaDirection.ToDevice, out Iova address) == Errno.Success ? 0 : 1;
                    failures += rig.Dma.MapScatterGather(list, DmaDirection.FromDevice, mapped, out int count) == Errno.Success ? 0 : 1;
                    failures += rig.Dma.Unmap(address, 1500) == Errno.Success ? 0 : 1;
                    failures += rig.Dma.UnmapScatterGather(mapped.AsSpan(0, count)) == Errno.Success ? 0 : 1;
                }
            }).ShouldBe(0);
            failures.ShouldBe(0);
        }
    }

    [Fact]
    public void Without_translation_addresses_pass_unchanged_if_the_device_can_send_them()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        device.Group.SetDefaultDomain(IdentityDomain.Instance).ShouldBe(Errno.Success);
        DmaDevice.TryOpen(device, new() { AddressMask = uint.MaxValue }, out DmaDevice? dma).ShouldBe(Errno.Success);
        dma!.Map(new(0x1234_5678), 100, DmaDirection.ToDevice, out Iova address).ShouldBe(Errno.Success);
        address.Value.ShouldBe(0x1234_5678ul);
        rig.ShouldReach(device, address.Value, 0x1234_5678);
        dma.Unmap(address, 100).ShouldBe(Errno.Success);
        dma.Map(new(uint.MaxValue), 2, DmaDirection.ToDevice, out _).ShouldBe(Errno.OutOfRange);
    }

    [Fact]
    public void A_driver_and_a_user_keep_each_other_away()
    {
        using DmaRig rig = new();
        object user = new();
        rig.Device.Group.ClaimDma(user).ShouldBe(Errno.Busy);
        Iova address = rig.Map(Buffer, 4096);
        rig.Dma.Dispose();
        rig.Device.Group.ClaimDma(user).ShouldBe(Errno.Success);
        rig.Rig.ShouldFault(rig.Device, address.Value, FaultCause.DdtEntryNotValid);
        DmaDevice.TryOpen(rig.Device, new(), out _).ShouldBe(Errno.Busy);
        rig.Device.Group.ReleaseDma(user);
        rig.Rig.ShouldReach(rig.Device, address.Value, Buffer);
        DmaDevice.TryOpen(rig.Device, new(), out DmaDevice? again).ShouldBe(Errno.Success);
        again!.Dispose();
    }

    [Fact]
    public void A_group_without_a_default_domain_has_no_DMA_for_drivers()
    {
        using Rig rig = new();
        DmaDevice.TryOpen(rig.AddDevice(0x10), new(), out _).ShouldBe(Errno.NotSupported);
        DmaDevice.TryOpen(rig.AddDevice(0x11), new() { SegmentBoundary = 0x1234 }, out _).ShouldBe(Errno.InvalidArgument);
        DmaDevice.TryOpen(rig.AddDevice(0x12), new() { MaxSegmentSize = 0 }, out _).ShouldBe(Errno.InvalidArgument);
    }
}
