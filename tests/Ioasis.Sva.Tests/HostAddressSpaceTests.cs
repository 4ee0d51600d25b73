using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Sva.Tests;

/// <summary>Devices that use this very process's pointers. Linux only.</summary>
public sealed unsafe class HostAddressSpaceTests : IDisposable
{
    private static long s_next = 0x1000_0000_0000;

    private readonly EmbeddedPlatform _platform = new(new());
    private readonly EmbeddedEndpoint _device;
    private readonly HostAddressSpace _memory;
    private readonly SvaManager _manager;
    private readonly SvaBinding _binding;

    public HostAddressSpaceTests()
    {
        _platform.Driver.PageRequests.Options = new() { Dispatch = PageRequestDispatch.Inline };
        _device = _platform.AddEndpoint(new(0x18), new() { PasidBits = 20, PageRequests = true });
        PasidAllocator allocator = new();
        allocator.TryCreateSet(new() { Quota = 10 }, out PasidSet? set).ShouldBe(Errno.Success);
        _manager = new(set!);
        HostAddressSpace.CreateErrno(_platform, out HostAddressSpace? memory).ShouldBe(Errno.Success);
        _memory = memory!;
        _manager.Bind(_device.Device, _memory, null, out SvaBinding? binding).ShouldBe(Errno.Success);
        _binding = binding!;
    }

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_device_uses_the_programs_own_pointers()
    {
        byte* buffer = (byte*)NativeMemory.AlignedAlloc(3 * 4096, 4096);
        try
        {
            new Span<byte>(buffer, 3 * 4096).Fill(1);
            SvaRig.DeviceWrite(_device, _binding.Pasid, (ulong)buffer + 4090, "straddles"u8).ShouldBeTrue();
            new ReadOnlySpan<byte>(buffer + 4090, 9).ToArray().ShouldBe("straddles"u8.ToArray());
            byte[] seen = new byte[5];
            SvaRig.DeviceRead(_device, _binding.Pasid, (ulong)buffer + 8190, seen).ShouldBeTrue();
            seen.ShouldAllBe(value => value == 1);
            long faults = _memory.Faults;
            _memory.Invalidate((ulong)buffer, 3 * 4096).ShouldBe(Errno.Success);
            _device.Ats!.Knows(_binding.Pasid, (ulong)buffer).ShouldBeFalse();
            SvaRig.DeviceWrite(_device, _binding.Pasid, (ulong)buffer, 2).ShouldBeTrue();
            _memory.Faults.ShouldBe(faults + 1);
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
    }

    [Theory]
    [Trait("Requirement", "S2.11")]
    [InlineData(0ul)]
    [InlineData(0x1000ul)]
    [InlineData(0x7fff_ffff_f000ul)]
    [InlineData(0xffff_8000_0000_0000ul)]
    public void A_wrong_pointer_is_an_IO_page_fault_and_never_a_crash(ulong address)
    {
        SvaRig.DeviceRead(_device, _binding.Pasid, address, new byte[8]).ShouldBeFalse();
        SvaRig.DeviceWrite(_device, _binding.Pasid, address, 1, 2, 3).ShouldBeFalse();
        _memory.HandleFault(address, Access.Read).ShouldNotBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Memory_that_is_read_only_or_gone_cannot_be_written_whatever_the_device_remembers()
    {
        byte* page = Map(4096);
        page[0] = 5;
        SvaRig.DeviceWrite(_device, _binding.Pasid, (ulong)page, 6).ShouldBeTrue();
        Protect(page, 4096, 1);
        _device.Ats!.Knows(_binding.Pasid, (ulong)page).ShouldBeTrue();
        SvaRig.DeviceWrite(_device, _binding.Pasid, (ulong)page, 7).ShouldBeFalse();
        page[0].ShouldBe((byte)6);
        _memory.Invalidate((ulong)page, 4096).ShouldBe(Errno.Success);
        SvaRig.DeviceWrite(_device, _binding.Pasid, (ulong)page, 7).ShouldBeFalse();
        SvaRig.DeviceRead(_device, _binding.Pasid, (ulong)page, new byte[1]).ShouldBeTrue();
        Unmap(page, 4096);
        SvaRig.DeviceRead(_device, _binding.Pasid, (ulong)page, new byte[1]).ShouldBeFalse();
    }

    public void Dispose()
    {
        _binding.Dispose();
        _memory.Exit().ShouldBe(Errno.Success);
        _platform.Dispose();
    }

    // Far from where the system puts memory that asks for no place: what is unmapped here stays unmapped, whatever other threads map.
    private static byte* Map(nuint length)
    {
        nint hint = (nint)Interlocked.Add(ref s_next, 1 << 20);
        void* page = mmap((void*)hint, length, 3, 0x22, -1, 0);
        ((nint)page).ShouldNotBe(-1);
        return (byte*)page;
    }

    private static void Protect(byte* page, nuint length, int protection) => mprotect(page, length, protection).ShouldBe(0);

    private static void Unmap(byte* page, nuint length) => munmap(page, length).ShouldBe(0);

    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int mprotect(void* address, nuint length, int protection);

    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int munmap(void* address, nuint length);
}
