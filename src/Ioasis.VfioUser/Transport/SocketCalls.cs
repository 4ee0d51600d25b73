using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>The calls of the C library that carry descriptors over UNIX sockets (unix(7), "SCM_RIGHTS"), and those on event counters. 64-bit Linux.</summary>
internal static unsafe partial class SocketCalls
{
    /// <summary>More descriptors than these in one message are cut off by the system, which then says so.</summary>
    public const int MostDescriptors = 64;

    /// <summary>EINTR.</summary>
    public const int Interrupted = 4;

    private const int SocketLevel = 1;
    private const int Rights = 1;
    private const int NoSignal = 0x4000;
    private const int CloseOnExec = 0x4000_0000;
    private const int ControlTruncated = 8;
    private const int ControlHeader = 16;
    private const short In = 1;
    private const short Out = 4;

    /// <summary>Waits until a socket can be read or its other end is gone.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="milliseconds">At most; -1 for as long as it takes.</param>
    /// <returns>Whether it is so.</returns>
    public static bool WaitToRead(SafeHandle socket, int milliseconds) => Poll(socket, In, milliseconds);

    /// <summary>Whether a descriptor can be written without waiting.</summary>
    public static bool CanWrite(SafeHandle descriptor) => Poll(descriptor, Out, 0);

    /// <summary>Reads what is there.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="destination">Not empty.</param>
    /// <param name="descriptors">What came beside it is added.</param>
    /// <param name="isCut">Whether there were more descriptors than <see cref="MostDescriptors"/>.</param>
    /// <returns>Bytes; 0 at the end; -1 for an error.</returns>
    public static int Receive(SafeSocketHandle socket, Span<byte> destination, ICollection<SafeFileHandle> descriptors, out bool isCut)
    {
        byte* control = stackalloc byte[ControlHeader + (MostDescriptors * sizeof(int))];
        fixed (byte* bytes = destination)
        {
            IoVector vector = new(bytes, (nuint)destination.Length);
            MessageVector message = new()
            {
                Vectors = &vector,
                VectorCount = 1,
                Control = control,
                ControlLength = ControlHeader + (MostDescriptors * sizeof(int)),
            };
            nint count;
            do
            {
                count = ReceiveMessage(socket, &message, CloseOnExec);
            }
            while (count < 0 && Marshal.GetLastPInvokeError() == Interrupted);
            isCut = count >= 0 && (message.Flags & ControlTruncated) != 0;
            if (count >= 0 && message.ControlLength >= ControlHeader)
            {
                Take(control, descriptors);
            }

            return (int)count;
        }
    }

    /// <summary>Sends two pieces one after the other, as far as they go, with descriptors.</summary>
    /// <returns>Bytes; -1 for an error.</returns>
    public static int Send(SafeSocketHandle socket, ReadOnlySpan<byte> head, ReadOnlySpan<byte> tail, ReadOnlySpan<int> descriptors)
    {
        byte* control = stackalloc byte[ControlHeader + (MostDescriptors * sizeof(int))];
        fixed (byte* first = head)
        fixed (byte* second = tail)
        {
            IoVector* vectors = stackalloc IoVector[2];
            vectors[0] = new(first, (nuint)head.Length);
            vectors[1] = new(second, (nuint)tail.Length);
            MessageVector message = new() { Vectors = vectors, VectorCount = 2 };
            if (!descriptors.IsEmpty)
            {
                int length = ControlHeader + (descriptors.Length * sizeof(int));
                *(nuint*)control = (nuint)length;
                ((int*)control)[2] = SocketLevel;
                ((int*)control)[3] = Rights;
                descriptors.CopyTo(new Span<int>(control + ControlHeader, descriptors.Length));
                message.Control = control;
                message.ControlLength = (nuint)((length + 7) & ~7);
            }

            nint count;
            do
            {
                count = SendMessage(socket, &message, NoSignal);
            }
            while (count < 0 && Marshal.GetLastPInvokeError() == Interrupted);
            return (int)count;
        }
    }

    /// <summary>Waits until at least one of some event counters has a count.</summary>
    /// <returns>The places of those that have.</returns>
    public static List<int> WaitForAny(params ReadOnlySpan<SafeFileHandle> counters) => WaitForAny(-1, counters);

    /// <summary>Waits until at least one of some event counters has a count, or for a time.</summary>
    /// <param name="milliseconds">At most; -1 for as long as it takes.</param>
    /// <param name="counters">The counters.</param>
    /// <returns>The places of those that have.</returns>
    public static List<int> WaitForAny(int milliseconds, params ReadOnlySpan<SafeFileHandle> counters)
    {
        PollEntry[] entries = new PollEntry[counters.Length];
        for (int i = 0; i < counters.Length; i++)
        {
            entries[i] = new() { Descriptor = (int)counters[i].DangerousGetHandle(), Events = In };
        }

        fixed (PollEntry* first = entries)
        {
            _ = Poll(first, entries.Length, milliseconds);
        }

        List<int> ready = [];
        for (int i = 0; i < entries.Length; i++)
        {
            if (entries[i].Ready != 0)
            {
                ready.Add(i);
            }

            GC.KeepAlive(counters[i]);
        }

        return ready;
    }

    /// <summary>Makes an event counter.</summary>
    public static SafeFileHandle CreateEvent()
    {
        const int CloseOnExecAndNonBlocking = 0x8_0800;
        return EventFd(0, CloseOnExecAndNonBlocking);
    }

    /// <summary>Adds 1 to an event counter.</summary>
    public static void Signal(SafeFileHandle counter)
    {
        ulong one = 1;
        while (Write(counter, &one, sizeof(ulong)) < 0 && Marshal.GetLastPInvokeError() == Interrupted)
        {
        }
    }

    /// <summary>Takes the count of an event counter.</summary>
    /// <returns>The count; 0 if there is none and it does not block.</returns>
    public static ulong TakeCount(SafeFileHandle counter)
    {
        ulong count = 0;
        return Read(counter, &count, sizeof(ulong)) == sizeof(ulong) ? count : 0;
    }

    /// <summary>Takes the count of an event counter without ever waiting, whatever its own flags are.</summary>
    /// <returns>The count; 0 if there is none.</returns>
    public static ulong TakeCountNow(SafeFileHandle counter)
    {
        const long FromWhereItIs = -1;
        const int NoWait = 8;
        ulong count = 0;
        IoVector vector = new(&count, sizeof(ulong));
        return ReadVectors(counter, &vector, 1, FromWhereItIs, NoWait) == sizeof(ulong) ? count : 0;
    }

    private static void Take(byte* control, ICollection<SafeFileHandle> descriptors)
    {
        if (((int*)control)[2] != SocketLevel || ((int*)control)[3] != Rights)
        {
            return;
        }

        int count = ((int)*(nuint*)control - ControlHeader) / sizeof(int);
        for (int i = 0; i < Math.Min(count, MostDescriptors); i++)
        {
            descriptors.Add(new(((int*)(control + ControlHeader))[i], ownsHandle: true));
        }
    }

    private static bool Poll(SafeHandle descriptor, short events, int milliseconds)
    {
        bool added = false;
        try
        {
            descriptor.DangerousAddRef(ref added);
            PollEntry entry = new() { Descriptor = (int)descriptor.DangerousGetHandle(), Events = events };
            return Poll(&entry, 1, milliseconds) > 0;
        }
        finally
        {
            if (added)
            {
                descriptor.DangerousRelease();
            }
        }
    }

    private static int Poll(PollEntry* entries, int length, int milliseconds)
    {
        int count;
        do
        {
            count = PollDescriptors(entries, (nuint)length, milliseconds);
        }
        while (count < 0 && Marshal.GetLastPInvokeError() == Interrupted);
        return count;
    }

    [LibraryImport("libc", EntryPoint = "recvmsg", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ReceiveMessage(SafeSocketHandle socket, MessageVector* message, int flags);

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SendMessage(SafeSocketHandle socket, MessageVector* message, int flags);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int PollDescriptors(PollEntry* entries, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle EventFd(uint count, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Read(SafeFileHandle descriptor, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ReadVectors(SafeFileHandle descriptor, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Write(SafeFileHandle descriptor, void* buffer, nuint length);

    private readonly struct IoVector(void* start, nuint length)
    {
        public readonly void* Start = start;
        public readonly nuint Length = length;
    }

    // struct msghdr.
    [StructLayout(LayoutKind.Sequential)]
    private struct MessageVector
    {
        public void* Name;
        public uint NameLength;
        public IoVector* Vectors;
        public nuint VectorCount;
        public byte* Control;
        public nuint ControlLength;
        public int Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PollEntry
    {
        public int Descriptor;
        public short Events;
        public short Ready;
    }
}
