using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>Memory that device and processor share: one piece for the device, gone for good when it is freed.</summary>
public class DmaCoherentTests
{
    [Theory]
    [InlineData(1, 0x1000)]
    [InlineData(0x5000, 0x5000)]
    [InlineData(0x23_4567, 0x23_5000)]
    public void The_device_sees_what_the_processor_writes_at_every_offset(ulong length, ulong size)
    {
        using DmaRig rig = new(DmaMode.Lazy);
        rig.Dma.AllocateCoherent(length, out DmaCoherentBuffer? buffer).ShouldBe(Errno.Success);
        buffer!.Length.ShouldBe(size);
        byte[] data = new byte[size];
        new Random(1).NextBytes(data);
        buffer.Write(0, data).ShouldBe(Errno.Success);
        byte[] seen = new byte[64];
        for (ulong offset = 0; offset < size; offset += 4032)
        {
            int count = (int)Math.Min(64, size - offset);
            rig.Rig.Hardware.Read(new(rig.Device.Id, buffer.Address + offset), seen.AsSpan(0, count)).ShouldBe(default);
            seen.AsSpan(0, count).SequenceEqual(data.AsSpan((int)offset, count)).ShouldBeTrue();
        }

        byte[] back = new byte[size];
        buffer.Read(0, back).ShouldBe(Errno.Success);
        back.ShouldBe(data);
        buffer.Free().ShouldBe(Errno.Success);
        rig.ShouldNotReach(buffer.Address);
        rig.ShouldBeEmpty();
    }

    [Fact]
    public void It_starts_as_zeros_and_cannot_be_used_after_it_was_freed()
    {
        using DmaRig rig = new();
        rig.Dma.AllocateCoherent(0x1000, out DmaCoherentBuffer? first).ShouldBe(Errno.Success);
        first!.Write(0, Enumerable.Repeat((byte)0xff, 0x1000).ToArray()).ShouldBe(Errno.Success);
        first.Free().ShouldBe(Errno.Success);
        first.Free().ShouldBe(Errno.Success);
        byte[] data = new byte[0x1000];
        first.Read(0, data).ShouldBe(Errno.InvalidArgument);
        first.Write(0, data).ShouldBe(Errno.InvalidArgument);
        rig.Dma.AllocateCoherent(0x1000, out DmaCoherentBuffer? second).ShouldBe(Errno.Success);
        second!.Read(0, data).ShouldBe(Errno.Success);
        data.ShouldAllBe(b => b == 0);
        second.Read(0x800, new byte[0x801]).ShouldBe(Errno.InvalidArgument);
        second.Write(0x1000, [1]).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void The_coherent_mask_holds_apart_from_the_other()
    {
        using DmaRig rig = new(device: new() { CoherentMask = 0xff_ffff });
        rig.Dma.AllocateCoherent(0x2000, out DmaCoherentBuffer? buffer).ShouldBe(Errno.Success);
        (buffer!.Address.Value + 0x1fff).ShouldBeLessThanOrEqualTo(0xff_fffful);
        rig.Map(0x1000, 0x1000).Value.ShouldBeGreaterThan(0xff_fffful);
        rig.Dma.AllocateCoherent(0x200_0000, out _).ShouldBe(Errno.NoSpace);
        rig.Dma.AllocateCoherent(0, out _).ShouldBe(Errno.InvalidArgument);
        buffer.Free().ShouldBe(Errno.Success);
        rig.Buffers.AllocatedBytes.ShouldBe(0);
    }
}
