using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// Physical memory that costs almost nothing to set up, for scenarios that are run thousands of times: pages of 4 KiB that
/// come into being when they are written. It gives no host pointers.
/// </summary>
/// <param name="limit">First address that does not answer.</param>
internal sealed class PagedMemory(ulong limit = 1ul << 56) : IPhysicalMemory
{
    private readonly Dictionary<ulong, byte[]> _pages = [];
    private readonly Lock _lock = new();

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if (!Answers(address, destination.Length))
        {
            return MemoryStatus.AccessFault;
        }

        lock (_lock)
        {
            for (int done = 0; done < destination.Length;)
            {
                ulong at = address.Value + (ulong)done;
                int offset = (int)(at & 0xfff);
                int count = Math.Min(destination.Length - done, 4096 - offset);
                Span<byte> part = destination.Slice(done, count);
                if (_pages.TryGetValue(at >> 12, out byte[]? page))
                {
                    page.AsSpan(offset, count).CopyTo(part);
                }
                else
                {
                    part.Clear();
                }

                done += count;
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        if (!Answers(address, source.Length))
        {
            return MemoryStatus.AccessFault;
        }

        lock (_lock)
        {
            for (int done = 0; done < source.Length;)
            {
                ulong at = address.Value + (ulong)done;
                int offset = (int)(at & 0xfff);
                int count = Math.Min(source.Length - done, 4096 - offset);
                source.Slice(done, count).CopyTo(Page(at >> 12).AsSpan(offset));
                done += count;
            }
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        MemoryStatus status = Read(address, bytes);
        value = status == MemoryStatus.Success ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Write(address, bytes);
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        MemoryStatus status = Read(address, bytes);
        value = status == MemoryStatus.Success ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Write(address, bytes);
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        lock (_lock)
        {
            MemoryStatus status = Read64(address, out observed);
            return status == MemoryStatus.Success && observed == expected ? Write64(address, desired) : status;
        }
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private bool Answers(PhysicalAddress address, int length) =>
        address.Value < limit && (ulong)length <= limit - address.Value;

    private byte[] Page(ulong number)
    {
        if (!_pages.TryGetValue(number, out byte[]? page))
        {
            _pages.Add(number, page = new byte[4096]);
        }

        return page;
    }
}
