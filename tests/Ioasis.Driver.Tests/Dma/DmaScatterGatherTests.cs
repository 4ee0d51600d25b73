using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>A list's segments lead to exactly its bytes, in order, within the limits of the device.</summary>
public class DmaScatterGatherTests
{
    private const ulong Base = 0x9_0000_0000;

    [Fact]
    public void Any_list_leads_to_its_bytes_within_the_limits_and_leaves_nothing_behind()
    {
        Gen<(ulong Address, ulong Length)> buffer =
            from page in Gen.Choose(0, 40)
            from offset in Gen.Frequency((3, Gen.Constant(0)), (1, Gen.Choose(0, 4095)))
            from length in Gen.Frequency((3, Gen.Elements(4096, 8192, 16384)), (2, Gen.Choose(1, 20000)))
            select (Base + ((ulong)page << 12) + (ulong)offset, (ulong)length);
        Gen<(List<(ulong Address, ulong Length)> Buffers, ulong MaxSize, ulong Boundary, bool Lazy)> what =
            from buffers in Gen.NonEmptyListOf(buffer)
            from maxSize in Gen.Elements(4096ul, 6000ul, 16384ul, 65536ul, ulong.MaxValue)
            from boundary in Gen.Elements(0xffful, 0x3ffful, 0xfffful, uint.MaxValue, ulong.MaxValue)
            from lazy in Gen.Elements(true, false)
            select (buffers.ToList(), maxSize, boundary, lazy);
        Prop.ForAll(what.ToArbitrary(), x => Check(x.Buffers, x.MaxSize, x.Boundary, x.Lazy))
            .Check(Config.QuickThrowOnFailure.WithMaxTest(250).WithEndSize(24));
    }

    [Fact]
    public void Whole_pages_become_one_segment_up_to_the_largest_size()
    {
        using DmaRig rig = new(device: new() { MaxSegmentSize = 0x4000 });
        DmaSegment[] list = [.. Enumerable.Range(0, 8).Select(i => new DmaSegment(new(Base + ((ulong)i * 0x5000)), 0x1000))];
        DmaMappedSegment[] mapped = new DmaMappedSegment[8];
        rig.Dma.MapScatterGather(list, DmaDirection.ToDevice, mapped, out int count).ShouldBe(Errno.Success);
        count.ShouldBe(2);
        mapped[0].Length.ShouldBe(0x4000ul);
        mapped[1].Address.ShouldBe(mapped[0].Address + 0x4000);
    }

    [Fact]
    public void Too_little_room_for_segments_leaves_nothing_mapped()
    {
        using DmaRig rig = new(device: new() { MaxSegmentSize = 0x1000 });
        DmaMappedSegment[] mapped = new DmaMappedSegment[3];
        rig.Dma.MapScatterGather([new(new(Base), 0x4000)], DmaDirection.ToDevice, mapped, out int count)
            .ShouldBe(Errno.MessageTooLong);
        count.ShouldBe(0);
        rig.ShouldBeEmpty();
        rig.ShouldNotReach(mapped[0].Address);
    }

    [Fact]
    public void Nonsense_is_refused()
    {
        using DmaRig rig = new();
        DmaMappedSegment[] mapped = new DmaMappedSegment[3];
        rig.Dma.MapScatterGather([], DmaDirection.ToDevice, mapped, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.MapScatterGather([new(new(Base), 0)], DmaDirection.ToDevice, mapped, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.MapScatterGather([new(new(Base), 1ul << 62)], DmaDirection.ToDevice, mapped, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.MapScatterGather([new(new(ulong.MaxValue), 1)], DmaDirection.ToDevice, mapped, out _).ShouldBe(Errno.InvalidArgument);
        rig.Dma.MapScatterGather([new(new(Base), 1), new(new(1ul << 58), 1)], DmaDirection.ToDevice, mapped, out _)
            .ShouldBe(Errno.OutOfRange);
        rig.Dma.UnmapScatterGather([]).ShouldBe(Errno.InvalidArgument);
        rig.Dma.UnmapScatterGather([new(new(0x1000), 0)]).ShouldBe(Errno.InvalidArgument);
        rig.Dma.UnmapScatterGather([new(new(0x10_0000), 0x1000), new(new(0x8000), 0x1000)]).ShouldBe(Errno.InvalidArgument);
        rig.ShouldBeEmpty();
    }

    private static void Check(List<(ulong Address, ulong Length)> buffers, ulong maxSize, ulong boundary, bool lazy)
    {
        using DmaRig rig = new(
            lazy ? DmaMode.Lazy : DmaMode.Strict, new() { MaxSegmentSize = maxSize, SegmentBoundary = boundary });
        DmaSegment[] list = [.. buffers.Select(buffer => new DmaSegment(new(buffer.Address), buffer.Length))];
        DmaMappedSegment[] mapped = new DmaMappedSegment[1000];
        rig.Dma.MapScatterGather(list, DmaDirection.Bidirectional, mapped, out int count).ShouldBe(Errno.Success);
        Span<DmaMappedSegment> segments = mapped.AsSpan(0, count);

        // A buffer that obeys the limits by itself needs no segment more; its offset in a page can make it cross a boundary.
        if (buffers.TrueForAll(buffer => buffer.Length <= maxSize && (buffer.Address & 0xfff) + buffer.Length - 1 <= boundary))
        {
            count.ShouldBeLessThanOrEqualTo(buffers.Count);
        }

        int at = 0;
        ulong used = 0;
        foreach (DmaMappedSegment segment in segments)
        {
            segment.Length.ShouldBeInRange(1ul, maxSize);
            (segment.Address.Value & ~boundary).ShouldBe((segment.Address.Value + segment.Length - 1) & ~boundary);
            for (ulong offset = 0; offset < segment.Length;)
            {
                rig.Domain.Paging.TryTranslate(segment.Address + offset, out PhysicalAddress address, out Access access, out _)
                    .ShouldBeTrue();
                access.ShouldBe(Access.ReadWrite);
                address.Value.ShouldBe(buffers[at].Address + used);
                ulong step = Math.Min(segment.Length - offset, buffers[at].Length - used);
                step = Math.Min(step, 4096 - ((segment.Address.Value + offset) & 0xfff));
                offset += step;
                used += step;
                if (used == buffers[at].Length)
                {
                    (at, used) = (at + 1, 0);
                }
            }
        }

        at.ShouldBe(buffers.Count);
        rig.Dma.UnmapScatterGather(segments).ShouldBe(Errno.Success);
        foreach (DmaMappedSegment segment in segments)
        {
            rig.Domain.Paging.TryTranslate(segment.Address, out _, out _, out _).ShouldBeFalse();
        }

        rig.ShouldBeEmpty();
    }
}
