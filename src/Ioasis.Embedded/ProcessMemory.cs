using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// This process's own memory by address, accessed so that an address where nothing is gives an error and not a crash (invariant 7): by copies whose
/// faults are caught (<see cref="GuardedCopy"/>), and through the operating system where they cannot be. Linux only.
/// </summary>
internal sealed unsafe partial class ProcessMemory
{
    private const int PopulateRead = 22;
    private const int PopulateWrite = 23;
    private const ulong PageMask = 4095;

    // Below, faulting pages in costs no more than asking the system about them.
    private const ulong LeastToAsk = 16 * (PageMask + 1);

    private readonly ProcessAreas _areas = ProcessAreas.Instance;
    private readonly int _process = Environment.ProcessId;
    private readonly bool _canPopulate;

    /// <summary>Prepares access.</summary>
    /// <exception cref="PlatformNotSupportedException">It is not Linux, or the system forbids a process to read itself so.</exception>
    public ProcessMemory()
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new PlatformNotSupportedException(
                "Mapping this process's own memory needs Linux; elsewhere give the platform a UserMemory.");
        }

        ulong probe = 0;
        if (Read((ulong)&probe, new Span<byte>(&probe, 1)) != Errno.Success)
        {
            throw new PlatformNotSupportedException("process_vm_readv on this process itself is not permitted here.");
        }

        // Before Linux 5.14 there is no such advice; its error is that of memory which forbids the access.
        _canPopulate = MemoryAdvise((void*)((ulong)&probe & ~PageMask), (nuint)PageMask + 1, PopulateWrite) == 0;
    }

    /// <summary>Copies from an address.</summary>
    public Errno Read(ulong address, Span<byte> destination)
    {
        // What it does not find the system does not find either, but the system has the last word.
        return GuardedCopy.TryRead(address, destination) ? Errno.Success : ReadBySystem(address, destination);
    }

    /// <summary>Copies to an address.</summary>
    public Errno Write(ulong address, ReadOnlySpan<byte> source) =>
        GuardedCopy.TryWrite(address, source) ? Errno.Success : WriteBySystem(address, source);

    // Not inlined: whoever calls the system prepares for it at its beginning, which costs more than a short copy.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private Errno ReadBySystem(ulong address, Span<byte> destination)
    {
        fixed (byte* buffer = destination)
        {
            IoVector local = new(buffer, (nuint)destination.Length);
            IoVector remote = new((void*)address, (nuint)destination.Length);
            return destination.Length == 0 || ProcessVmReadV(_process, &local, 1, &remote, 1, 0) == destination.Length
                ? Errno.Success
                : Errno.BadAddress;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Errno WriteBySystem(ulong address, ReadOnlySpan<byte> source)
    {
        fixed (byte* buffer = source)
        {
            IoVector local = new(buffer, (nuint)source.Length);
            IoVector remote = new((void*)address, (nuint)source.Length);
            return source.Length == 0 || ProcessVmWriteV(_process, &local, 1, &remote, 1, 0) == source.Length
                ? Errno.Success
                : Errno.BadAddress;
        }
    }

    /// <summary>
    /// Makes sure that a range is there and can be accessed, as pinning does. Pages of a few, of files and of shared memory are
    /// faulted in (or where the system cannot do that, touched); of large anonymous areas it is enough that the system knows
    /// them, for whoever accesses them faults them in.
    /// </summary>
    public Errno Populate(ulong address, ulong length, bool writable)
    {
        GuardedCopy.Recheck();
        ulong start = address & ~PageMask;
        ulong last = address + (length - 1);
        if (last < address)
        {
            return Errno.BadAddress;
        }

        ulong bytes = (last | PageMask) - start + 1;
        while (bytes >= LeastToAsk && _areas.TryFindAnonymous(start, writable, out ulong end))
        {
            if (end - start >= bytes)
            {
                return Errno.Success;
            }

            bytes -= end - start;
            start = end;
        }

        if (!_canPopulate)
        {
            return Touch(start, bytes);
        }

        return MemoryAdvise((void*)start, (nuint)bytes, writable ? PopulateWrite : PopulateRead) == 0
            ? Errno.Success
            : Errno.BadAddress;
    }

    /// <summary>Replaces 8 aligned bytes at once, if that can be done here without the system's help.</summary>
    /// <returns>Whether it was done; if not, nothing was.</returns>
    public static bool TryCompareExchange(ulong address, ulong expected, ulong desired, out ulong observed) =>
        GuardedCopy.TryCompareExchange((ulong*)address, expected, desired, out observed);

    private Errno Touch(ulong start, ulong bytes)
    {
        byte value = 0;
        for (ulong offset = 0; offset < bytes; offset += PageMask + 1)
        {
            if (Read(start + offset, new Span<byte>(ref value)) != Errno.Success)
            {
                return Errno.BadAddress;
            }
        }

        return Errno.Success;
    }

    [LibraryImport("libc", EntryPoint = "process_vm_readv")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ProcessVmReadV(
        int process, IoVector* local, nuint localCount, IoVector* remote, nuint remoteCount, nuint flags);

    [LibraryImport("libc", EntryPoint = "process_vm_writev")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ProcessVmWriteV(
        int process, IoVector* local, nuint localCount, IoVector* remote, nuint remoteCount, nuint flags);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int MemoryAdvise(void* address, nuint length, int advice);

    private readonly struct IoVector(void* start, nuint length)
    {
        public readonly void* Start = start;
        public readonly nuint Length = length;
    }
}
