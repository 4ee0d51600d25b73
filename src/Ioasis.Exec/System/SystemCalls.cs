using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// System calls of this machine's Linux, by number: what the C library does not wrap, and what must not depend on how it wraps. Results
/// are those of the kernel: 0 or more, or <c>-errno</c>. Numbers are x86-64's; another architecture adds a table beside this one.
/// </summary>
internal static unsafe partial class SystemCalls
{
    public const int SizeOfStat = 144;
    public const int SizeOfStatx = 256;
    public const int AtFdCwd = -100;
    public const int AtSymlinkNoFollow = 0x100;
    public const int AtEmptyPath = 0x1000;
    public const int OpenReadWrite = 2;
    public const int OpenNoFollow = 0x20000;
    public const int OpenDirectory = 0x10000;
    public const int OpenCloseOnExec = 0x80000;
    public const int OpenPath = 0x200000;
    public const int OpenTemporary = 0x410000;
    public const int OpenNonBlocking = 0x800;
    public const ulong ResolveInRoot = 0x10;

    private const nint NrRead = 0;
    private const nint NrWrite = 1;
    private const nint NrClose = 3;
    private const nint NrPoll = 7;
    private const nint NrSeek = 8;
    private const nint NrMap = 9;
    private const nint NrUnmap = 11;
    private const nint NrIoctl = 16;
    private const nint NrReadAt = 17;
    private const nint NrWriteAt = 18;
    private const nint NrSendTo = 44;
    private const nint NrReceiveFrom = 45;
    private const nint NrShutdown = 48;
    private const nint NrSocketPair = 53;
    private const nint NrWait = 61;
    private const nint NrKill = 62;
    private const nint NrTrace = 101;
    private const nint NrGetThread = 186;
    private const nint NrKillThread = 234;
    private const nint NrControl = 72;
    private const nint NrTruncate = 77;
    private const nint NrPrctl = 157;
    private const nint NrOpenAt = 257;
    private const nint NrStatAt = 262;
    private const nint NrReadLinkAt = 267;
    private const nint NrAccessAt = 439;
    private const nint NrInotifyAdd = 254;
    private const nint NrInotifyRemove = 255;
    private const nint NrInotifyInit = 294;
    private const nint NrProcessRead = 310;
    private const nint NrProcessWrite = 311;
    private const nint NrSeccomp = 317;
    private const nint NrReadAtFlags = 327;
    private const nint NrStatx = 332;
    private const nint NrEventFd = 290;
    private const nint NrEpollWait = 232;
    private const nint NrEpollControl = 233;
    private const nint NrEpollCreate = 291;
    private const nint NrPidFdOpen = 434;
    private const nint NrOpenAt2 = 437;
    private const nint NrPidFdGet = 438;

    public static nint Read(int fd, Span<byte> buffer)
    {
        fixed (byte* bytes = buffer)
        {
            return Call(NrRead, fd, (nint)bytes, buffer.Length);
        }
    }

    public static nint Write(int fd, ReadOnlySpan<byte> buffer)
    {
        fixed (byte* bytes = buffer)
        {
            return Call(NrWrite, fd, (nint)bytes, buffer.Length);
        }
    }

    /// <summary>Writes to a socket whose other end may be closed.</summary>
    public static nint Send(int socket, ReadOnlySpan<byte> buffer)
    {
        const int NoSignal = 0x4000;
        fixed (byte* bytes = buffer)
        {
            return Call(NrSendTo, socket, (nint)bytes, buffer.Length, NoSignal);
        }
    }

    /// <summary>Takes what lies in a socket, without waiting.</summary>
    public static nint Receive(int socket, Span<byte> buffer)
    {
        const int DoNotWait = 0x40;
        fixed (byte* bytes = buffer)
        {
            return Call(NrReceiveFrom, socket, (nint)bytes, buffer.Length, DoNotWait);
        }
    }

    /// <summary>Ends a socket both ways; who waits looks up.</summary>
    public static nint Shutdown(int socket) => Call(NrShutdown, socket, 2);

    /// <summary>Memory of what was sent and not read yet; 0 when all was read.</summary>
    public static int CountUnread(int socket)
    {
        const uint OutQueue = 0x5411;
        int bytes = 0;
        return Ioctl(socket, OutQueue, &bytes) < 0 ? 0 : bytes;
    }

    public const uint EpollOut = 4;
    public const uint EpollEdge = 1u << 31;

    public static nint EpollCreate() => Call(NrEpollCreate, OpenCloseOnExec);

    public static nint EpollAdd(int set, int fd, uint events)
    {
        EpollEvent wanted = new() { Events = events };
        return Call(NrEpollControl, set, 1, fd, (nint)(&wanted));
    }

    /// <summary>Waits for one change.</summary>
    /// <returns>What there is; 0 if a signal came.</returns>
    public static uint EpollWait(int set)
    {
        EpollEvent found = default;
        return Call(NrEpollWait, set, (nint)(&found), 1, -1) > 0 ? found.Events : 0;
    }

    public static nint ReadAt(int fd, Span<byte> buffer, ulong offset)
    {
        fixed (byte* bytes = buffer)
        {
            return Call(NrReadAt, fd, (nint)bytes, buffer.Length, (nint)offset);
        }
    }

    public static nint WriteAt(int fd, ReadOnlySpan<byte> buffer, ulong offset)
    {
        fixed (byte* bytes = buffer)
        {
            return Call(NrWriteAt, fd, (nint)bytes, buffer.Length, (nint)offset);
        }
    }

    /// <summary>Reads a counter without ever waiting, whatever its own flags are.</summary>
    public static nint ReadNow(int fd, ref ulong value)
    {
        fixed (ulong* bytes = &value)
        {
            IoVector vector = new(bytes, sizeof(ulong));
            return Call(NrReadAtFlags, fd, (nint)(&vector), 1, -1, -1, 8);
        }
    }

    public static nint Close(int fd) => Call(NrClose, fd);

    public static nint Seek(int fd, long offset, int whence) => Call(NrSeek, fd, (nint)offset, whence);

    public static nint Ioctl(int fd, uint request, void* argument) => Call(NrIoctl, fd, (nint)request, (nint)argument);

    public static nint Control(int fd, int command, nint argument = 0) => Call(NrControl, fd, command, argument);

    public static nint Truncate(int fd, long length) => Call(NrTruncate, fd, (nint)length);

    public static nint Kill(int process, int signal) => Call(NrKill, process, signal);

    /// <summary>Waits for a child or a traced thread.</summary>
    public static nint Wait(int process, int* status, int options) => Call(NrWait, process, (nint)status, options, 0);

    public static nint Trace(int request, int thread, nint address, nint data) => Call(NrTrace, request, thread, address, data);

    public static nint GetThread() => Call(NrGetThread, 0);

    public static nint KillThread(int process, int thread, int signal) => Call(NrKillThread, process, thread, signal);

    public static nint Prctl(int option, nint argument) => Call(NrPrctl, option, argument);

    public static nint Map(nuint length, int protection, int flags, int fd, long offset, nint address = 0) =>
        Call(NrMap, address, (nint)length, protection, flags, fd, (nint)offset);

    public static nint Unmap(nint address, nuint length) => Call(NrUnmap, address, (nint)length);

    public static nint EventFd(uint value, int flags) => Call(NrEventFd, (nint)value, flags);

    public static nint SocketPair(int* pair) => Call(NrSocketPair, 1, 1 | OpenCloseOnExec, 0, (nint)pair);

    /// <summary>Polls one descriptor.</summary>
    public static short Poll(int fd, short events, int milliseconds)
    {
        PollEntry entry = new() { Descriptor = fd, Events = events };
        return Call(NrPoll, (nint)(&entry), 1, milliseconds) > 0 ? entry.Ready : (short)0;
    }

    public static nint PollMany(Span<PollEntry> entries, int milliseconds)
    {
        fixed (PollEntry* first = entries)
        {
            return Call(NrPoll, (nint)first, entries.Length, milliseconds);
        }
    }

    public static nint Open(int folder, byte* path, int flags, int mode = 0) => Call(NrOpenAt, folder, (nint)path, flags, mode);

    public static nint Open(string path, int flags, int mode = 0)
    {
        fixed (byte* name = ToPath(path))
        {
            return Open(AtFdCwd, name, flags, mode);
        }
    }

    /// <summary>Opens below a folder as if that were the root.</summary>
    public static nint OpenBelow(int root, byte* path, ulong flags, ulong mode)
    {
        ulong* how = stackalloc ulong[3];
        how[0] = flags;
        how[1] = mode;
        how[2] = ResolveInRoot;
        return Call(NrOpenAt2, root, (nint)path, (nint)how, 24);
    }

    public static nint Stat(int folder, byte* path, byte* stat, int flags) =>
        Call(NrStatAt, folder, (nint)path, (nint)stat, flags);

    public static nint Statx(int folder, byte* path, int flags, uint mask, byte* stat) =>
        Call(NrStatx, folder, (nint)path, flags, (nint)mask, (nint)stat);

    public static nint Access(int folder, byte* path, int mode, int flags) => Call(NrAccessAt, folder, (nint)path, mode, flags);

    public static nint ReadLink(int folder, byte* path, Span<byte> target)
    {
        fixed (byte* bytes = target)
        {
            return Call(NrReadLinkAt, folder, (nint)path, (nint)bytes, target.Length);
        }
    }

    public static nint InotifyInit() => Call(NrInotifyInit, OpenNonBlocking | OpenCloseOnExec);

    public static nint InotifyAdd(int inotify, byte* path, uint mask) => Call(NrInotifyAdd, inotify, (nint)path, (nint)mask);

    public static nint InotifyRemove(int inotify, int watch) => Call(NrInotifyRemove, inotify, watch);

    public static nint PidFdOpen(int process, uint flags) => Call(NrPidFdOpen, process, (nint)flags);

    public static nint PidFdGet(int pidFd, int fd) => Call(NrPidFdGet, pidFd, fd);

    public static nint Seccomp(uint operation, uint flags, void* argument) =>
        Call(NrSeccomp, (nint)operation, (nint)flags, (nint)argument);

    /// <summary>Copies from another process, as far as its pages go.</summary>
    /// <returns>Bytes, or <c>-errno</c> if there is not even one.</returns>
    public static nint ReadProcess(int process, ulong address, Span<byte> destination) =>
        Transfer(NrProcessRead, process, address, destination);

    /// <summary>Copies to another process, as far as its pages go.</summary>
    /// <returns>Bytes, or <c>-errno</c> if there is not even one.</returns>
    public static nint WriteProcess(int process, ulong address, ReadOnlySpan<byte> source) =>
        Transfer(NrProcessWrite, process, address, source);

    /// <summary>A path as the kernel takes it.</summary>
    public static byte[] ToPath(string path) => [.. global::System.Text.Encoding.UTF8.GetBytes(path), 0];

    /// <summary>The error of a result.</summary>
    public static Errno ToErrno(nint result) =>
        result >= 0 ? Errno.Success : Enum.IsDefined((Errno)(-(int)result)) ? (Errno)(-(int)result) : Errno.IoError;

    // One vector a page: where one is missing, those before it are copied.
    private static nint Transfer(nint number, int process, ulong address, ReadOnlySpan<byte> bytes)
    {
        const int Page = 4096;
        const int Vectors = 64;
        if (bytes.Length == 0)
        {
            return 0;
        }

        IoVector* remote = stackalloc IoVector[Vectors];
        fixed (byte* local = bytes)
        {
            int done = 0;
            while (done < bytes.Length)
            {
                int count = 0;
                int length = 0;
                while (count < Vectors && done + length < bytes.Length)
                {
                    ulong at = address + (ulong)(done + length);
                    int part = Math.Min(bytes.Length - done - length, Page - (int)(at & (Page - 1)));
                    remote[count++] = new((void*)at, (nuint)part);
                    length += part;
                }

                IoVector whole = new(local + done, (nuint)length);
                nint result = Call(number, process, (nint)(&whole), 1, (nint)remote, count, 0);
                if (result < 0)
                {
                    return done > 0 ? done : result;
                }

                done += (int)result;
                if (result < length)
                {
                    return done;
                }
            }

            return done;
        }
    }

    private static nint Call(nint number, nint a, nint b = 0, nint c = 0, nint d = 0, nint e = 0, nint f = 0)
    {
        nint result = Raw(number, a, b, c, d, e, f);
        return result == -1 ? -Marshal.GetLastPInvokeError() : result;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Raw(nint number, nint a, nint b, nint c, nint d, nint e, nint f);

    [StructLayout(LayoutKind.Sequential, Pack = 4)]
    private struct EpollEvent
    {
        public uint Events;
        public ulong Data;
    }

    public struct PollEntry
    {
        public int Descriptor;
        public short Events;
        public short Ready;
    }

    private readonly struct IoVector(void* start, nuint length)
    {
        public readonly void* Start = start;
        public readonly nuint Length = length;
    }
}
