using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>A guest's first stage that remembers what it was told. Entries of 16 bytes; one that begins with 0xff is wrong.</summary>
internal sealed class FakeNestedDomain(FakeIommu iommu, PagingDomain parent, byte[] data) : NestedDomain
{
    public byte[] Data => data;

    public List<byte[]> Invalidations { get; } = [];

    public override PagingDomain Parent => parent;

    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        Take(iommu, Invalidations, dataType, entries, entryLength, ref count);

    internal static Errno Take(
        FakeIommu iommu, List<byte[]> taken, uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        uint wanted = count;
        count = 0;
        if (dataType != RiscVUapi.InvalidateDataType)
        {
            return Errno.NotSupported;
        }

        if (wanted > 0 && entryLength < 16)
        {
            return Errno.InvalidArgument;
        }

        for (; count < wanted; count++)
        {
            ReadOnlySpan<byte> entry = entries.Slice((int)count * entryLength, entryLength);
            if (entry[0] == 0xff)
            {
                return Errno.InvalidArgument;
            }

            taken.Add(entry.ToArray());
        }

        return Errno.Success;
    }

    protected override void Dispose(bool disposing)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        iommu.IsUsed(this).ShouldBeFalse();
        _ = iommu.NestedDomains.Remove(this);
        base.Dispose(disposing);
    }
}

/// <summary>A guest's part of an IOMMU that remembers what it was told.</summary>
internal sealed class FakeVirtualIommu(FakeIommu iommu, PagingDomain parent) : VirtualIommu
{
    public Dictionary<IommuDevice, ulong> Names { get; } = [];

    public List<byte[]> Invalidations { get; } = [];

    public override PagingDomain Parent => parent;

    /// <summary>Something happens to a device of the guest.</summary>
    public void Raise(uint type, params byte[] data) => Events?.OnEvent(type, data);

    public override Errno AddDevice(IommuDevice device, ulong virtualId)
    {
        if (virtualId > 0xff_ffff)
        {
            return Errno.InvalidArgument;
        }

        lock (iommu.Sync)
        {
            Names.Add(device, virtualId);
        }

        return Errno.Success;
    }

    public override void RemoveDevice(IommuDevice device)
    {
        lock (iommu.Sync)
        {
            Names.Remove(device).ShouldBeTrue();
        }
    }

    public override Errno TryAllocateNestedDomain(
        IommuDevice device, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain) =>
        iommu.TryAllocateNestedDomain(device, parent, dataType, data, out domain);

    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        FakeNestedDomain.Take(iommu, Invalidations, dataType, entries, entryLength, ref count);

    public override bool SupportsQueues(uint type) => type == QueueType;

    public override Errno TryAllocateQueue(
        uint type, uint index, Iova address, ulong length, PhysicalAddress memory, out VirtualIommuQueue? queue)
    {
        queue = null;
        lock (iommu.Sync)
        {
            if (index >= 2 || Queues.ContainsKey(index))
            {
                return index >= 2 ? Errno.InvalidArgument : Errno.Exists;
            }

            queue = Queues[index] = new FakeQueue(this, index, memory, index == 1 ? Queues.GetValueOrDefault(0u) : null);
            return Errno.Success;
        }
    }

    public const uint QueueType = 3;

    public Dictionary<uint, FakeQueue> Queues { get; } = [];

    internal sealed class FakeQueue(FakeVirtualIommu owner, uint index, PhysicalAddress memory, FakeQueue? needs) : VirtualIommuQueue
    {
        public PhysicalAddress Memory => memory;

        public override VirtualIommuQueue? Needs => needs;

        protected override void Dispose(bool disposing) => owner.Queues.Remove(index).ShouldBeTrue();
    }

    public override bool SupportsEvents(uint type) => type is RiscVUapi.VeventqType or 7;

    protected override void Dispose(bool disposing)
    {
        using Lock.Scope scope = iommu.Sync.EnterScope();
        Names.ShouldBeEmpty();
        iommu.VirtualIommus.Remove(this).ShouldBeTrue();
        base.Dispose(disposing);
    }
}
