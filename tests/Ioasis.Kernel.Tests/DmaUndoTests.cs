using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// DMA for drivers on tables that cannot be written and an IOMMU that does not confirm: neither IOVAs nor memory are used again while
/// the device may reach the old, and what could not be taken back is said.
/// </summary>
public sealed class DmaUndoTests
{
    private const ulong Buffer = 0x1_0000_0000;
    private static readonly HashSet<InjectionKind> s_allocations = [InjectionKind.Allocate];

    private sealed class Bench : IDisposable
    {
        public Bench(ReservedRegion[]? regions = null)
        {
            (Device, _) = Rig.AddDevice(null, regions ?? []);
            Memory = new();
            Pages = new(Memory, new(1ul << 32, (1ul << 33) - 1));
            DmaDomain.TryCreate(Device, new() { Mode = DmaMode.Strict, UseTimer = false }, out DmaDomain? domain).ShouldBe(Errno.Success);
            Domain = domain!;
            Device.Group.SetDefaultDomain(Domain).ShouldBe(Errno.Success);
            DmaDevice.TryOpen(Device, new() { Pages = Pages, Memory = Memory }, out DmaDevice? dma).ShouldBe(Errno.Success);
            Dma = dma!;
        }

        public Rig Rig { get; } = new();

        public IommuDevice Device { get; }

        public SparsePhysicalMemory Memory { get; }

        public RangePageAllocator Pages { get; }

        public DmaDomain Domain { get; }

        public DmaDevice Dma { get; }

        public FakeDomain Table => (FakeDomain)Domain.Paging;

        /// <summary>Whether a map that comes later gets an IOVA at which the device still reaches something else.</summary>
        public void NextMapsShouldBeTrue()
        {
            for (int i = 0; i < 64; i++)
            {
                ulong page = 0x7_0000_0000 + ((ulong)i << 12);
                Dma.Map(new(page), 4096, DmaDirection.Bidirectional, out Iova iova).ShouldBe(Errno.Success);
                Table.TryTranslate(iova, out PhysicalAddress address, out _, out _).ShouldBeTrue();
                address.Value.ShouldBe(page);
            }
        }

        public void Dispose()
        {
            Dma.Dispose();
            Memory.Dispose();
        }
    }

    private static readonly DmaSegment[] List =
        [new(new(Buffer), 4096), new(new(Buffer + 0x10000), 8192), new(new(Buffer + 0x20000), 4096)];

    [Fact]
    public void A_list_that_does_not_fit_and_cannot_be_taken_back_says_so_and_keeps_its_IOVAs()
    {
        using Bench bench = new();
        DmaMappedSegment[] none = [];
        bench.Dma.MapScatterGather(List, DmaDirection.Bidirectional, none, out _).ShouldBe(Errno.MessageTooLong);
        bench.Table.MappedPages.ShouldBe(0);
        bench.Rig.Iommu.FailsUnmapAt = bench.Rig.Iommu.Unmaps + 1;
        bench.Dma.MapScatterGather(List, DmaDirection.Bidirectional, none, out _).ShouldBe(Errno.IoError);
        bench.Table.MappedPages.ShouldBeGreaterThan(0);
        bench.NextMapsShouldBeTrue();
    }

    [Fact]
    public void A_list_whose_map_fails_in_the_middle_is_taken_back_or_keeps_its_IOVAs()
    {
        foreach (bool unmapFails in new[] { false, true })
        {
            using Bench bench = new();
            bench.Rig.Iommu.FailsUnmapAt = unmapFails ? bench.Rig.Iommu.Unmaps + 1 : 0;
            Injection.Current = new FailAtStep(3, Errno.OutOfMemory, s_allocations);
            Errno error = bench.Dma.MapScatterGather(List, DmaDirection.Bidirectional, new DmaMappedSegment[3], out _);
            Injection.Current = null;
            error.ShouldBe(unmapFails ? Errno.IoError : Errno.OutOfMemory);
            (bench.Table.MappedPages > 0).ShouldBe(unmapFails);
            bench.NextMapsShouldBeTrue();
        }
    }

    [Fact]
    public void A_coherent_buffer_is_given_back_only_when_it_is_out_of_the_tables()
    {
        using Bench bench = new();
        bench.Dma.AllocateCoherent(0x4000, out DmaCoherentBuffer? buffer).ShouldBe(Errno.Success);
        long held = bench.Pages.AllocatedBytes;
        bench.Rig.Iommu.FailsUnmapAt = bench.Rig.Iommu.Unmaps + 1;
        buffer!.Free().ShouldBe(Errno.IoError);
        bench.Pages.AllocatedBytes.ShouldBe(held);
        bench.NextMapsShouldBeTrue();
        (bench.Rig.Iommu.FailsUnmapAt, bench.Rig.Iommu.FailsToComplete) = (0, true);
        buffer.Free().ShouldBe(Errno.IoError);
        bench.Pages.AllocatedBytes.ShouldBe(held);
        bench.Rig.Iommu.FailsToComplete = false;
        buffer.Free().ShouldBe(Errno.Success);
        bench.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_coherent_buffer_whose_map_fails_leaves_nothing_or_loses_its_pages()
    {
        for (int step = 1; step < 6; step++)
        {
            foreach (bool unmapFails in new[] { false, true })
            {
                using Bench bench = new();
                bench.Rig.Iommu.FailsUnmapAt = unmapFails ? bench.Rig.Iommu.Unmaps + 1 : 0;
                Injection.Current = new FailAtStep(step, Errno.OutOfMemory, s_allocations);

                // Pieces of 4, 2 and 1 pages.
                Errno error = bench.Dma.AllocateCoherent(0x7000, out DmaCoherentBuffer? buffer);
                Injection.Current = null;
                bool reaches = bench.Table.MappedPages > 0;
                if (error == Errno.Success)
                {
                    buffer!.Free().ShouldBe(unmapFails ? Errno.IoError : Errno.Success);
                }
                else
                {
                    // Pages that the device may reach are lost, and no others.
                    (bench.Pages.AllocatedBytes > 0).ShouldBe(reaches, $"step {step}");
                    bench.NextMapsShouldBeTrue();
                }
            }
        }
    }

    [Fact]
    public void IOVAs_of_a_direct_region_that_could_not_be_taken_back_are_never_given_out()
    {
        AddressRange first = new(0x8000_0000, 0x8000_0fff);
        AddressRange second = new(0x8000_1000, 0x8000_1fff);
        ReservedRegion[] regions = [new(first, ReservedRegionKind.Direct), new(second, ReservedRegionKind.Direct)];
        foreach (bool unmapFails in new[] { false, true })
        {
            Rig rig = new();
            rig.Iommu.Aperture = new(0x7fff_e000, 0x8000_1fff);
            (IommuDevice device, _) = rig.AddDevice(null, regions);
            DmaDomain.TryCreate(device, new() { Mode = DmaMode.Strict, UseTimer = false }, out DmaDomain? domain).ShouldBe(Errno.Success);
            rig.Iommu.FailsUnmapAt = unmapFails ? 1 : 0;
            Injection.Current = new FailAtStep(2, Errno.OutOfMemory, s_allocations);
            device.Group.SetDefaultDomain(domain!).ShouldBe(Errno.OutOfMemory);
            Injection.Current = null;
            device.Group.Domain.ShouldBe(BlockedDomain.Instance);
            FakeDomain table = (FakeDomain)domain!.Paging;
            table.TryTranslate(new(first.Start), out _, out _, out _).ShouldBe(unmapFails);

            // Another device of the domain, which needs no regions, is given every IOVA that is free.
            (IommuDevice other, _) = rig.AddDevice();
            other.Group.SetDefaultDomain(domain).ShouldBe(Errno.Success);
            DmaDevice.TryOpen(other, new(), out DmaDevice? dma).ShouldBe(Errno.Success);
            List<ulong> given = [];
            while (dma!.Map(new(Buffer), 4096, DmaDirection.ToDevice, out Iova iova) == Errno.Success)
            {
                given.Add(iova.Value);
            }

            given.Contains(first.Start).ShouldBe(!unmapFails, "not as long as something is mapped there");
            given.ShouldContain(0x7fff_f000ul);
            dma.Dispose();
        }
    }
}
