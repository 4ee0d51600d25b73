using System.Collections;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ioasis.Replay.Input;

/// <summary>
/// What a recording tells, in its order. The first items are in memory; what a long recording has besides lies in a temporary file, of
/// which each reader holds some pieces. Written by one thread, then read by any number, each with a <see cref="Reader"/> of its own.
/// </summary>
/// <typeparam name="T">One item.</typeparam>
internal sealed class SpilledList<T> : IEnumerable<T>
    where T : unmanaged
{
    private const int BlockLog2 = 14;
    private const int BlockSize = 1 << BlockLog2;

    private readonly string _path;
    private readonly string _items;
    private readonly int _blocksInMemory;
    private readonly List<T[]> _blocks = [];
    private T[] _last = [];
    private FileStream? _file;
    private int _stored;

    /// <summary>Makes an empty list.</summary>
    /// <param name="path">The recording's name, for messages.</param>
    /// <param name="items">What the items are, for messages.</param>
    /// <param name="blocksInMemory">How many blocks of 16,384 items stay in memory.</param>
    internal SpilledList(string path, string items, int blocksInMemory = 4)
    {
        _path = path;
        _items = items;
        _blocksInMemory = blocksInMemory;
    }

    /// <summary>How many items there are.</summary>
    public int Length { get; private set; }

    /// <summary>How many of them are in a file.</summary>
    internal int InFile => _stored * BlockSize;

    /// <summary>Reads from the first on.</summary>
    public Reader Read() => new(this);

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator()
    {
        Reader reader = Read();
        for (int i = 0; i < Length; i++)
        {
            yield return reader[i];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Adds one.</summary>
    /// <exception cref="TraceInputException">There is no room for the file.</exception>
    internal void Add(in T item)
    {
        int at = Length & (BlockSize - 1);
        if (at == 0)
        {
            Store();
            _last = _file is null || _last.Length < BlockSize ? new T[BlockSize] : _last;
        }

        _last[at] = item;
        Length++;
    }

    // The block that is full goes where it stays.
    private void Store()
    {
        if (Length == 0)
        {
            return;
        }

        if (_blocks.Count < _blocksInMemory)
        {
            _blocks.Add(_last);
            _last = [];
            return;
        }

        try
        {
            _file ??= TemporaryCopy.Create();
            RandomAccess.Write(_file.SafeFileHandle, MemoryMarshal.AsBytes(_last.AsSpan()), Place(_stored));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw TemporaryCopy.NoRoom(_path, $"has more {_items} than are kept in memory, and the rest of them", e);
        }

        _stored++;
    }

    private T[] Block(int number, ref T[] buffer)
    {
        if (number < _blocks.Count)
        {
            return _blocks[number];
        }

        if (number == _blocks.Count + _stored)
        {
            return _last;
        }

        if (buffer.Length == 0)
        {
            buffer = new T[BlockSize];
        }

        Span<byte> bytes = MemoryMarshal.AsBytes(buffer.AsSpan());
        long at = Place(number - _blocks.Count);
        while (!bytes.IsEmpty)
        {
            int count = RandomAccess.Read(_file!.SafeFileHandle, bytes, at);
            if (count == 0)
            {
                throw new IOException("the temporary file of a recording is shorter than what was written to it");
            }

            bytes = bytes[count..];
            at += count;
        }

        return buffer;
    }

    private static long Place(int block) => (long)block * BlockSize * Unsafe.SizeOf<T>();

    /// <summary>Reads items, cheapest near the one that was read last. For one thread.</summary>
    public sealed class Reader
    {
        private readonly SpilledList<T> _list;
        private T[] _block = [];
        private T[] _otherBlock = [];
        private T[] _buffer = [];
        private T[] _otherBuffer = [];
        private int _number = -1;
        private int _otherNumber = -1;

        internal Reader(SpilledList<T> list) => _list = list;

        /// <summary>One item, valid until another is read.</summary>
        /// <param name="index">Its number from 0.</param>
        public ref readonly T this[int index]
        {
            get
            {
                ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)_list.Length, nameof(index));
                int number = index >> BlockLog2;
                if (number != _number)
                {
                    MoveTo(number);
                }

                return ref _block[index & (BlockSize - 1)];
            }
        }

        // Two blocks: readers go forwards, and a little back and forth at a block's end.
        private void MoveTo(int number)
        {
            (_block, _otherBlock) = (_otherBlock, _block);
            (_buffer, _otherBuffer) = (_otherBuffer, _buffer);
            (_number, _otherNumber) = (_otherNumber, _number);
            if (_number != number)
            {
                _number = -1;
                _block = _list.Block(number, ref _buffer);
                _number = number;
            }
        }
    }
}
