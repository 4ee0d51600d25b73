using System.Runtime.InteropServices;

namespace Ioasis.Client.Tests;

/// <summary>Pages of this process that go and come back.</summary>
internal static partial class NativePages
{
    private const int None = 0;
    private const int ReadWrite = 3;
    private const int FixedPrivateAnonymous = 0x32;

    /// <summary>The pages are gone; in their place is nothing, so that no other thread of the process gets their address.</summary>
    public static void TakeAway(nint address, nuint length) => Map(address, length, None);

    /// <summary>Other pages in their place.</summary>
    public static void GiveBack(nint address, nuint length) => Map(address, length, ReadWrite);

    private static void Map(nint address, nuint length, int protection) =>
        MapPages(address, length, protection, FixedPrivateAnonymous, -1, 0).ShouldBe(address);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint MapPages(nint address, nuint length, int protection, int flags, int fd, long offset);
}
