using System.Runtime.InteropServices;

namespace Ioasis.AbiSuite;

/// <summary>Anonymous memory of this process, whose protection can be changed and parts of which can be taken away.</summary>
public sealed unsafe partial class ClientPages : IDisposable
{
    private const int ReadWrite = 3;
    private const int ReadOnly = 1;
    private const int PrivateAnonymous = 0x22;

    // Far from where the system puts memory that asks for no place: what a case removes stays away, whatever other threads map.
    private static long s_nextPlace = 0x2000_0000_0000;

    private readonly nuint _length;

    public ClientPages(nuint length)
    {
        _length = length;
        nint memory = Map((nint)Interlocked.Add(ref s_nextPlace, 1L << 32), length, ReadWrite, PrivateAnonymous, -1, 0);
        if (memory == -1)
        {
            throw new InvalidOperationException("There is no memory for a case.");
        }

        Address = (ulong)memory;
        Span.Clear();
    }

    public ulong Address { get; }

    public Span<byte> Span => new((void*)Address, (int)_length);

    /// <summary>Forbids writes.</summary>
    public void Protect() => _ = Protect((nint)Address, _length, ReadOnly);

    /// <summary>Takes pages away: nothing is there then.</summary>
    public void Remove(int firstPage, int count) =>
        _ = Unmap((nint)Address + (firstPage * 4096), (nuint)count * 4096);

    public void Dispose() => _ = Unmap((nint)Address, _length);

    [LibraryImport("libc", EntryPoint = "mmap64")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Protect(nint address, nuint length, int protection);
}
