using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Shared;

/// <summary>DMA as a device driver does it (docs/dma.md): buffers of any alignment, addresses that the core chooses.</summary>
public abstract class DriverDmaTests
{
    private protected abstract LabRig NewRig(LabNeeds needs);

    [Theory]
    [InlineData(DmaMode.Strict)]
    [InlineData(DmaMode.Lazy)]
    public void A_buffer_is_reached_byte_for_byte_while_it_is_mapped_and_not_after(DmaMode mode)
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        using DmaDomain domain = NewDomain(rig, edu, mode);
        using DmaDevice device = Open(rig, edu);
        Random random = new(6);
        for (int i = 0; i < 12; i++)
        {
            int length = random.Next(1, 4097);
            ulong buffer = rig.Data.Start + (ulong)random.Next(1 << 20);
            device.Map(new(buffer), (ulong)length, DmaDirection.Bidirectional, out Iova address).ShouldBe(Errno.Success);
            (address.Value & 0xfff).ShouldBe(buffer & 0xfff);
            rig.ShouldReach(edu, address.Value, buffer, length);
            device.Unmap(address, (ulong)length).ShouldBe(Errno.Success);
            domain.Flush().ShouldBe(Errno.Success);
            rig.ShouldFault(edu, address.Value & ~3ul, Refusal.NotMapped);
        }
    }

    [Fact]
    public void Until_the_flush_a_lazy_unmap_leaves_the_page_in_reach_and_its_addresses_unused()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        using DmaDomain domain = NewDomain(rig, edu, DmaMode.Lazy);
        using DmaDevice device = Open(rig, edu);
        device.Map(new(rig.Data.Start), 64, DmaDirection.Bidirectional, out Iova first).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, first.Value, rig.Data.Start);
        device.Unmap(first, 64).ShouldBe(Errno.Success);
        domain.PendingCount.ShouldBe(1);

        // The IOMMU has it cached: this is why the addresses must wait.
        rig.ShouldReach(edu, first.Value, rig.Data.Start);
        for (ulong i = 1; i <= 20; i++)
        {
            device.Map(new(rig.Data.Start + (i << 12)), 64, DmaDirection.Bidirectional, out Iova other).ShouldBe(Errno.Success);
            (other.Value >> 12).ShouldNotBe(first.Value >> 12);
            rig.ShouldReach(edu, other.Value, rig.Data.Start + (i << 12));
        }

        domain.Flush().ShouldBe(Errno.Success);
        domain.PendingCount.ShouldBe(0);
        rig.ShouldFault(edu, first.Value, Refusal.NotMapped);
    }

    [Fact]
    public void A_list_of_scattered_buffers_is_one_run_for_the_device()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        using DmaDomain domain = NewDomain(rig, edu, DmaMode.Strict);
        using DmaDevice device = Open(rig, edu);

        // The middle ones are whole pages, so that all can be one segment.
        DmaSegment[] buffers =
        [
            new(new(rig.Data.Start + 0x9e00), 0x200), new(new(rig.Data.Start + 0x3000), 0x1000), new(new(rig.Data.Start + 0x7000), 0x300),
        ];
        DmaMappedSegment[] mapped = new DmaMappedSegment[3];
        device.MapScatterGather(buffers, DmaDirection.Bidirectional, mapped, out int count).ShouldBe(Errno.Success);
        count.ShouldBe(1);
        mapped[0].Length.ShouldBe(0x1500ul);
        byte[] noise = LabRig.Noise(9, 0x1500);
        int at = 0;
        foreach (DmaSegment buffer in buffers)
        {
            rig.Memory.Write(buffer.Address, noise.AsSpan(at, (int)buffer.Length));
            at += (int)buffer.Length;
        }

        // Out of the middle, across both seams, and to another place of the same run.
        edu.ReadMemory(mapped[0].Address + 0x100, 0x1000);
        edu.WriteMemory(mapped[0].Address + 0x500, 0x1000);
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        byte[] expected = [.. noise[..0x500], .. noise[0x100..0x1100]];
        rig.Memory.ReadBytes(buffers[0].Address, 0x200).ShouldBe(expected[..0x200]);
        rig.Memory.ReadBytes(buffers[1].Address, 0x1000).ShouldBe(expected[0x200..0x1200]);
        rig.Memory.ReadBytes(buffers[2].Address, 0x300).ShouldBe(expected[0x1200..]);
        device.UnmapScatterGather(mapped.AsSpan(0, count)).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, mapped[0].Address.Value, Refusal.NotMapped);
    }

    [Fact]
    public void A_buffer_for_reading_only_is_not_written()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        using DmaDomain domain = NewDomain(rig, edu, DmaMode.Strict);
        using DmaDevice device = Open(rig, edu);
        device.Map(new(rig.Data.Start), 64, DmaDirection.ToDevice, out Iova address).ShouldBe(Errno.Success);
        rig.ShouldFault(edu, address.Value, Refusal.ReadOnly, write: true);
    }

    private static DmaDomain NewDomain(LabRig rig, EduDevice edu, DmaMode mode)
    {
        IommuDevice device = rig.Devices[edu.Id];
        DmaDomain.TryCreate(device, new() { Mode = mode, UseTimer = false, TimeLimit = TimeSpan.FromDays(1) }, out DmaDomain? domain)
            .ShouldBe(Errno.Success);
        device.Group.SetDefaultDomain(domain!).ShouldBe(Errno.Success);
        return domain!;
    }

    private static DmaDevice Open(LabRig rig, EduDevice edu)
    {
        DmaDevice.TryOpen(rig.Devices[edu.Id], new(), out DmaDevice? device).ShouldBe(Errno.Success);
        return device!;
    }
}
