using System.Buffers.Binary;
using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>A guest's part of the mock.</summary>
internal sealed class MockVirtualIommu(PagingDomain parent) : VirtualIommu
{
    /// <summary>IOMMU_VIOMMU_TYPE_SELFTEST.</summary>
    public const uint Type = 0xdead_beef;

    /// <summary>IOMMU_VEVENTQ_TYPE_SELFTEST.</summary>
    public const uint EventType = 0xbeef_beef;

    private const uint InvalidateType = 0xdead_beef;
    private const uint QueueType = 0xdead_beef;
    private const int QueueCount = 2;
    private readonly MockQueue?[] _queues = new MockQueue?[QueueCount];
    private readonly ConcurrentDictionary<IommuDevice, ulong> _names = new();

    /// <inheritdoc/>
    public override PagingDomain Parent => parent;

    /// <inheritdoc/>
    public override bool SupportsQueues(uint type) => type == QueueType;

    /// <inheritdoc/>
    public override Errno TryAllocateQueue(
        uint type, uint index, Iova address, ulong length, PhysicalAddress memory, out VirtualIommuQueue? queue)
    {
        queue = null;
        if (index >= _queues.Length)
        {
            return Errno.InvalidArgument;
        }

        lock (_queues)
        {
            if (_queues[index] is not null)
            {
                return Errno.Exists;
            }

            MockQueue? before = index > 0 ? _queues[index - 1] : null;
            if (index > 0 && before is null)
            {
                return Errno.IoError;
            }

            // What the kernel says of the memory is what devices find.
            if (!parent.TryTranslate(address, out PhysicalAddress translated, out _, out _) || translated != memory)
            {
                return Errno.BadAddress;
            }

            queue = _queues[index] = new MockQueue(_queues, index, before);
            return Errno.Success;
        }
    }

    /// <summary>Whether a device has a name.</summary>
    public bool Knows(IommuDevice device) => _names.ContainsKey(device);

    /// <inheritdoc/>
    public override Errno AddDevice(IommuDevice device, ulong virtualId)
    {
        _names[device] = virtualId;
        return Errno.Success;
    }

    /// <inheritdoc/>
    public override void RemoveDevice(IommuDevice device) => _names.TryRemove(device, out _);

    /// <inheritdoc/>
    public override bool SupportsEvents(uint type) => type == EventType;

    /// <inheritdoc/>
    public override Errno TryAllocateNestedDomain(IommuDevice device, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain) =>
        MockNestedDomain.TryMake(parent, this, dataType, data, out domain);

    /// <inheritdoc/>
    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        MockInvalidation.Run(dataType == InvalidateType, entries, entryLength, 3, ref count, words =>
        {
            if ((words[0] & ~1u) != 0)
            {
                return Errno.NotSupported;
            }

            IommuDevice? named = _names.FirstOrDefault(entry => entry.Value == words[1]).Key;
            return named?.DriverData is MockDeviceState state && words[2] < state.Cache.Length
                ? MockInvalidation.Forget(state.Cache, (words[0] & 1) != 0, words[2])
                : Errno.InvalidArgument;
        });

    /// <summary>Something has happened at a device.</summary>
    public bool TryReport(IommuDevice device)
    {
        if (!_names.TryGetValue(device, out ulong name) || Events is not { } sink)
        {
            return false;
        }

        byte[] data = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(data, (uint)name);
        sink.OnEvent(EventType, data);
        return true;
    }

    /// <summary>One of two queues, of which the second needs the first.</summary>
    private sealed class MockQueue(MockQueue?[] queues, uint index, MockQueue? before) : VirtualIommuQueue
    {
        /// <inheritdoc/>
        public override VirtualIommuQueue? Needs => before;

        /// <inheritdoc/>
        protected override void Dispose(bool disposing)
        {
            lock (queues)
            {
                queues[index] = null;
            }
        }
    }
}
