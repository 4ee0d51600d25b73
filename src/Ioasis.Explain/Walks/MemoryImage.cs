using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Explain.Walks;

/// <summary>Physical memory of a machine, from files that hold pieces of it byte by byte.</summary>
internal sealed class MemoryImage : IDisposable
{
    private readonly List<(ulong Base, ulong Length, SafeFileHandle File)> _pieces = [];

    private MemoryImage()
    {
    }

    /// <summary>How many bytes there are.</summary>
    public ulong Length => _pieces.Aggregate(0ul, static (sum, piece) => sum + piece.Length);

    /// <summary>Opens files.</summary>
    /// <param name="names">Names, each with <c>@BASE</c> behind it for the physical address of its first byte; without it is 0.</param>
    /// <exception cref="IOException">A file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">A file may not be read.</exception>
    /// <exception cref="FormatException">What stands behind <c>@</c> is no address.</exception>
    public static MemoryImage Open(IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        MemoryImage image = new();
        try
        {
            foreach (string name in names)
            {
                (string path, ulong start) = Split(name);
                SafeFileHandle file = File.OpenHandle(path);
                image._pieces.Add((start, (ulong)RandomAccess.GetLength(file), file));
            }
        }
        catch
        {
            image.Dispose();
            throw;
        }

        return image;
    }

    /// <summary>Reads a doubleword.</summary>
    /// <returns>False if no file has all of it.</returns>
    public bool TryRead64(ulong address, out ulong value) => TryRead(address, sizeof(ulong), out value);

    /// <summary>Reads a word.</summary>
    /// <returns>False if no file has all of it.</returns>
    public bool TryRead32(ulong address, out ulong value) => TryRead(address, sizeof(uint), out value);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((_, _, SafeFileHandle file) in _pieces)
        {
            file.Dispose();
        }
    }

    private bool TryRead(ulong address, int size, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        foreach ((ulong start, ulong length, SafeFileHandle file) in _pieces)
        {
            if (address >= start && address - start <= length && length - (address - start) >= (ulong)size
                && RandomAccess.Read(file, bytes[..size], (long)(address - start)) == size)
            {
                value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
                return true;
            }
        }

        value = 0;
        return false;
    }

    private static (string Path, ulong Base) Split(string name)
    {
        int at = name.LastIndexOf('@');
        if (at < 0 || File.Exists(name))
        {
            return (name, 0);
        }

        string text = name[(at + 1)..];
        bool isHex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        return ulong.TryParse(isHex ? text.AsSpan(2) : text, isHex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out ulong start)
            ? (name[..at], start)
            : throw new FormatException($"{name}: '{text}' is no address: expected FILE@BASE, as memory.bin@0x80000000");
    }
}
