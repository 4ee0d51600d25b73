using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Interrupts that are handled where they arise, inside of register accesses and translations.</summary>
[Trait("Requirement", "S4.16")]
public class InterruptTests
{
    private const ulong Full = RiscVIommuOptions.FullCapabilities;

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(9)]
    public void A_handler_in_the_thread_of_the_fault_misses_nothing(int queueLog2)
    {
        using SparsePhysicalMemory memory = new();
        RangePageAllocator pages = new(memory, new(1ul << 32, (1ul << 33) - 1));
        Direct lines = new();
        RiscVIommu hardware = new(new() { Caching = CachingMode.Hostile }, memory, lines);
        RecordingSink sink = new();
        RiscVIommuInstance.TryProbe(
            hardware, memory, pages, new() { FaultSink = sink, FaultQueueSizeLog2 = queueLog2 }, out lines.Driver)
            .ShouldBe(Errno.Success);
        for (ulong i = 1; i <= 500; i++)
        {
            hardware.Translate(new(new(3), new(i << 12)), out _);
        }

        sink.Faults.Select(f => f.Iova.Value >> 12).ShouldBe(Enumerable.Range(1, 500).Select(i => (ulong)i));
        sink.Lost.ShouldBe(0);
        lines.Driver!.Dispose();
        pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.12")]
    public void Tables_come_from_the_node_of_the_device_and_none_is_tolerated()
    {
        using SparsePhysicalMemory memory = new();
        Nodes pages = new(new(memory, new(1ul << 32, (1ul << 33) - 1)));
        RiscVIommu hardware = new(new() { Caching = CachingMode.None, Capabilities = Full }, memory);
        RiscVIommuInstance.TryProbe(hardware, memory, pages, new(), out RiscVIommuInstance? driver).ShouldBe(Errno.Success);
        IommuSubsystem core = new();
        foreach (int node in (int[])[3, IPageAllocator.AnyNode])
        {
            pages.Asked.Clear();
            core.TryAddDevice(
                driver!, new((uint)(node + 1) << 16), $"node{node}", null,
                new IommuDeviceOptions { Node = node, PasidBits = 20 }, out IommuDevice? device).ShouldBe(Errno.Success);
            driver!.TryAllocatePagingDomain(device!, default, out PagingDomain? domain).ShouldBe(Errno.Success);
            domain!.ShouldMap(0x1000, 0x8000_0000);
            device!.Group.Attach(domain!).ShouldBe(Errno.Success);
            pages.Asked.Count.ShouldBeGreaterThan(4);
            pages.Asked.ShouldAllBe(asked => asked == node);
        }

        driver!.Dispose();
    }

    private sealed class Direct : IInterruptLines
    {
        public RiscVIommuInstance? Driver;

        public void SetLevel(int vector, bool asserted)
        {
            if (asserted)
            {
                Driver?.HandleInterrupt(vector);
            }
        }
    }

    private sealed class Nodes(RangePageAllocator inner) : IPageAllocator
    {
        public List<int> Asked { get; } = [];

        public bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address)
        {
            Asked.Add(node);
            return inner.TryAllocate(sizeLog2, node, out address);
        }

        public void Free(PhysicalAddress address, int sizeLog2) => inner.Free(address, sizeLog2);
    }
}
