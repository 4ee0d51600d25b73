using System.Buffers.Binary;
using System.Text;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.TraceDat;

/// <summary>
/// Reads numbers and strings of a trace.dat in its byte order. This folder reads trace-cmd's binary file, versions 6 and 7
/// (trace-cmd.dat.v6(5), trace-cmd.dat.v7(5)); it makes events of records and nothing else.
/// </summary>
internal sealed class DatReader(string path, Stream stream)
{
    private const int MostString = 1 << 20;

    private readonly byte[] _small = new byte[8];

    /// <summary>The file as the caller named it.</summary>
    public string Path => path;

    /// <summary>The bytes.</summary>
    public Stream Stream => stream;

    /// <summary>Whether numbers have their first byte highest.</summary>
    public bool BigEndian { get; set; }

    public long Position
    {
        get => stream.Position;
        set
        {
            if (value < 0 || value > stream.Length)
            {
                throw Damaged("points outside itself");
            }

            stream.Position = value;
        }
    }

    public byte U8() => Bytes(1)[0];

    public ushort U16() => U16(Bytes(2), BigEndian);

    public uint U32() => U32(Bytes(4), BigEndian);

    public ulong U64() => U64(Bytes(8), BigEndian);

    public static ushort U16(ReadOnlySpan<byte> bytes, bool big) =>
        big ? BinaryPrimitives.ReadUInt16BigEndian(bytes) : BinaryPrimitives.ReadUInt16LittleEndian(bytes);

    public static uint U32(ReadOnlySpan<byte> bytes, bool big) =>
        big ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes);

    public static ulong U64(ReadOnlySpan<byte> bytes, bool big) =>
        big ? BinaryPrimitives.ReadUInt64BigEndian(bytes) : BinaryPrimitives.ReadUInt64LittleEndian(bytes);

    /// <summary>Reads up to a zero byte.</summary>
    public string Text()
    {
        StringBuilder text = new();
        for (byte c = U8(); c != 0; c = U8())
        {
            text.Append((char)c);
            if (text.Length > MostString)
            {
                throw Damaged("has a string without an end");
            }
        }

        return text.ToString();
    }

    /// <summary>Reads a block.</summary>
    public byte[] Block(ulong size)
    {
        byte[] block = [];
        _ = Block(size, ref block);
        return block;
    }

    /// <summary>Reads a block into a buffer, which grows where it is too small.</summary>
    /// <returns>The block.</returns>
    public Span<byte> Block(ulong size, ref byte[] buffer)
    {
        if (size > (ulong)(stream.Length - stream.Position))
        {
            throw Damaged("ends in the middle of a section");
        }

        if (size > (ulong)Array.MaxLength)
        {
            throw Damaged("has a section that is larger than two gibibytes");
        }

        if ((ulong)buffer.Length < size)
        {
            buffer = new byte[size];
        }

        Span<byte> block = buffer.AsSpan(0, (int)size);
        stream.ReadExactly(block);
        return block;
    }

    public void Skip(ulong size) => Position += (long)Math.Min(size, long.MaxValue / 2);

    public void Expect(ReadOnlySpan<byte> text)
    {
        if (!Block((ulong)text.Length).AsSpan().SequenceEqual(text))
        {
            throw Damaged($"has no \"{Encoding.ASCII.GetString(text).TrimEnd('\0')}\" where one belongs");
        }
    }

    public TraceInputException Damaged(string what, Exception? inner = null) =>
        new(TraceInputError.DamagedFile, path, null, $"is a damaged trace.dat: it {what}", inner);

    private ReadOnlySpan<byte> Bytes(int count)
    {
        Span<byte> bytes = _small.AsSpan(0, count);
        if (stream.ReadAtLeast(bytes, count, throwOnEndOfStream: false) < count)
        {
            throw Damaged("ends too early");
        }

        return bytes;
    }
}
