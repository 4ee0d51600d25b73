using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>Large pieces of this process's own memory: what of them can be mapped, and what devices find there.</summary>
public sealed partial class ProcessMemoryTests
{
    private const int None = 0;
    private const int Read = 1;
    private const int ReadWrite = 3;
    private const nuint Length = 1 << 20;

    private static readonly Iova s_iova = new(0x4000_0000);

    [Fact]
    public void Memory_that_nobody_has_touched_is_mapped_at_any_size_and_is_there_when_a_device_comes()
    {
        using Machine machine = new();
        const uint Large = 1u << 28;
        nint memory = Take(Large, ReadWrite, -1);
        machine.Space.MapErrno(new((ulong)memory, Large), s_iova, Access.ReadWrite).ShouldBe(Errno.Success);
        machine.Endpoint.Write(s_iova + (Large - 3), [1, 2, 3]).ShouldBe(DmaStatus.Success);
        machine.Endpoint.Read(s_iova + 0x0234_5678, new byte[16]).ShouldBe(DmaStatus.Success);
        unsafe
        {
            new Span<byte>((byte*)memory + (Large - 3), 3).ToArray().ShouldBe([1, 2, 3]);
        }

        machine.Space.Unmap(s_iova, Large).ShouldBe(Large);
        Give(memory, Large);
    }

    [Theory]
    [InlineData(None, 0x40000, false, false)]
    [InlineData(None, 0xff000, false, false)]
    [InlineData(None, 0, false, false)]
    [InlineData(Read, 0x80000, true, false)]
    [InlineData(ReadWrite, 0x80000, true, true)]
    public void An_area_in_the_middle_that_forbids_the_access_forbids_the_whole(int protection, int offset, bool canRead, bool canWrite)
    {
        using Machine machine = new();
        nint memory = Take(Length, ReadWrite, -1);
        MapPages(memory + offset, 0x1000, protection, 0x32, -1, 0).ShouldBe(memory + offset);
        Try(Access.Read, canRead);
        Try(Access.ReadWrite, canWrite);
        Give(memory, Length);

        void Try(Access access, bool expected)
        {
            machine.Space.MapErrno(new((ulong)memory, Length), s_iova, access).ShouldBe(expected ? Errno.Success : Errno.BadAddress);
            machine.Space.UnmapAll().ShouldBe(expected ? Length : 0);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0x7f000)]
    public void Memory_of_a_file_is_mapped_as_far_as_the_file_reaches(int offset)
    {
        using Machine machine = new();
        nint memory = Take(Length, ReadWrite, -1);
        int file = MakeMemoryFile("short", 0);
        TruncateFile(file, 0x40000).ShouldBe(0);

        // Half a mebibyte of a file of a quarter, among anonymous pages.
        MapPages(memory + offset, 0x80000, ReadWrite, 0x11, file, 0).ShouldBe(memory + offset);
        ulong address = (ulong)memory;
        machine.Space.MapErrno(new(address, Length), s_iova, Access.ReadWrite).ShouldBe(Errno.BadAddress);
        machine.Space.MapErrno(new(address, (ulong)offset + 0x41000), s_iova, Access.ReadWrite).ShouldBe(Errno.BadAddress);
        machine.Space.MapErrno(new(address, (ulong)offset + 0x40000), s_iova, Access.ReadWrite).ShouldBe(Errno.Success);
        machine.Endpoint.Write(s_iova + (ulong)(offset + 0x3ffff), [7]).ShouldBe(DmaStatus.Success);
        Marshal.ReadByte(memory, offset + 0x3ffff).ShouldBe((byte)7);

        // The file shrinks under the mapping: the device faults, and nothing else happens.
        TruncateFile(file, 0x1000).ShouldBe(0);
        machine.Endpoint.Write(s_iova + (ulong)(offset + 0x2000), [7]).ShouldNotBe(DmaStatus.Success);
        machine.Endpoint.Write(s_iova + (ulong)offset, [8]).ShouldBe(DmaStatus.Success);
        machine.Space.UnmapAll().ShouldBe((ulong)offset + 0x40000);
        Give(memory, Length);
        CloseFile(file).ShouldBe(0);
    }

    private static nint Take(nuint length, int protection, int file)
    {
        // Private, anonymous, and nothing reserved for it.
        nint memory = MapPages(0, length, protection, 0x4022, file, 0);
        memory.ShouldNotBe(-1);
        return memory;
    }

    private static void Give(nint memory, nuint length) => UnmapPages(memory, length).ShouldBe(0);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint MapPages(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int UnmapPages(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int MakeMemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate64")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int TruncateFile(int file, long length);

    [LibraryImport("libc", EntryPoint = "close")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int CloseFile(int file);
}
