using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Devices;

/// <summary>Bytes in a raw file: byte n of the file is byte n of the medium.</summary>
internal sealed partial class FileBlockStore : BlockStore
{
    private const int KeepSize = 1;
    private const int PunchHole = 2;

    private static readonly byte[] s_zeroes = new byte[64 << 10];

    private readonly SafeFileHandle _file;

    /// <summary>Opens a file, and makes it if it is not there and a size is given.</summary>
    /// <param name="path">The file.</param>
    /// <param name="size">Bytes; 0 for what the file has. A shorter file grows.</param>
    /// <param name="isReadOnly">Whether it is only read.</param>
    /// <exception cref="IOException">It cannot be opened, is empty, or cannot grow.</exception>
    public FileBlockStore(string path, long size, bool isReadOnly)
    {
        _file = System.IO.File.OpenHandle(
            path,
            size > 0 && !isReadOnly ? FileMode.OpenOrCreate : FileMode.Open,
            isReadOnly ? FileAccess.Read : FileAccess.ReadWrite,
            FileShare.ReadWrite | FileShare.Delete);
        try
        {
            long length = RandomAccess.GetLength(_file);
            if (size > length && !isReadOnly)
            {
                RandomAccess.SetLength(_file, size);
                length = size;
            }

            Size = size > 0 ? size : length;
            if (Size == 0 || Size > length)
            {
                throw new IOException($"{path} has {length} bytes: {(size > 0 ? $"{size} are wanted" : "give a size, or a file that has one")}.");
            }
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override long Size { get; }

    /// <inheritdoc/>
    public override bool Read(long offset, Span<byte> destination)
    {
        try
        {
            while (!destination.IsEmpty)
            {
                int count = RandomAccess.Read(_file, destination, offset);
                if (count <= 0)
                {
                    // Somebody cut the file off.
                    return false;
                }

                destination = destination[count..];
                offset += count;
            }

            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public override bool Write(long offset, ReadOnlySpan<byte> source)
    {
        try
        {
            RandomAccess.Write(_file, source, offset);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public override bool Zero(long offset, long length)
    {
        // A hole reads zero and costs nothing, where the file system has holes.
        if (OperatingSystem.IsLinux() && Allocate(_file, KeepSize | PunchHole, offset, length) == 0)
        {
            return true;
        }

        while (length > 0)
        {
            int part = (int)Math.Min(length, s_zeroes.Length);
            if (!Write(offset, s_zeroes.AsSpan(0, part)))
            {
                return false;
            }

            offset += part;
            length -= part;
        }

        return true;
    }

    /// <inheritdoc/>
    public override bool Flush()
    {
        try
        {
            RandomAccess.FlushToDisk(_file);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _file.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "fallocate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);
}
