using System.Buffers.Binary;

namespace Ioasis.Examples;

/// <summary>A piece of a buffer for the device: to read, or to write.</summary>
/// <param name="Address">IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsWritable">Whether the device writes it.</param>
public readonly record struct VirtioPiece(ulong Address, int Length, bool IsWritable = false);

/// <summary>The driver's side of a split virtqueue (virtio 1.3, section 2.7). For one thread at a time.</summary>
public sealed class VirtioQueue
{
    private const int DescriptorSize = 16;
    private const ushort NextFlag = 1;
    private const ushort WriteFlag = 2;

    private readonly DmaBuffer _descriptors;
    private readonly DmaBuffer _available;
    private readonly DmaBuffer _used;
    private readonly ushort[] _next;
    private readonly int _size;
    private int _free;
    private int _freeCount;
    private ushort _availableIndex;
    private ushort _usedIndex;

    internal VirtioQueue(DmaArea area, int index, int size)
    {
        Index = index;
        _size = size;
        _descriptors = area.Take(DescriptorSize * size);
        _available = area.Take(6 + (2 * size), 2);
        _used = area.Take(6 + (8 * size), 4);
        _next = [.. Enumerable.Range(1, size).Select(static next => (ushort)next)];
        _freeCount = size;
    }

    /// <summary>Its number.</summary>
    public int Index { get; }

    /// <summary>Entries.</summary>
    public int Size => _size;

    internal ulong Descriptors => _descriptors.Iova.Value;

    internal ulong Available => _available.Iova.Value;

    internal ulong Used => _used.Iova.Value;

    /// <summary>Makes a buffer available: pieces to read first, then those to write.</summary>
    /// <returns>Its number, by which it comes back; -1 if there is no room.</returns>
    public int Add(params ReadOnlySpan<VirtioPiece> pieces)
    {
        if (pieces.IsEmpty || pieces.Length > _freeCount)
        {
            return -1;
        }

        int head = _free;
        int at = head;
        for (int i = 0; i < pieces.Length; i++)
        {
            at = _free;
            _free = _next[at];
            bool isLast = i == pieces.Length - 1;
            Span<byte> entry = _descriptors.Span.Slice(at * DescriptorSize, DescriptorSize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, pieces[i].Address);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], (uint)pieces[i].Length);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[12..], (ushort)((isLast ? 0 : NextFlag) | (pieces[i].IsWritable ? WriteFlag : 0)));
            BinaryPrimitives.WriteUInt16LittleEndian(entry[14..], isLast ? (ushort)0 : _next[at]);
        }

        _freeCount -= pieces.Length;
        _available.WordAt(4 + (2 * (_availableIndex % _size))) = (ushort)head;

        // The index last: with it the entry is the device's.
        Volatile.Write(ref _available.WordAt(2), ++_availableIndex);
        return head;
    }

    /// <summary>Takes a buffer that the device is done with.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="written">Bytes that the device wrote.</param>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="InvalidOperationException">The device gave back what it does not have.</exception>
    public bool TryTake(out int number, out int written)
    {
        number = -1;
        written = 0;
        if (Volatile.Read(ref _used.WordAt(2)) == _usedIndex)
        {
            return false;
        }

        ReadOnlySpan<byte> element = _used.Span.Slice(4 + (8 * (_usedIndex % _size)), 8);
        uint head = BinaryPrimitives.ReadUInt32LittleEndian(element);
        if (head >= (uint)_size)
        {
            throw new InvalidOperationException($"The device gave descriptor {head} of {_size} back.");
        }

        number = (int)head;
        written = (int)BinaryPrimitives.ReadUInt32LittleEndian(element[4..]);
        _usedIndex++;
        Free(number);
        return true;
    }

    private void Free(int head)
    {
        int last = head;
        int count = 1;
        while ((BinaryPrimitives.ReadUInt16LittleEndian(_descriptors.Span[((last * DescriptorSize) + 12)..]) & NextFlag) != 0)
        {
            last = _next[last];
            count++;
        }

        _next[last] = (ushort)_free;
        _free = head;
        _freeCount += count;
    }
}
