using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Linux;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec.Managed;

/// <summary>Drivers in C# with one mistake with DMA each, and one without: run by name, as programs of other people are.</summary>
internal static partial class Program
{
    private const ulong Page = 4096;
    private const ulong Own = 0x40000;
    private static readonly Iova s_place = new(0x10000);

    private static int Main(string[] arguments)
    {
        using Driver driver = new(LinuxKernelAbi.Instance);
        Action<Driver>? program = arguments is [var name] ? name switch
        {
            nameof(WrittenAfterUnmap) => WrittenAfterUnmap,
            nameof(ReadAfterUnmap) => ReadAfterUnmap,
            nameof(NeverMapped) => NeverMapped,
            nameof(PastTheEnd) => PastTheEnd,
            nameof(AgainstTheDirection) => AgainstTheDirection,
            nameof(FreedBeforeUnmap) => FreedBeforeUnmap,
            nameof(LeftMapped) => LeftMapped,
            nameof(TheSameMemoryTwice) => TheSameMemoryTwice,
            nameof(UnmappedTwice) => UnmappedTwice,
            nameof(Careful) => Careful,
            _ => null,
        }
        : null;
        if (program is null)
        {
            return 2;
        }

        program(driver);
        Console.WriteLine(arguments[0]);
        return 0;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void WrittenAfterUnmap(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, Page), s_place, Access.ReadWrite);
        driver.Space.Unmap(s_place, Page);
        driver.Copy(Own, s_place.Value, toMemory: true);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void ReadAfterUnmap(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, Page), s_place, Access.ReadWrite);
        driver.Space.Unmap(s_place, Page);
        driver.Copy(s_place.Value + 64, Own, toMemory: false);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void NeverMapped(Driver driver) => driver.Copy(Own, s_place.Value, toMemory: true);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void PastTheEnd(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, Page), s_place, Access.ReadWrite);
        driver.Copy(Own, s_place.Value + Page + 8, toMemory: true);
        driver.Space.Unmap(s_place, Page);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void AgainstTheDirection(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, Page), s_place, Access.Read);
        driver.Copy(Own, s_place.Value, toMemory: true);
        driver.Space.Unmap(s_place, Page);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void FreedBeforeUnmap(Driver driver)
    {
        nint memory = Driver.MapPages(Page);
        driver.Space.Map(new((ulong)memory, Page), s_place, Access.ReadWrite);
        Driver.UnmapPages(memory, Page);
        driver.Copy(Own, s_place.Value, toMemory: true);
        driver.Space.Unmap(s_place, Page);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void LeftMapped(Driver driver) => driver.Space.Map(new(driver.Memory, Page), s_place, Access.ReadWrite);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void TheSameMemoryTwice(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, 2 * Page), s_place, Access.ReadWrite);
        driver.Space.Map(new(driver.Memory + Page, Page), new(0x40000), Access.ReadWrite);
        driver.Space.Unmap(s_place, 2 * Page);
        driver.Space.Unmap(new(0x40000), Page);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void UnmappedTwice(Driver driver)
    {
        driver.Space.Map(new(driver.Memory, Page), s_place, Access.ReadWrite);
        driver.Space.Unmap(s_place, Page);
        _ = driver.Space.UnmapErrno(s_place, Page, out _);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Careful(Driver driver)
    {
        using DmaBuffer buffer = driver.Space.AllocateBuffer(4 * (nuint)Page);
        buffer.Span[..64].Fill(0x5a);
        driver.Copy(buffer.Iova.Value, Own, toMemory: false);
        driver.Copy(Own, buffer.Iova.Value + Page, toMemory: true);
        if (!buffer.Span[..64].SequenceEqual(buffer.Span.Slice((int)Page, 64)))
        {
            throw new InvalidOperationException("What the device was given did not come back.");
        }

        for (int i = 0; i < 20; i++)
        {
            driver.Space.Map(new(driver.Memory, Page), s_place, i % 2 == 0 ? Access.Write : Access.ReadWrite);
            driver.Copy(Own, s_place.Value, toMemory: true);
            driver.Space.Unmap(s_place, Page);
        }
    }

    /// <summary>An edu device (QEMU, docs/specs/edu.rst) with an address space and four pages.</summary>
    private sealed unsafe partial class Driver : IDisposable
    {
        private const int MemoryAndMaster = 6;
        private readonly IommuFd _iommu;
        private readonly VfioDevice _device;
        private readonly VfioRegion _registers;
        private readonly void* _memory = NativeMemory.AlignedAlloc(4 * (nuint)Page, (nuint)Page);

        public Driver(LinuxKernelAbi kernel)
        {
            _iommu = IommuFd.Open(kernel);
            _device = VfioDevice.Open(kernel, "/dev/vfio/devices/vfio0");
            _ = _device.Bind(_iommu);
            Space = _iommu.AllocateAddressSpace();
            _ = _device.Attach(Space);
            VfioRegion config = _device.GetRegion(VfioPciRegion.Config);
            config.Write(4, (ushort)(config.Read<ushort>(4) | MemoryAndMaster));
            _registers = _device.GetRegion(VfioPciRegion.Bar0);
        }

        public IoAddressSpace Space { get; }

        public ulong Memory => (ulong)_memory;

        public static nint MapPages(ulong length)
        {
            // Private and anonymous, for reading and writing.
            nint memory = Map(0, (nuint)length, 3, 0x22, -1, 0);
            *(byte*)memory = 1;
            return memory;
        }

        public static void UnmapPages(nint memory, ulong length) => _ = Unmap(memory, (nuint)length);

        public void Copy(ulong source, ulong destination, bool toMemory)
        {
            _registers.Write(0x80, source);
            _registers.Write(0x88, destination);
            _registers.Write(0x90, 64ul);
            _registers.Write(0x98, toMemory ? 3ul : 1ul);
            while ((_registers.Read<ulong>(0x98) & 1) != 0)
            {
                Thread.Sleep(1);
            }
        }

        public void Dispose()
        {
            Space.Dispose();
            _device.Dispose();
            _iommu.Dispose();
            NativeMemory.AlignedFree(_memory);
        }

        [LibraryImport("libc", EntryPoint = "mmap")]
        private static partial nint Map(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

        [LibraryImport("libc", EntryPoint = "munmap")]
        private static partial int Unmap(nint address, nuint length);
    }
}
