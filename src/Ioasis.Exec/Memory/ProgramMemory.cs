using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// The memory of one process of the program, from its start or its last exec to the next or to its end. Arguments of calls are copied with
/// the process's own rights; what a device does goes to the address space that was there when it was pinned, and to no later one.
/// Thread-safe. An address where nothing is gives an error, never a crash (invariant 7).
/// </summary>
/// <remarks>
/// A page is not held: if the program unmaps or replaces it, a device that still has it mapped finds nothing there (<see cref="MemoryCalls"/>).
/// </remarks>
internal sealed unsafe class ProgramMemory : IUserMemory, IDisposable
{
    private const ulong PageMask = 4095;
    private const ulong UserEnd = 1ul << 47;
    private const uint Query = 0xc068_6611;
    private const ulong Readable = 1;
    private const ulong Writable = 2;
    private const ulong SharedArea = 8;
    private const ulong OrNext = 0x10;
    private const int NameBytes = 16;

    private readonly int _memory;
    private readonly int _areas;
    private readonly ProgramPages _pages;
    private int _thread;
    private int _references = 1;

    // The machine is in the program's process, which needs no system call to be reached. What a copy does not find, the descriptor may: it has the
    // rights of a debugger, as pinned pages can be written whatever becomes of the program's own rights.
    private readonly bool _isOwn;

    private ProgramMemory(int thread, int memory, int areas, ProgramPages pages)
    {
        Process = thread;
        _thread = thread;
        _memory = memory;
        _areas = areas;
        _pages = pages;
        _isOwn = Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/self/task/{thread}"));
    }

    /// <summary>A thread of the process that lives: any will do, but the first one may be gone before the others.</summary>
    public int Thread
    {
        get => Volatile.Read(ref _thread);
        set => Volatile.Write(ref _thread, value);
    }

    /// <summary>The thread by which it was found first: the process's number, as a rule.</summary>
    public int Process { get; }

    /// <summary>Where its gibibytes with pinned pages are in <see cref="ProgramPages"/>, whose lock guards the list.</summary>
    public List<int> Places { get; } = [];

    /// <summary>Opens the memory that a process has now.</summary>
    /// <param name="thread">A thread of it.</param>
    /// <param name="pages">Where its pages get physical addresses.</param>
    /// <param name="memory">The memory.</param>
    public static Errno TryOpen(int thread, ProgramPages pages, out ProgramMemory? memory)
    {
        memory = null;
        string folder = "/proc/" + thread.ToString(CultureInfo.InvariantCulture);
        nint bytes = SystemCalls.Open(folder + "/mem", SystemCalls.OpenReadWrite | SystemCalls.OpenCloseOnExec);
        if (bytes < 0)
        {
            return SystemCalls.ToErrno(bytes);
        }

        nint areas = SystemCalls.Open(folder + "/maps", SystemCalls.OpenCloseOnExec);
        if (areas < 0)
        {
            _ = SystemCalls.Close((int)bytes);
            return SystemCalls.ToErrno(areas);
        }

        memory = new(thread, (int)bytes, (int)areas, pages);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public Errno Read(ulong userAddress, Span<byte> destination) =>
        SystemCalls.ReadProcess(Thread, userAddress, destination) == destination.Length ? Errno.Success : Errno.BadAddress;

    /// <inheritdoc/>
    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source) =>
        SystemCalls.WriteProcess(Thread, userAddress, source) == source.Length ? Errno.Success : Errno.BadAddress;

    /// <inheritdoc/>
    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = default;
        runLength = 0;
        if (userAddress >= UserEnd || length > UserEnd - userAddress)
        {
            return Errno.BadAddress;
        }

        if (_isOwn)
        {
            GuardedCopy.Recheck();
        }

        // Up to the end of a granule: the next one may lie elsewhere.
        length = Math.Min(length, ProgramPages.GranuleSize - (userAddress & (ProgramPages.GranuleSize - 1)));
        Errno error = Check(userAddress, length, writable);
        if (error == Errno.Success)
        {
            error = _pages.Pin(this, userAddress, length, out address);
        }

        runLength = error == Errno.Success ? length : 0;
        return error;
    }

    /// <summary>Finds the area at an address, or the next one above it.</summary>
    /// <returns>Whether there is one, and the system tells (from Linux 6.11 on).</returns>
    public bool TryFindArea(ulong address, out MemoryArea area)
    {
        byte* name = stackalloc byte[NameBytes];
        AreaQuery query = new()
        {
            Size = (ulong)sizeof(AreaQuery), QueryFlags = OrNext, Address = address, NameSize = NameBytes, Name = (ulong)name,
        };
        nint result = SystemCalls.Ioctl(_areas, Query, &query);
        if (result == -(int)Errno.NameTooLong)
        {
            query = new() { Size = (ulong)sizeof(AreaQuery), QueryFlags = OrNext, Address = address };
            result = SystemCalls.Ioctl(_areas, Query, &query);
        }

        bool isHeap = query.NameSize == 7 && new ReadOnlySpan<byte>(name, 6).SequenceEqual("[heap]"u8);
        area = new(query.Start, query.End, (query.Flags & SharedArea) != 0, isHeap);
        return result >= 0;
    }

    /// <summary>Finds the file that is mapped at an address.</summary>
    /// <param name="address">The address.</param>
    /// <param name="file">The file.</param>
    /// <param name="offset">Where in it.</param>
    public bool TryFindFile(ulong address, out FileIdentity file, out ulong offset)
    {
        AreaQuery query = new() { Size = (ulong)sizeof(AreaQuery), Address = address };
        bool found = SystemCalls.Ioctl(_areas, Query, &query) >= 0 && query.Start <= address && query.Inode != 0;
        file = new(MakeNumber(query.Major, query.Minor), query.Inode);
        offset = query.Offset + (address - query.Start);
        return found;
    }

    /// <inheritdoc/>
    public ulong CountBeforeDevice(ulong userAddress, ulong length)
    {
        ulong at = userAddress;
        while (length > 0 && at - userAddress < length)
        {
            AreaQuery query = new() { Size = (ulong)sizeof(AreaQuery), Address = at };
            if (SystemCalls.Ioctl(_areas, Query, &query) < 0 || query.Start > at)
            {
                break;
            }

            if (query.Inode != 0 && _pages.IsDevice(MakeNumber(query.Major, query.Minor), query.Inode))
            {
                return at - userAddress;
            }

            at = query.End;
        }

        return length;
    }

    /// <inheritdoc/>
    public void Unpin(PhysicalAddress address, ulong length) => _pages.Unpin(address, length);

    /// <summary>A device reads.</summary>
    public MemoryStatus ReadAsDevice(ulong address, Span<byte> destination) =>
        (_isOwn && GuardedCopy.TryRead(address, destination)) || SystemCalls.ReadAt(_memory, destination, address) == destination.Length
            ? MemoryStatus.Success
            : MemoryStatus.AccessFault;

    /// <summary>A device writes.</summary>
    public MemoryStatus WriteAsDevice(ulong address, ReadOnlySpan<byte> source) =>
        (_isOwn && GuardedCopy.TryWrite(address, source)) || SystemCalls.WriteAt(_memory, source, address) == source.Length
            ? MemoryStatus.Success
            : MemoryStatus.AccessFault;

    /// <summary>A device replaces 8 aligned bytes at once, if the memory is this process's own.</summary>
    /// <returns>Whether it was done; if not, nothing was.</returns>
    public bool TryCompareExchange(ulong address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        return _isOwn && GuardedCopy.TryCompareExchange((ulong*)address, expected, desired, out observed);
    }

    /// <summary>Pages of it are pinned: it is there until they are not any more.</summary>
    public void Reference() => Interlocked.Increment(ref _references);

    /// <summary>The process is gone, or pages are not pinned any more.</summary>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            _ = SystemCalls.Close(_memory);
            _ = SystemCalls.Close(_areas);
        }
    }

    // Every area of the range allows the access, and files are long enough.
    private Errno Check(ulong start, ulong length, bool writable)
    {
        ulong needed = Readable | (writable ? Writable : 0);
        ulong at = start & ~PageMask;
        ulong last = start + (length - 1);
        while (true)
        {
            AreaQuery query = new() { Size = (ulong)sizeof(AreaQuery), Address = at };
            nint result = SystemCalls.Ioctl(_areas, Query, &query);
            if (result == -(int)Errno.NotTypewriter)
            {
                // Before Linux 6.11.
                return CheckByTouching(start, length, writable);
            }

            if (result < 0 || query.Start > at || (query.Flags & needed) != needed)
            {
                return Errno.BadAddress;
            }

            // A device's registers need not be there as pages: a container of VFIO maps them too. A file's pages are there up to its end, so that
            // the last one speaks for those before it, which come when they are needed as other memory does.
            if (query.Inode != 0 && !_pages.IsDevice(MakeNumber(query.Major, query.Minor), query.Inode))
            {
                ulong end = Math.Min(query.End - 1, last);
                if (!Touch(end & ~PageMask, end))
                {
                    return Errno.BadAddress;
                }
            }

            if (last < query.End)
            {
                return Errno.Success;
            }

            at = query.End;
        }
    }

    private Errno CheckByTouching(ulong start, ulong length, bool writable)
    {
        ulong last = start + (length - 1);
        if (!Touch(start & ~PageMask, last))
        {
            return Errno.BadAddress;
        }

        // Whether it may be written nobody says without writing; the first byte is put back as it was.
        byte first = 0;
        return !writable || (Read(start, new(ref first)) == Errno.Success && Write(start, new(in first)) == Errno.Success)
            ? Errno.Success
            : Errno.BadAddress;
    }

    private bool Touch(ulong start, ulong last)
    {
        byte value = 0;
        for (ulong at = start; at <= last; at += PageMask + 1)
        {
            if (SystemCalls.ReadProcess(Thread, at, new(ref value)) != 1)
            {
                return false;
            }
        }

        return true;
    }

    // As stat(2) has it.
    private static ulong MakeNumber(uint major, uint minor) =>
        ((major & 0xffful) << 8) | (minor & 0xff) | ((minor & ~0xfful) << 12);

    // struct procmap_query.
    [StructLayout(LayoutKind.Explicit, Size = 104)]
    private struct AreaQuery
    {
        [FieldOffset(0)] public ulong Size;
        [FieldOffset(8)] public ulong QueryFlags;
        [FieldOffset(16)] public ulong Address;
        [FieldOffset(24)] public ulong Start;
        [FieldOffset(32)] public ulong End;
        [FieldOffset(40)] public ulong Flags;
        [FieldOffset(56)] public ulong Offset;
        [FieldOffset(64)] public ulong Inode;
        [FieldOffset(72)] public uint Major;
        [FieldOffset(76)] public uint Minor;
        [FieldOffset(80)] public uint NameSize;
        [FieldOffset(88)] public ulong Name;
    }
}

/// <summary>An area of a process's memory.</summary>
/// <param name="Start">First byte.</param>
/// <param name="End">Behind the last byte.</param>
/// <param name="IsShared">Whether its pages are those of a file or of shared memory, and come back when they are dropped.</param>
/// <param name="IsHeap">Whether it is what <c>brk</c> grows and shrinks.</param>
internal readonly record struct MemoryArea(ulong Start, ulong End, bool IsShared, bool IsHeap);
