using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Processes.Tests;

/// <summary>Memory, page frames and processes in them: no IOMMU, no device.</summary>
internal sealed class ProcessMemory : IDisposable
{
    public const ulong Base = 0x40_0000;
    public const ulong Page = PageFrames.PageSize;

    private readonly SparsePhysicalMemory _memory = new();
    private readonly PageTableFormat _format;

    public ProcessMemory(PageTableFormat format)
    {
        _format = format;
        Pages = new(_memory, new(1ul << 32, (1ul << 33) - 1));
        Frames = new(_memory, Pages);
    }

    public RangePageAllocator Pages { get; }

    public PageFrames Frames { get; }

    public DemandPagedAddressSpace NewProcess(ulong pages = 16)
    {
        DemandPagedAddressSpace.TryCreate(Frames, _format, out DemandPagedAddressSpace? process).ShouldBe(Errno.Success);
        if (pages > 0)
        {
            process!.Map(Base, pages * Page, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        return process!;
    }

    public static byte[] Get(DemandPagedAddressSpace process, ulong address, int length)
    {
        byte[] data = new byte[length];
        process.Read(address, data).ShouldBe(Errno.Success);
        return data;
    }

    public void Dispose() => _memory.Dispose();
}
