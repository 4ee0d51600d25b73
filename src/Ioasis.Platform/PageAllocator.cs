using System.Diagnostics;
using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>Gives naturally aligned, zeroed pieces of physical memory for tables and queues. Thread-safe.</summary>
public interface IPageAllocator
{
    /// <summary>No preference for a memory node (S4.12).</summary>
    const int AnyNode = -1;

    /// <summary>Allocates 2^<paramref name="sizeLog2"/> bytes, aligned to their size, all zero.</summary>
    /// <param name="sizeLog2">12 or more.</param>
    /// <param name="node">Preferred memory node, or <see cref="AnyNode"/>.</param>
    /// <param name="address">The memory.</param>
    /// <returns>Whether there was memory.</returns>
    bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address);

    /// <summary>Gives back what <see cref="TryAllocate"/> gave.</summary>
    void Free(PhysicalAddress address, int sizeLog2);
}

/// <summary>
/// A page allocator over a range of physical memory that is set aside for it: a bump pointer and a free list a size. When
/// the range is used up, larger free pieces are split; pieces are never joined again.
/// It passes the injection point <see cref="InjectionKind.Allocate"/>.
/// </summary>
public sealed class RangePageAllocator : IPageAllocator
{
    private const int MinLog2 = 12;
    private const int MaxLog2 = 30;

    private readonly IPhysicalMemory _memory;
    private readonly AddressRange _range;
    private readonly Lock _lock = new();
    private readonly Stack<ulong>[] _free = new Stack<ulong>[MaxLog2 - MinLog2 + 1];
    private ulong _next;
    private bool _exhausted;
    private long _allocatedBytes;

    /// <summary>Makes an allocator.</summary>
    /// <param name="memory">Where the range lies.</param>
    /// <param name="range">What may be handed out; its start is 4 KiB aligned.</param>
    /// <exception cref="ArgumentException">The start of <paramref name="range"/> is not aligned to 4 KiB.</exception>
    public RangePageAllocator(IPhysicalMemory memory, AddressRange range)
    {
        ArgumentNullException.ThrowIfNull(memory);
        if ((range.Start & 0xfff) != 0)
        {
            throw new ArgumentException($"The start of {range} is not aligned to 4 KiB.", nameof(range));
        }

        _memory = memory;
        _range = range;
        _next = range.Start;
        for (int i = 0; i < _free.Length; i++)
        {
            _free[i] = new();
        }
    }

    /// <summary>Bytes handed out and not yet given back: 0 when nothing leaks.</summary>
    public long AllocatedBytes => Volatile.Read(ref _allocatedBytes);

    /// <inheritdoc/>
    public bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address)
    {
        address = default;
        if (sizeLog2 is < MinLog2 or > MaxLog2 || Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return false;
        }

        ulong start;
        lock (_lock)
        {
            if (!_free[sizeLog2 - MinLog2].TryPop(out start) && !TryBump(sizeLog2, out start)
                && !TrySplit(sizeLog2, out start))
            {
                return false;
            }

            _allocatedBytes += 1L << sizeLog2;
        }

        // Fresh memory too: the range may have been used before it was ours.
        address = new(start);
        Zero(address, 1ul << sizeLog2);
        return true;
    }

    /// <inheritdoc/>
    public void Free(PhysicalAddress address, int sizeLog2)
    {
        Debug.Assert(sizeLog2 is >= MinLog2 and <= MaxLog2 && _range.Contains(address.Value), "not from this allocator");
        lock (_lock)
        {
            _free[sizeLog2 - MinLog2].Push(address.Value);
            _allocatedBytes -= 1L << sizeLog2;
        }
    }

    // Takes memory that was never handed out.
    private bool TryBump(int sizeLog2, out ulong start)
    {
        ulong size = 1ul << sizeLog2;
        start = (_next + (size - 1)) & ~(size - 1);
        if (_exhausted || start < _next || start > _range.Last || size - 1 > _range.Last - start)
        {
            return false;
        }

        // What alignment skips is not lost: it goes to the free lists.
        for (ulong gap = _next; gap < start;)
        {
            int log2 = Math.Min(MaxLog2, System.Numerics.BitOperations.TrailingZeroCount(gap));
            _free[log2 - MinLog2].Push(gap);
            gap += 1ul << log2;
        }

        // The range may end at 2^64-1.
        _next = start + size;
        _exhausted = _next == 0;
        return true;
    }

    // Takes the first part of a larger free piece and frees the rest.
    private bool TrySplit(int sizeLog2, out ulong start)
    {
        for (int log2 = sizeLog2 + 1; log2 <= MaxLog2; log2++)
        {
            if (_free[log2 - MinLog2].TryPop(out start))
            {
                while (--log2 >= sizeLog2)
                {
                    _free[log2 - MinLog2].Push(start + (1ul << log2));
                }

                return true;
            }
        }

        start = 0;
        return false;
    }

    private unsafe void Zero(PhysicalAddress address, ulong size)
    {
        nint pointer = _memory.TryGetHostPointer(address, size);
        if (pointer != 0)
        {
            System.Runtime.InteropServices.NativeMemory.Clear((void*)pointer, (nuint)size);
            return;
        }

        Span<byte> zeros = stackalloc byte[4096];
        zeros.Clear();
        for (ulong offset = 0; offset < size; offset += 4096)
        {
            _ = _memory.Write(address + offset, zeros);
        }
    }
}
