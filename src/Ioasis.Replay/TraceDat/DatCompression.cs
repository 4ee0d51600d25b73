using System.IO.Compression;
using System.Runtime.InteropServices;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.TraceDat;

/// <summary>Decompresses what trace-cmd compressed: with zlib, or with the system's libzstd, for .NET has no zstd of its own.</summary>
internal sealed partial class DatCompression(string path, string name)
{
    private const uint Most = 1u << 30;

    private static ReadOnlySpan<byte> ZstdMagic => [0x28, 0xb5, 0x2f, 0xfd];

    private byte[] _packed = [];
    private byte[] _frame = [];

    /// <summary>Decompresses the next block of a file, in front of which its sizes stand.</summary>
    /// <param name="reader">Stands at the sizes; afterwards behind the block.</param>
    public byte[] Decompress(DatReader reader)
    {
        byte[] result = [];
        _ = Decompress(reader, ref result);
        return result;
    }

    /// <summary>Decompresses the next block into a buffer, which grows where it is too small.</summary>
    /// <param name="reader">Stands at the sizes; afterwards behind the block.</param>
    /// <param name="buffer">Gets what it holds, from its start.</param>
    /// <returns>How many bytes that is.</returns>
    public int Decompress(DatReader reader, ref byte[] buffer)
    {
        uint packed = reader.U32();
        uint size = reader.U32();
        if (size > Most)
        {
            throw Damaged("has a block that is larger than a gibibyte");
        }

        Span<byte> block = reader.Block(packed, ref _packed);
        if (buffer.Length < size)
        {
            buffer = new byte[size];
        }

        Span<byte> result = buffer.AsSpan(0, (int)size);
        try
        {
            switch (name)
            {
                case "zlib":
                    using (ZLibStream zlib = new(new MemoryStream(_packed, 0, block.Length), CompressionMode.Decompress))
                    {
                        zlib.ReadExactly(result);
                    }

                    return result.Length;

                case "zstd":
                    Zstd(block, result);
                    return result.Length;

                default:
                    throw new TraceInputException(
                        TraceInputError.NoDecoder, path, null,
                        $"is compressed with \"{name}\", which is not known here: trace-cmd convert --compression zlib changes it");
            }
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
        {
            throw Damaged("cannot be decompressed", e);
        }
    }

    // trace-cmd leaves the four bytes out that begin each frame.
    private void Zstd(ReadOnlySpan<byte> block, Span<byte> result)
    {
        if (!block.StartsWith(ZstdMagic))
        {
            int length = ZstdMagic.Length + block.Length;
            _frame = _frame.Length < length ? new byte[length] : _frame;
            ZstdMagic.CopyTo(_frame);
            block.CopyTo(_frame.AsSpan(ZstdMagic.Length));
            block = _frame.AsSpan(0, length);
        }

        nuint count;
        try
        {
            count = ZSTD_decompress(result, (nuint)result.Length, block, (nuint)block.Length);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            throw new TraceInputException(
                TraceInputError.NoDecoder, path, null,
                "is compressed with zstd, and there is no libzstd.so.1 (package libzstd1 or libzstd); install it, or change the file with "
                + "trace-cmd convert --compression zlib",
                e);
        }

        if (count != (nuint)result.Length)
        {
            throw Damaged("cannot be decompressed");
        }
    }

    private TraceInputException Damaged(string what, Exception? inner = null) =>
        new(TraceInputError.DamagedFile, path, null, $"is a damaged trace.dat: it {what}", inner);

    [LibraryImport("libzstd.so.1")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nuint ZSTD_decompress(Span<byte> destination, nuint capacity, ReadOnlySpan<byte> source, nuint size);
}
