using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>Coherent buffers.</content>
public sealed partial class DmaDevice
{
    private const int MaxPieceLog2 = 21;

    /// <summary>
    /// Allocates zeroed memory that the device and the processor share for long, such as a ring of descriptors. It is one piece
    /// for the device, whatever pieces of memory there were.
    /// </summary>
    /// <param name="length">Bytes, not 0; rounded up to whole pages.</param>
    /// <param name="buffer">The buffer; <see cref="DmaCoherentBuffer.Free"/> it before the device is closed.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the device was opened without an allocator; <see cref="Errno.InvalidArgument"/>
    /// for the length; <see cref="Errno.OutOfMemory"/>; <see cref="Errno.NoSpace"/> without IOVAs below the coherent mask;
    /// <see cref="Errno.OutOfRange"/> without translation, if the memory lies above the mask. After an error there is no trace.
    /// </returns>
    public Errno AllocateCoherent(ulong length, out DmaCoherentBuffer? buffer)
    {
        buffer = null;
        if (_options.Pages is not { } pages || _options.Memory is not { } memory)
        {
            return Errno.NotSupported;
        }

        if (length == 0 || length > MaxListBytes)
        {
            return Errno.InvalidArgument;
        }

        ulong size = (length + _granuleMask) & ~_granuleMask;
        ulong limit = _options.CoherentMask ?? _mask;
        List<DmaSegment> pieces = [];
        Errno error = _domain is null ? TakeOnePiece(pages, size, pieces) : TakePieces(pages, size, pieces);
        Iova iova = default;
        if (error == Errno.Success)
        {
            if (_domain is null)
            {
                iova = new(pieces[0].Address.Value);
                error = iova.Value + (size - 1) <= limit ? Errno.Success : Errno.OutOfRange;
            }
            else
            {
                error = _domain.TryAllocate(size, limit, out iova);
                if (error == Errno.Success)
                {
                    // Exactly one row without padding: pieces are whole pages, and this is no list for the device.
                    error = MapPieces(pieces, iova, size);
                }
            }
        }

        if (error == Errno.Success)
        {
            buffer = new(this, iova, size, [.. pieces], memory);
        }
        else
        {
            FreePieces(pages, pieces);
        }

        return error;
    }

    /// <summary>Takes a coherent buffer out of the tables. Can be called again after an error.</summary>
    internal Errno Release(Iova iova, ulong size, IReadOnlyList<DmaSegment> pieces, ref InvalidationGather gather, ref bool isUnmapped)
    {
        if (_domain is not null)
        {
            if (!isUnmapped)
            {
                // What an error left in the gather waits there for the next call.
                Errno unmapped = _paging!.Unmap(iova, size, ref gather, out _);
                if (unmapped != Errno.Success)
                {
                    return unmapped;
                }

                isUnmapped = true;
            }

            // The pages go to others: never lazily.
            Errno error = _paging!.Sync(ref gather);
            if (error != Errno.Success)
            {
                return error;
            }

            _ = _domain.Iovas.Free(iova, size);
        }

        FreePieces(_options.Pages!, pieces);
        return Errno.Success;
    }

    private static void FreePieces(IPageAllocator pages, IReadOnlyList<DmaSegment> pieces)
    {
        foreach (DmaSegment piece in pieces)
        {
            pages.Free(piece.Address, System.Numerics.BitOperations.TrailingZeroCount(piece.Length));
        }
    }

    // The largest pieces that there are: fewer entries in the tables.
    private Errno TakePieces(IPageAllocator pages, ulong size, List<DmaSegment> pieces)
    {
        int log2 = MaxPieceLog2;
        while (size != 0)
        {
            log2 = Math.Min(log2, System.Numerics.BitOperations.Log2(size));
            if (pages.TryAllocate(log2, Device.Node, out PhysicalAddress address))
            {
                pieces.Add(new(address, 1ul << log2));
                size -= 1ul << log2;
            }
            else if (--log2 < _domain!.GranuleLog2)
            {
                return Errno.OutOfMemory;
            }
        }

        return Errno.Success;
    }

    // Without translation it must be one piece.
    private Errno TakeOnePiece(IPageAllocator pages, ulong size, List<DmaSegment> pieces)
    {
        ulong rounded = System.Numerics.BitOperations.RoundUpToPowerOf2(size);
        if (!pages.TryAllocate(System.Numerics.BitOperations.TrailingZeroCount(rounded), Device.Node, out PhysicalAddress address))
        {
            return Errno.OutOfMemory;
        }

        pieces.Add(new(address, rounded));
        return Errno.Success;
    }

    private Errno MapPieces(List<DmaSegment> pieces, Iova iova, ulong size)
    {
        ulong done = 0;
        foreach (DmaSegment piece in pieces)
        {
            Errno error = _paging!.Map(iova + done, piece.Address, piece.Length, Access.ReadWrite);
            if (error != Errno.Success)
            {
                // If even this fails, the device may still reach the pages: they are lost rather than reused.
                if (Undo(iova, done, piece.Length, size, error) != Errno.Success)
                {
                    pieces.Clear();
                }

                return error;
            }

            done += piece.Length;
        }

        return Errno.Success;
    }
}

/// <summary>Memory that a device and the processor share; see <see cref="DmaDevice.AllocateCoherent"/>.</summary>
public sealed class DmaCoherentBuffer
{
    private readonly DmaDevice _device;
    private readonly DmaSegment[] _pieces;
    private readonly IPhysicalMemory _memory;
    private readonly IoLock _lock = new();
    private InvalidationGather _gather;
    private bool _isUnmapped;
    private bool _isFreed;

    internal DmaCoherentBuffer(DmaDevice device, Iova address, ulong length, DmaSegment[] pieces, IPhysicalMemory memory)
    {
        _device = device;
        Address = address;
        Length = length;
        _pieces = pieces;
        _memory = memory;
    }

    /// <summary>What the device is told.</summary>
    public Iova Address { get; }

    /// <summary>Bytes, whole pages.</summary>
    public ulong Length { get; }

    /// <summary>The physical memory, in the order of the addresses.</summary>
    public IReadOnlyList<DmaSegment> Pieces => _pieces;

    /// <summary>Reads as the processor.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for a place that is not in the buffer.</returns>
    public Errno Read(ulong offset, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            if (!TryFind(offset, out PhysicalAddress address, out ulong left))
            {
                return Errno.InvalidArgument;
            }

            int piece = (int)Math.Min((ulong)destination.Length, left);
            if (_memory.Read(address, destination[..piece]) != MemoryStatus.Success)
            {
                return Errno.IoError;
            }

            destination = destination[piece..];
            offset += (ulong)piece;
        }

        return Errno.Success;
    }

    /// <summary>Writes as the processor.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for a place that is not in the buffer.</returns>
    public Errno Write(ulong offset, ReadOnlySpan<byte> source)
    {
        if (_isFreed || offset > Length || (ulong)source.Length > Length - offset)
        {
            return Errno.InvalidArgument;
        }

        while (source.Length > 0 && TryFind(offset, out PhysicalAddress address, out ulong left))
        {
            int piece = (int)Math.Min((ulong)source.Length, left);
            if (_memory.Write(address, source[..piece]) != MemoryStatus.Success)
            {
                return Errno.IoError;
            }

            source = source[piece..];
            offset += (ulong)piece;
        }

        return Errno.Success;
    }

    /// <summary>
    /// Ends the mapping and gives the memory back, after the device has lost sight of it, be the domain strict or lazy. Freeing again
    /// is harmless.
    /// </summary>
    /// <returns>Success; or an error, <see cref="Errno.IoError"/> if an IOMMU did not confirm: the memory is kept, and a later call tries again.</returns>
    public Errno Free()
    {
        using (_lock.Acquire())
        {
            if (_isFreed)
            {
                return Errno.Success;
            }

            Errno error = _device.Release(Address, Length, _pieces, ref _gather, ref _isUnmapped);
            _isFreed = error == Errno.Success;
            return error;
        }
    }

    private bool TryFind(ulong offset, out PhysicalAddress address, out ulong left)
    {
        foreach (DmaSegment piece in _pieces)
        {
            if (offset < piece.Length && !_isFreed)
            {
                address = piece.Address + offset;
                left = piece.Length - offset;
                return true;
            }

            offset -= piece.Length;
        }

        (address, left) = (default, 0);
        return false;
    }
}
