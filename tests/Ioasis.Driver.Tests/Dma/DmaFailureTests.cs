using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>Every call of the DMA API that fails at any of its steps leaves no trace (invariant 3).</summary>
public class DmaFailureTests
{
    private const ulong Buffer = 0x8_1234_5000;
    private const ulong Long = 0x60_3000;

    [Fact]
    public void Mapping_a_buffer() => FailAtEveryStep.Run(
        () => new DmaRig(),
        rig => rig.Dma.Map(new(Buffer), Long, DmaDirection.Bidirectional, out _),
        (rig, result, step) =>
        {
            // Without an IOVA the call flushes and tries again, so that its first step may fail for nothing.
            (result == Errno.Success).ShouldBe(step <= 1, $"step {step}");
            if (result != Errno.Success)
            {
                rig.ShouldBeEmpty();
                rig.Rig.Pages.AllocatedBytes.ShouldBe(rig.TablesBefore + rig.Domain.Paging.TableBytes);
            }
        }).ShouldBeGreaterThanOrEqualTo(3);

    [Fact]
    public void Mapping_a_list() => FailAtEveryStep.Run(
        () => new DmaRig(),
        rig => rig.Dma.MapScatterGather(
            [new(new(Buffer), Long), new(new(Buffer + 0x4000_0000), Long), new(new(Buffer + 0x100), 0x500)],
            DmaDirection.ToDevice,
            new DmaMappedSegment[1000],
            out _),
        (rig, result, step) =>
        {
            // Without an IOVA the call flushes and tries again, so that its first step may fail for nothing.
            (result == Errno.Success).ShouldBe(step <= 1, $"step {step}");
            if (result != Errno.Success)
            {
                rig.ShouldBeEmpty();
            }
        }).ShouldBeGreaterThanOrEqualTo(4);

    [Theory]
    [InlineData(DmaMode.Strict)]
    [InlineData(DmaMode.Lazy)]
    public void Unmapping(DmaMode mode) => FailAtEveryStep.Run(
        () =>
        {
            DmaRig rig = new(mode, domain: new() { QueueCapacity = mode == DmaMode.Lazy ? 1 : 256, UseTimer = false });
            return (Rig: rig, Address: rig.Map(Buffer, 0x3000));
        },
        state => state.Rig.Dma.Unmap(state.Address, 0x3000),
        (state, result, step) =>
        {
            // It cannot be undone; what did not work is made good by the next flush.
            state.Rig.Domain.PendingCount.ShouldBe(result == Errno.Success ? 0 : 1);
            state.Rig.ShouldBeEmpty();
            state.Rig.ShouldNotReach(state.Address);
            state.Rig.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    public void Allocating_a_coherent_buffer() => FailAtEveryStep.Run(
        () => new DmaRig(),
        rig => rig.Dma.AllocateCoherent(0x2_5000, out _),
        (rig, result, step) =>
        {
            // A piece that is not there may be had in smaller ones.
            rig.Buffers.AllocatedBytes.ShouldBe(result == Errno.Success ? 0x2_5000 : 0);
            if (result != Errno.Success)
            {
                step.ShouldNotBe(0);
                rig.ShouldBeEmpty();
            }
        }).ShouldBeGreaterThanOrEqualTo(4);

    [Fact]
    public void Freeing_a_coherent_buffer() => FailAtEveryStep.Run(
        () =>
        {
            DmaRig rig = new(DmaMode.Lazy);
            rig.Dma.AllocateCoherent(0x2_5000, out DmaCoherentBuffer? buffer).ShouldBe(Errno.Success);
            return (Rig: rig, Buffer: buffer!);
        },
        state => state.Buffer.Free(),
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Rig.Buffers.AllocatedBytes.ShouldBe(step == 0 ? 0 : 0x2_5000);
            state.Buffer.Free().ShouldBe(Errno.Success);
            state.Rig.ShouldBeEmpty();
            state.Rig.ShouldNotReach(state.Buffer.Address);
            state.Rig.Dispose();
        }).ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    public void Making_a_default_domain_with_direct_regions() => FailAtEveryStep.Run(
        () => new GroupState(),
        state =>
        {
            Errno error = DmaDomain.TryCreate(state.Device, new() { UseTimer = false }, out state.Domain);
            return error == Errno.Success ? state.Device.Group.SetDefaultDomain(state.Domain!) : error;
        },
        (state, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            state.Device.Group.DefaultDomain.Kind.ShouldBe(step == 0 ? DomainKind.Paging : DomainKind.Blocked);
            if (step == 0)
            {
                state.Rig.ShouldReach(state.Device, 0x7000_0000, 0x7000_0000);
            }
            else
            {
                state.Device.Group.Domain.ShouldBeSameAs(BlockedDomain.Instance);
                state.Domain?.Dispose();
                state.Rig.Pages.AllocatedBytes.ShouldBe(state.Bytes);
            }
        }).ShouldBeGreaterThanOrEqualTo(3);

    private sealed class GroupState : IDisposable
    {
        public DmaDomain? Domain;

        public GroupState()
        {
            Rig.Core.TryAddDevice(
                Rig.Driver, new(0x10), "device", null,
                new() { ReservedRegions = [new(new(0x7000_0000, 0x7000_2fff), ReservedRegionKind.Direct)] },
                out IommuDevice? device).ShouldBe(Errno.Success);
            Device = device!;
            Bytes = Rig.Pages.AllocatedBytes;
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public long Bytes { get; }

        public void Dispose() => Rig.Dispose();
    }
}
