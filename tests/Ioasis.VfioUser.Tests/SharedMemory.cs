using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>A memory file that a client shows to a device, and the client's own view of it.</summary>
internal sealed unsafe partial class SharedMemory : IDisposable
{
    private readonly nint _address;
    private readonly int _length;

    public SharedMemory(int length, string name = "client")
    {
        _length = length;
        File = Create(name, 1);
        Truncate(File, length).ShouldBe(0);
        _address = Map(0, (nuint)length, 3, 1, File, 0);
        _address.ShouldNotBe(-1);
    }

    public SafeFileHandle File { get; }

    public Span<byte> Bytes => new((void*)_address, _length);

    /// <summary>Takes the pages away by force.</summary>
    public void Shrink() => Truncate(File, 0).ShouldBe(0);

    /// <summary>Maps what a server offers, and reads or writes it.</summary>
    public static void With(SafeFileHandle file, long offset, int length, Action<nint> use)
    {
        nint address = Map(0, (nuint)length, 3, 1, file, offset);
        address.ShouldNotBe(-1);
        use(address);
        Unmap(address, (nuint)length).ShouldBe(0);
    }

    public void Dispose()
    {
        _ = Unmap(_address, (nuint)_length);
        File.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle Create(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(nint address, nuint length);
}
