using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// Physical memory that costs almost nothing to set up, for scenarios that are run thousands of times: pages of 4 KiB that
/// come into being when something but zeros is written to them. It gives no host pointers.
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
                ReadOnlySpan<byte> part = source.Slice(done, count);
                if (_pages.TryGetValue(at >> 12, out byte[]? page))
                {
                    part.CopyTo(page.AsSpan(offset));
                }
                else if (part.ContainsAnyExcept((byte)0))
                {
                    page = new byte[4096];
                    _pages.Add(at >> 12, page);
                    part.CopyTo(page.AsSpan(offset));
                }

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
}
