using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Vfio.Tests;

/// <summary>Copies to and from memory of this process that may go away, and what else its faults are for.</summary>
public sealed unsafe partial class GuardedCopyTests
{
    private const nuint Page = 4096;

    [Fact]
    public void A_copy_moves_exactly_the_bytes_of_its_range_whatever_their_number_and_place()
    {
        Assert.SkipUnless(GuardedCopy.IsAvailable, "No guarded copies on this machine.");
        byte[] from = new byte[3000];
        new Random(1).NextBytes(from);
        byte[] to = new byte[3000];
        for (int length = 0; length < 2500; length = length < 600 ? length + 1 : length + 61)
        {
            int start = length % 37;
            int target = length % 23;
            Array.Fill(to, (byte)0xa5);
            fixed (byte* source = &from[start])
            fixed (byte* destination = &to[target])
            {
                GuardedCopy.TryCopy(destination, source, (nuint)length).ShouldBeTrue();
            }

            to.AsSpan(target, length).SequenceEqual(from.AsSpan(start, length)).ShouldBeTrue($"{length} bytes");
            to.AsSpan(0, target).IndexOfAnyExcept((byte)0xa5).ShouldBe(-1, $"before {length} bytes");
            to.AsSpan(target + length).IndexOfAnyExcept((byte)0xa5).ShouldBe(-1, $"behind {length} bytes");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(40)]
    [InlineData(200)]
    [InlineData(1000)]
    [InlineData(8000)]
    public void A_copy_that_meets_missing_or_forbidden_memory_says_so_and_the_program_goes_on(int length)
    {
        Assert.SkipUnless(GuardedCopy.IsAvailable, "No guarded copies on this machine.");
        byte* pages = Map(4);
        byte* local = stackalloc byte[length];
        try
        {
            Protect(pages, 2 * Page, 1).ShouldBe(0);
            GuardedCopy.TryCopy(local, pages, (nuint)Math.Min(length, 8192)).ShouldBeTrue();
            GuardedCopy.TryCopy(pages, local, (nuint)length).ShouldBeFalse("read-only");
            Protect(pages, 2 * Page, 0).ShouldBe(0);
            GuardedCopy.TryCopy(local, pages, (nuint)length).ShouldBeFalse("no access");
            GuardedCopy.TryCopy(pages, local, (nuint)length).ShouldBeFalse("no access");

            // Behind the end of a file it is SIGBUS.
            int file = CreateFile("empty", 1);
            ((nint)MapAt(pages, 2 * Page, 3, 0x11, file, 0)).ShouldBe((nint)pages);
            _ = Close(file);
            GuardedCopy.TryCopy(local, pages, (nuint)length).ShouldBeFalse("behind the end of the file");
            GuardedCopy.TryCopy(pages, local, (nuint)length).ShouldBeFalse("behind the end of the file");
        }
        finally
        {
            _ = Unmap(pages, 4 * Page);
        }

        // Not an address at all, of the system, and nowhere.
        GuardedCopy.TryCopy(local, (void*)0x8000_0000_0000_0000, (nuint)length).ShouldBeFalse();
        GuardedCopy.TryCopy((void*)0xffff_8000_0000_0000, local, (nuint)length).ShouldBeFalse();
        GuardedCopy.TryCopy(local, null, (nuint)length).ShouldBeFalse();
        GuardedCopy.TryCompareExchange((ulong*)0x10, 0, 1, out _).ShouldBeFalse();
    }

    [Fact]
    public void An_exchange_excludes_stores_of_the_program()
    {
        Assert.SkipUnless(GuardedCopy.IsAvailable, "No guarded copies on this machine.");
        const int Turns = 20_000;
        byte* page = Map(1);
        try
        {
            ulong* word = (ulong*)page;
            Thread other = new(() =>
            {
                for (int i = 0; i < Turns; i++)
                {
                    _ = Interlocked.Increment(ref *word);
                }
            });
            other.Start();
            for (int i = 0; i < Turns; i++)
            {
                ulong seen = Volatile.Read(ref *word);
                while (true)
                {
                    GuardedCopy.TryCompareExchange(word, seen, seen + 1, out ulong observed).ShouldBeTrue();
                    if (observed == seen)
                    {
                        break;
                    }

                    seen = observed;
                }
            }

            other.Join();
            (*word).ShouldBe(2ul * Turns);
        }
        finally
        {
            _ = Unmap(page, Page);
        }
    }

    [Fact]
    public void Faults_of_managed_code_are_still_exceptions()
    {
        byte local = 0;
        _ = GuardedCopy.TryCopy(&local, (void*)0x10, 1);
        object? nothing = local == 77 ? "" : null;
        for (int i = 0; i < 3; i++)
        {
            Should.Throw<NullReferenceException>(() => nothing!.GetHashCode());
            GuardedCopy.TryCopy(&local, (void*)0x10, 1).ShouldBeFalse();
        }
    }

    [Fact]
    public void A_thread_that_blocks_the_signal_of_a_fault_gets_its_answer_from_the_system()
    {
        bool available = true;
        Errno error = Errno.Success;
        Thread thread = new(() =>
        {
            ulong* mask = stackalloc ulong[16];
            new Span<ulong>(mask, 16).Clear();
            mask[0] = 1ul << 10;
            _ = SetMask(0, mask, null);
            byte value = 0;
            available = GuardedCopy.IsAvailable;
            error = new ProcessMemory().Read(0x10, new Span<byte>(ref value));
        });
        thread.Start();
        thread.Join();
        available.ShouldBeFalse();
        error.ShouldBe(Errno.BadAddress);
    }

    [Fact]
    public void DMA_to_pages_that_are_taken_away_and_protected_meanwhile_lands_or_is_reported_and_never_ends_the_program()
    {
        const int Turns = 1500;
        using EduDevice edu = new();
        using PciRig rig = new(edu);
        byte* pages = Map(2);
        rig.Container.Map(new((ulong)pages, 2 * Page), new(0x10000), Access.ReadWrite);
        bool stop = false;
        int landed = 0;
        int refused = 0;
        int wrong = 0;
        Thread[] devices = [.. Enumerable.Range(0, 3).Select(number => new Thread(() =>
        {
            byte[] buffer = new byte[number == 0 ? 8 : number == 1 ? 200 : 4096];
            while (!Volatile.Read(ref stop))
            {
                DmaStatusCount(rig.Endpoint.Write(new(0x10000), buffer));
                DmaStatusCount(rig.Endpoint.Read(new(0x10000), buffer));
                _ = Thread.Yield();
            }
        }))];
        Array.ForEach(devices, static device => device.Start());
        for (int i = 0; i < Turns || Volatile.Read(ref landed) == 0 || Volatile.Read(ref refused) == 0; i++)
        {
            // Taken away, but for nobody else to have: the runtime's own memory must not come here.
            _ = MapAt(pages, Page, 0, 0x32, -1, 0);
            _ = Thread.Yield();
            _ = MapAt(pages, Page, 3, 0x32, -1, 0);
            _ = Thread.Yield();
            _ = Protect(pages, Page, i & 1);
            _ = Protect(pages, Page, 3);
        }

        Volatile.Write(ref stop, true);
        Array.ForEach(devices, static device => device.Join());
        wrong.ShouldBe(0);
        rig.Container.Unmap(new(0x10000), 2 * Page);
        _ = Unmap(pages, 2 * Page);

        void DmaStatusCount(Platform.DmaStatus status)
        {
            _ = status switch
            {
                Platform.DmaStatus.Success => Interlocked.Increment(ref landed),
                Platform.DmaStatus.CompleterAbort => Interlocked.Increment(ref refused),
                _ => Interlocked.Increment(ref wrong),
            };
        }
    }

    private static byte* Map(nuint pages)
    {
        byte* memory = (byte*)MapAt(null, pages * Page, 3, 0x22, -1, 0);
        ((nint)memory).ShouldNotBe(-1);
        return memory;
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int CreateFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "close")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* MapAt(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Protect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetMask(int how, ulong* set, ulong* before);
}
