using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Pages of devices that a program maps. The pages of the file that the program has as the device take the place of the pages that the device's
/// model uses here, with their content: from then on both look at the same ones, and the program's own mmap reaches them. Thread-safe.
/// </summary>
internal sealed unsafe class DevicePages
{
    private const ulong PageSize = 4096;
    private const int ReadWrite = 3;
    private const int SharedFixed = 0x11;
    private const int SizeInStat = 48;

    private readonly Lock _lock = new();
    private readonly List<(nint Start, nint End, Handle Owner)> _shared = [];

    // The first page of each file that traps.
    private readonly Dictionary<Handle, ulong> _trapping = [];

    /// <summary>Pages of a handle's file are mapped each access of which is to trap: the file must end before them, now and from now on.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if it reaches beyond them already, for pages above them that are shared.</returns>
    public Errno KeepOut(Handle handle, ulong offset)
    {
        lock (_lock)
        {
            // Asked without opening it: its close would count as the program's.
            byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
            byte end = 0;
            nint found = SystemCalls.Stat(handle.Path, &end, stat, SystemCalls.AtEmptyPath);
            if (found < 0)
            {
                return SystemCalls.ToErrno(found);
            }

            if (*(ulong*)(stat + SizeInStat) > offset)
            {
                return Errno.Busy;
            }

            _trapping[handle] = Math.Min(offset, _trapping.GetValueOrDefault(handle, offset));
            return Errno.Success;
        }
    }

    /// <summary>Has a handle's file and a device's model share pages.</summary>
    /// <param name="handle">The handle of the device.</param>
    /// <param name="offset">Where they are in the file.</param>
    /// <param name="length">Bytes, whole pages.</param>
    /// <param name="address">Where the model has them.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if below them in the file are pages that trap (<see cref="KeepOut"/>), for the file would then reach
    /// beyond those; <see cref="Errno.Busy"/> if another open file of the same device has mapped them: the pages of two files cannot be the same.
    /// </returns>
    public Errno Share(Handle handle, ulong offset, ulong length, nint address)
    {
        nint end = address + (nint)length;
        lock (_lock)
        {
            if (_trapping.TryGetValue(handle, out ulong first) && first < offset + length)
            {
                return Errno.InvalidArgument;
            }

            List<(nint Start, nint End)> missing = [(address, end)];
            foreach ((nint start, nint last, Handle owner) in _shared)
            {
                if (start < end && address < last)
                {
                    if (owner != handle)
                    {
                        return Errno.Busy;
                    }

                    missing = [.. missing.SelectMany(part => Without(part, start, last))];
                }
            }

            if (missing.Count == 0)
            {
                return Errno.Success;
            }

            nint file = SystemCalls.Open(
                string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{handle.Path}"), SystemCalls.OpenReadWrite | SystemCalls.OpenCloseOnExec);
            Errno error = SystemCalls.ToErrno(file);
            if (error == Errno.Success)
            {
                // A limit of the user's on the size of files (EFBIG) stands in the way of nothing but these pages.
                error = Extend((int)file, (long)(offset + length)) < 0 ? Errno.OutOfMemory : Errno.Success;
            }

            foreach ((nint start, nint last) in missing)
            {
                ulong at = offset + (ulong)(start - address);
                error = error == Errno.Success ? Replace((int)file, at, start, (nuint)(last - start)) : error;
                if (error == Errno.Success)
                {
                    _shared.Add((start, last, handle));
                }
            }

            _ = file < 0 ? 0 : SystemCalls.Close((int)file);
            return error;
        }
    }

    /// <summary>The program has the handle, and mappings of it, no more: the model keeps the pages to itself.</summary>
    public void Forget(Handle handle)
    {
        lock (_lock)
        {
            _ = _shared.RemoveAll(entry => entry.Owner == handle);
            _ = _trapping.Remove(handle);
        }
    }

    private static IEnumerable<(nint Start, nint End)> Without((nint Start, nint End) part, nint start, nint end)
    {
        if (part.Start < start)
        {
            yield return (part.Start, Math.Min(part.End, start));
        }

        if (end < part.End)
        {
            yield return (Math.Max(part.Start, end), part.End);
        }
    }

    // What is beyond the end of the file traps.
    private static nint Extend(int file, long end)
    {
        nint size = SystemCalls.Seek(file, 0, 2);
        return size < 0 || size >= end ? size : SystemCalls.Truncate(file, end);
    }

    private static Errno Replace(int file, ulong offset, nint start, nuint length)
    {
        for (nuint done = 0; done < length; done += (nuint)PageSize)
        {
            // Zeros need no copy: the file has them.
            ReadOnlySpan<byte> page = new((byte*)start + done, (int)PageSize);
            if (page.IndexOfAnyExcept((byte)0) >= 0 && SystemCalls.WriteAt(file, page, offset + done) != page.Length)
            {
                return Errno.OutOfMemory;
            }
        }

        return SystemCalls.ToErrno(SystemCalls.Map(length, ReadWrite, SharedFixed, file, (long)offset, start));
    }
}
