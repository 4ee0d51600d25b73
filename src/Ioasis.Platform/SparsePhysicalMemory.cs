using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>
/// Physical memory of this process's own, sparse over 56 bits of address: 2 MiB chunks come into being when they are first
/// written or pointed at, and bytes that nobody wrote read 0. An address at or above <see cref="Limit"/> is an access fault.
/// Below <see cref="PagedLimit"/> memory comes by 4 KiB pages instead, which can be given back (<see cref="Discard"/>).
/// </summary>
/// <remarks>
/// A three-step look-up (512 GiB, 2 MiB, byte; a fourth where it is paged) without locks; a chunk is published by compare-and-swap
/// and lives until <see cref="Dispose"/>, which must not run while anyone still accesses the memory.
/// </remarks>
public sealed unsafe partial class SparsePhysicalMemory : IPhysicalMemory, IDiscardableMemory, IDisposable
{
    /// <summary>log2 of the size of a chunk.</summary>
    public const int ChunkShift = 21;

    /// <summary>How many address bits there can be.</summary>
    public const int MaxPhysicalBits = 56;

    private const int MiddleBits = 18;
    private const int TopShift = ChunkShift + MiddleBits;
    private const ulong ChunkMask = (1ul << ChunkShift) - 1;

    private const nuint Alignment = 4096;

    // What was allocated, for the release: the chunks and tables are aligned pieces of these.
    private readonly List<nint> _blocks = [];
    private byte*** _top;
    private long _chunks;

    /// <summary>Makes an empty memory.</summary>
    /// <param name="physicalBits">Bits of address, 21 to 56.</param>
    /// <param name="pagedLimit">The first address that is not paged, a multiple of 2 MiB: 0 for no paged memory.</param>
    /// <exception cref="ArgumentOutOfRangeException">
    /// <paramref name="physicalBits"/> is out of range, or <paramref name="pagedLimit"/> is not a multiple of 2 MiB within the memory.
    /// </exception>
    public SparsePhysicalMemory(int physicalBits = MaxPhysicalBits, ulong pagedLimit = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(physicalBits, ChunkShift);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(physicalBits, MaxPhysicalBits);
        Limit = 1ul << physicalBits;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pagedLimit, Limit);
        ArgumentOutOfRangeException.ThrowIfNotEqual(pagedLimit & ChunkMask, 0ul, nameof(pagedLimit));
        PagedLimit = pagedLimit;
        _top = (byte***)NativeMemory.AllocZeroed((nuint)Math.Max(1, Limit >> TopShift), (nuint)sizeof(byte**));
    }

    /// <summary>Releases the memory if the owner forgot to.</summary>
    ~SparsePhysicalMemory() => Release();

    /// <summary>The first address that does not exist.</summary>
    public ulong Limit { get; }

    /// <summary>The first address that is not paged; 0 without paged memory.</summary>
    public ulong PagedLimit { get; }

    /// <summary>Bytes of host address space taken by chunks.</summary>
    public long CommittedBytes => Volatile.Read(ref _chunks) << ChunkShift;

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        if (!InRange(address.Value, (ulong)destination.Length))
        {
            return MemoryStatus.AccessFault;
        }

        ulong position = address.Value;
        while (destination.Length > 0)
        {
            int piece = (int)Math.Min((ulong)destination.Length, Room(position));
            byte* bytes = Find(position);
            if (bytes == null)
            {
                destination[..piece].Clear();
            }
            else
            {
                new ReadOnlySpan<byte>(bytes, piece).CopyTo(destination);
            }

            destination = destination[piece..];
            position += (ulong)piece;
        }

        Thread.MemoryBarrier();
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        if (!InRange(address.Value, (ulong)source.Length))
        {
            return MemoryStatus.AccessFault;
        }

        Thread.MemoryBarrier();
        ulong position = address.Value;
        while (source.Length > 0)
        {
            int piece = (int)Math.Min((ulong)source.Length, Room(position));
            source[..piece].CopyTo(new Span<byte>(FindOrAdd(position), piece));
            source = source[piece..];
            position += (ulong)piece;
        }

        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        if (!IsAccessible(address.Value, sizeof(ulong)))
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        byte* bytes = Find(address.Value);
        value = bytes == null ? 0 : Volatile.Read(ref *(ulong*)bytes);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        if (!IsAccessible(address.Value, sizeof(ulong)))
        {
            return MemoryStatus.AccessFault;
        }

        Volatile.Write(ref *(ulong*)FindOrAdd(address.Value), value);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        if (!IsAccessible(address.Value, sizeof(uint)))
        {
            value = 0;
            return MemoryStatus.AccessFault;
        }

        byte* bytes = Find(address.Value);
        value = bytes == null ? 0 : Volatile.Read(ref *(uint*)bytes);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        if (!IsAccessible(address.Value, sizeof(uint)))
        {
            return MemoryStatus.AccessFault;
        }

        Volatile.Write(ref *(uint*)FindOrAdd(address.Value), value);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        if (!IsAccessible(address.Value, sizeof(ulong)))
        {
            observed = 0;
            return MemoryStatus.AccessFault;
        }

        ref ulong location = ref *(ulong*)FindOrAdd(address.Value);
        observed = Interlocked.CompareExchange(ref location, desired, expected);
        return MemoryStatus.Success;
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange32(PhysicalAddress address, uint expected, uint desired, out uint observed)
    {
        if (!IsAccessible(address.Value, sizeof(uint)))
        {
            observed = 0;
            return MemoryStatus.AccessFault;
        }

        ref uint location = ref *(uint*)FindOrAdd(address.Value);
        observed = Interlocked.CompareExchange(ref location, desired, expected);
        return MemoryStatus.Success;
    }

    /// <summary>
    /// The host address of the chunk (2^<see cref="ChunkShift"/> bytes, aligned) around an address, or 0 if nothing was ever stored
    /// there, the address does not exist, or is paged. Unlike <see cref="TryGetHostPointer"/> it brings nothing into being. A chunk stays where it is.
    /// </summary>
    public nint FindChunk(PhysicalAddress address) =>
        address.Value < Limit && address.Value >= PagedLimit ? (nint)FindSlot(address.Value) : 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) =>
        length == 0 || !InRange(address.Value, length) || length > Room(address.Value) ? 0 : (nint)FindOrAdd(address.Value);

    /// <summary>Frees the chunks. No access may be under way.</summary>
    public void Dispose()
    {
        Release();
        GC.SuppressFinalize(this);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool InRange(ulong address, ulong length) => address < Limit && length <= Limit - address;

    // Aligned and below the limit; the limit is a multiple of the size, so an aligned access cannot straddle it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsAccessible(ulong address, ulong size) => address < Limit && (address & (size - 1)) == 0;

    // Bytes from an address to the end of what lies in one piece.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong Room(ulong address) =>
        address < PagedLimit ? PageSize - (address & (PageSize - 1)) : (1ul << ChunkShift) - (address & ChunkMask);

    // What stands in the slot of 2 MiB: a chunk, or where it is paged a table of pages; null for nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* FindSlot(ulong address)
    {
        byte** middle = _top[address >> TopShift];
        return middle == null ? null : middle[(address >> ChunkShift) & ((1ul << MiddleBits) - 1)];
    }

    // The byte at an address, or null if nothing was ever stored around it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Find(ulong address)
    {
        byte* slot = FindSlot(address);
        return slot == null ? null : address < PagedLimit ? FindPaged(slot, address) : slot + (address & ChunkMask);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* FindOrAdd(ulong address)
    {
        byte* bytes = Find(address);
        return bytes != null ? bytes : address < PagedLimit ? AddPage(address) : Add(address);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte* Add(ulong address)
    {
        byte* chunk = (byte*)Publish(ref *(nint*)AddSlot(address), 1u << ChunkShift, out bool added);
        if (added)
        {
            Interlocked.Increment(ref _chunks);
        }

        return chunk + (address & ChunkMask);
    }

    private byte** AddSlot(ulong address)
    {
        byte** middle = (byte**)Publish(
            ref *(nint*)&_top[address >> TopShift], (nuint)sizeof(byte*) << MiddleBits, out _);
        return &middle[(address >> ChunkShift) & ((1ul << MiddleBits) - 1)];
    }

    private nint Publish(ref nint slot, nuint bytes, out bool added)
    {
        added = false;
        nint present = Volatile.Read(ref slot);
        if (present != 0)
        {
            return present;
        }

        // Zeroed by the allocator and not by us: the host commits a page of it only when it is first written.
        nint block = (nint)NativeMemory.AllocZeroed(bytes + Alignment);
        nint fresh = (block + (nint)(Alignment - 1)) & ~(nint)(Alignment - 1);
        present = Interlocked.CompareExchange(ref slot, fresh, 0);
        if (present != 0)
        {
            NativeMemory.Free((void*)block);
            return present;
        }

        lock (_blocks)
        {
            _blocks.Add(block);
        }

        added = true;
        return fresh;
    }

    private void Release()
    {
        if (_top == null)
        {
            return;
        }

        NativeMemory.Free(_top);
        _top = null;
        foreach (nint block in _blocks)
        {
            NativeMemory.Free((void*)block);
        }

        _blocks.Clear();
    }
}
