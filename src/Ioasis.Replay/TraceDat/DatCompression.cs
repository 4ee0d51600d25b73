using System.IO.Compression;
using System.Runtime.InteropServices;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.TraceDat;

/// <summary>Decompresses what trace-cmd compressed: with zlib, or with the system's libzstd, for .NET has no zstd of its own.</summary>
internal sealed partial class DatCompression(string path, string name)
{
    private const uint Most = 1u << 30;

    private static ReadOnlySpan<byte> ZstdMagic => [0x28, 0xb5, 0x2f, 0xfd];

    /// <summary>Decompresses a block whose size is known.</summary>
    public byte[] Decompress(byte[] block, uint size)
    {
        if (size > Most)
        {
            throw Damaged("has a block that is larger than a gibibyte");
        }

        byte[] result = new byte[size];
        try
        {
            switch (name)
            {
                case "zlib":
                    using (ZLibStream zlib = new(new MemoryStream(block), CompressionMode.Decompress))
                    {
                        zlib.ReadExactly(result);
                    }

                    return result;

                case "zstd":
                    Zstd(block, result);
                    return result;

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
    private void Zstd(byte[] block, byte[] result)
    {
        byte[] frame = block.AsSpan().StartsWith(ZstdMagic) ? block : [.. ZstdMagic, .. block];
        nuint count;
        try
        {
            count = ZSTD_decompress(result, (nuint)result.Length, frame, (nuint)frame.Length);
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
    private static partial nuint ZSTD_decompress(byte[] destination, nuint capacity, byte[] source, nuint size);
}
