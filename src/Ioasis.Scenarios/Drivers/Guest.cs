using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>
/// A guest: memory that a second stage maps page by page, tables of its own in that memory, and commands as its driver would
/// write them.
/// </summary>
internal sealed class Guest : IDisposable
{
    /// <summary>Where guest memory begins, for the guest.</summary>
    public const ulong Base = 0x1000_0000;

    /// <summary>Bytes of guest memory.</summary>
    public const ulong Size = 0x4_0000;

    /// <summary>Guest-physical pages from here on are for data.</summary>
    public const ulong Data = Base + 0x2_0000;

    private readonly GuestMemory _memory;
    private readonly RangePageAllocator _pages;

    public Guest(IPhysicalMemory hostMemory, PagingDomain parent, ulong hostBase = 0x6000_0000)
    {
        Parent = parent;
        HostBase = hostBase;
        for (ulong page = 0; page < Size; page += 4096)
        {
            parent.Map(new(Base + page), new(hostBase + page), 4096, Access.ReadWrite).ShouldBe(Errno.Success);
        }

        _memory = new(hostMemory, hostBase - Base);
        _pages = new(_memory, new(Base, Data - 1));
        Table = NewTable();
    }

    public PagingDomain Parent { get; }

    public ulong HostBase { get; }

    /// <summary>A first-stage table of the guest's.</summary>
    public IoPageTable Table { get; }

    public IPhysicalMemory Memory => _memory;

    /// <summary>Where a guest-physical address is for the host.</summary>
    public ulong ToHost(ulong address) => address - Base + HostBase;

    public IoPageTable NewTable(bool hardwareDirty = false)
    {
        IoPageTable.TryCreate(
            PageTableFormat.Of<Sv39>(), new() { HardwareDirty = hardwareDirty }, _memory, _pages, out IoPageTable? table)
            .ShouldBe(Errno.Success);
        return table!;
    }

    public static ulong PointerTo(IoPageTable table) => ((ulong)Iosatp.ModeSv39 << 60) | (table.Root.Value >> 12);

    /// <summary>A process directory of one level; returns the <c>pdtp</c>.</summary>
    public ulong NewDirectory(out ulong page)
    {
        _pages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress root).ShouldBeTrue();
        page = root.Value;
        return ((ulong)Pdtp.ModePd8 << 60) | (root.Value >> 12);
    }

    public void SetProcess(ulong directory, uint process, IoPageTable? table, uint pscid = 0)
    {
        PhysicalAddress at = new(directory + (process * (ulong)ProcessContextOffset.Size));
        if (table is null)
        {
            _memory.Write64(at, 0).ShouldBe(MemoryStatus.Success);
            return;
        }

        _memory.Write64(at + 8, PointerTo(table)).ShouldBe(MemoryStatus.Success);
        _memory.Write64(at, ((ulong)pscid << 12) | 1).ShouldBe(MemoryStatus.Success);
    }

    public void Map(ulong address, ulong guestPhysical, IoPageTable? table = null)
    {
        InvalidationGather gather = default;
        (table ?? Table).Map(new(address), new(guestPhysical), 4096, Access.ReadWrite, ref gather).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
    }

    /// <summary>Takes a page out of the guest's table; the guest has not told its IOMMU yet.</summary>
    public void Unmap(ulong address, IoPageTable? table = null)
    {
        InvalidationGather gather = default;
        (table ?? Table).Unmap(new(address), 4096, ref gather, out _).ShouldBe(Errno.Success);
    }

    public static byte[] Describe(ulong control, ulong attributes, ulong firstStage, ulong reserved = 0)
    {
        byte[] data = new byte[NestedTranslation.DataSize];
        BinaryPrimitives.WriteUInt64LittleEndian(data, control);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(8), attributes);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(16), firstStage);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(24), reserved);
        return data;
    }

    /// <summary>A nested domain of one of the guest's tables.</summary>
    public RiscVNestedDomain Nest(IommuDevice device, uint pscid, IoPageTable? table = null, ulong control = 0) =>
        Nest(device, Describe(control, (ulong)pscid << 12, PointerTo(table ?? Table)));

    public RiscVNestedDomain Nest(IommuDevice device, byte[] data)
    {
        device.Iommu.TryAllocateNestedDomain(device, Parent, NestedTranslation.Type, data, out NestedDomain? domain)
            .ShouldBe(Errno.Success);
        return (RiscVNestedDomain)domain!;
    }

    /// <summary>What the guest writes to its command queue.</summary>
    public static Errno Invalidate(NestedDomain domain, out uint done, params ReadOnlySpan<Command> commands)
    {
        byte[] bytes = new byte[commands.Length * 16];
        for (int i = 0; i < commands.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 16), commands[i].Low);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((i * 16) + 8), commands[i].High);
        }

        done = (uint)commands.Length;
        return domain.Invalidate(NestedTranslation.Type, bytes, 16, ref done);
    }

    public static void ShouldInvalidate(NestedDomain domain, params ReadOnlySpan<Command> commands)
    {
        Invalidate(domain, out uint done, commands).ShouldBe(Errno.Success);
        done.ShouldBe((uint)commands.Length);
    }

    public void Dispose() => Table.Dispose();

    private sealed class GuestMemory(IPhysicalMemory inner, ulong offset) : IPhysicalMemory
    {
        public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => inner.Read(address + offset, destination);

        public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => inner.Write(address + offset, source);

        public MemoryStatus Read64(PhysicalAddress address, out ulong value) => inner.Read64(address + offset, out value);

        public MemoryStatus Write64(PhysicalAddress address, ulong value) => inner.Write64(address + offset, value);

        public MemoryStatus Read32(PhysicalAddress address, out uint value) => inner.Read32(address + offset, out value);

        public MemoryStatus Write32(PhysicalAddress address, uint value) => inner.Write32(address + offset, value);

        public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
            inner.CompareExchange64(address + offset, expected, desired, out observed);

        public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
    }
}
