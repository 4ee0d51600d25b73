using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>A device with a DMA domain behind a hostile IOMMU, and memory for buffers.</summary>
internal sealed class DmaRig : IDisposable
{
    public const ulong Page = Rig.Page;

    public DmaRig(
        DmaMode mode = DmaMode.Strict,
        DmaDeviceOptions? device = null,
        DmaDomainOptions? domain = null,
        RigOptions? rig = null,
        IReadOnlyList<ReservedRegion>? regions = null)
    {
        Rig = new(rig);
        Buffers = new(Rig.Memory, new(1ul << 36, (1ul << 37) - 1));
        Rig.Core.TryAddDevice(Rig.Driver, new(0x10), "device", null, new() { ReservedRegions = regions }, out IommuDevice? added)
            .ShouldBe(Errno.Success);
        Device = added!;
        TablesBefore = Rig.Pages.AllocatedBytes;
        DmaDomain.TryCreate(
            Device, (domain ?? new() { UseTimer = false, TimeProvider = Time }) with { Mode = mode }, out DmaDomain? made)
            .ShouldBe(Errno.Success);
        Domain = made!;
        Device.Group.SetDefaultDomain(Domain).ShouldBe(Errno.Success);
        DmaDevice.TryOpen(Device, (device ?? new()) with { Pages = Buffers, Memory = Rig.Memory }, out DmaDevice? dma)
            .ShouldBe(Errno.Success);
        Dma = dma!;
    }

    public Rig Rig { get; }

    public ManualTime Time { get; } = new();

    public RangePageAllocator Buffers { get; }

    public IommuDevice Device { get; }

    public DmaDomain Domain { get; }

    public DmaDevice Dma { get; }

    public long TablesBefore { get; }

    public Iova Map(ulong buffer, ulong length, DmaDirection direction = DmaDirection.Bidirectional)
    {
        Dma.Map(new(buffer), length, direction, out Iova address).ShouldBe(Errno.Success);
        return address;
    }

    /// <summary>Asserts that every byte of a mapped piece leads where it shall, and the bytes before and after to nothing else.</summary>
    public void ShouldLeadTo(Iova address, ulong length, ulong buffer)
    {
        for (ulong offset = 0; offset < length; offset += Math.Max(1, Math.Min(Page, length - 1 - offset)))
        {
            Rig.ShouldReach(Device, address.Value + offset, buffer + offset);
            if (offset == length - 1)
            {
                break;
            }
        }
    }

    public void ShouldNotReach(Iova address) => Rig.ShouldFault(Device, address.Value, FaultCause.ReadPageFault);

    /// <summary>Everything is as if nothing had ever been mapped.</summary>
    public void ShouldBeEmpty()
    {
        Domain.Flush().ShouldBe(Errno.Success);
        Domain.Iovas.FlushCaches();
        ulong last = Domain.Paging.Aperture.Last >> 12;
        Domain.Iovas.CheckTree().ShouldBe([(1ul, last)]);
        Buffers.AllocatedBytes.ShouldBe(0);
    }

    public void Dispose()
    {
        Dma.Dispose();
        Rig.Dispose();
    }
}
