using System.Globalization;
using System.Runtime.InteropServices;

namespace Ioasis.Exec;

/// <summary>Where a call comes from, and what gets its answer.</summary>
internal interface ICallSource
{
    /// <summary>Whether the caller still waits: what was read of its thread until now was read of that thread.</summary>
    bool IsValid(ulong id);

    /// <summary>
    /// Gives the caller a descriptor, and closes it here before the caller goes on: only then is a close there the last one. An answer the
    /// caller needs all the same.
    /// </summary>
    /// <returns>The descriptor there, or <c>-errno</c>.</returns>
    nint Give(ulong id, int descriptor, bool closeOnExec);

    /// <summary>What a descriptor of the caller is.</summary>
    /// <returns>Whether there is such a descriptor.</returns>
    bool TryIdentify(int thread, int descriptor, out FileIdentity identity);
}

/// <summary>The descriptor by which the kernel tells of system calls that a filter gave to us, and takes the answers. Thread-safe.</summary>
internal sealed unsafe class NotificationSource(int fd) : ICallSource, IDisposable
{
    private const uint Receive = 0xc050_2100;
    private const uint Send = 0xc018_2101;
    private const uint IsStillThere = 0x4008_2102;
    private const uint AddDescriptor = 0x4018_2103;
    private const uint SetFlags = 0x4008_2104;
    private const uint Continue = 1;

    /// <summary>The descriptor.</summary>
    public int Descriptor => fd;

    /// <summary>Has the kernel wake the caller on the same processor, which is far faster.</summary>
    /// <returns>Whether it can: from Linux 6.6 on, where <see cref="Take"/> also ends when nobody is left.</returns>
    public bool UseSynchronousWakeUp() => SystemCalls.Ioctl(fd, SetFlags, (void*)1) == 0;

    /// <summary>Waits for a call.</summary>
    /// <returns>0, or <c>-errno</c>.</returns>
    public nint Take(out Notification notification)
    {
        Notification taken = default;
        nint result = SystemCalls.Ioctl(fd, Receive, &taken);
        notification = taken;
        return result;
    }

    /// <inheritdoc/>
    public bool IsValid(ulong id) => SystemCalls.Ioctl(fd, IsStillThere, &id) == 0;

    /// <summary>Answers.</summary>
    /// <returns>Whether the caller still waited: one that died meanwhile needs no answer.</returns>
    public bool TryReply(ulong id, in Answer answer)
    {
        Response response = new() { Id = id };
        if (answer.Kind == AnswerKind.Continue)
        {
            response.Flags = Continue;
        }
        else if (answer.Value < 0)
        {
            response.Error = (int)answer.Value;
        }
        else
        {
            response.Value = answer.Value;
        }

        return SystemCalls.Ioctl(fd, Send, &response) == 0;
    }

    /// <inheritdoc/>
    public nint Give(ulong id, int descriptor, bool closeOnExec)
    {
        Addition addition = new()
        {
            Id = id,
            Source = descriptor,
            NewFlags = closeOnExec ? (uint)SystemCalls.OpenCloseOnExec : 0,
        };
        nint result = SystemCalls.Ioctl(fd, AddDescriptor, &addition);
        _ = SystemCalls.Close(descriptor);
        return result;
    }

    /// <inheritdoc/>
    public bool TryIdentify(int thread, int descriptor, out FileIdentity identity)
    {
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        byte* path = stackalloc byte[64];
        WriteDescriptorPath(path, thread, descriptor);
        identity = default;
        if (descriptor < 0 || SystemCalls.Stat(SystemCalls.AtFdCwd, path, stat, 0) < 0)
        {
            return false;
        }

        identity = new(*(ulong*)stat, *(ulong*)(stat + 8));
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _ = SystemCalls.Close(fd);

    // "/proc/THREAD/fd/N", without an allocation: every call of ours begins with it.
    private static void WriteDescriptorPath(byte* path, int thread, int descriptor)
    {
        Span<byte> text = new(path, 64);
        "/proc/"u8.CopyTo(text);
        int length = 6;
        _ = thread.TryFormat(text[length..], out int digits, provider: CultureInfo.InvariantCulture);
        length += digits;
        "/fd/"u8.CopyTo(text[length..]);
        length += 4;
        _ = descriptor.TryFormat(text[length..], out digits, provider: CultureInfo.InvariantCulture);
        text[length + digits] = 0;
    }

    [StructLayout(LayoutKind.Explicit, Size = 24)]
    private struct Response
    {
        [FieldOffset(0)] public ulong Id;
        [FieldOffset(8)] public long Value;
        [FieldOffset(16)] public int Error;
        [FieldOffset(20)] public uint Flags;
    }

    [StructLayout(LayoutKind.Explicit, Size = 24)]
    private struct Addition
    {
        [FieldOffset(0)] public ulong Id;
        [FieldOffset(8)] public uint Flags;
        [FieldOffset(12)] public int Source;
        [FieldOffset(16)] public uint NewDescriptor;
        [FieldOffset(20)] public uint NewFlags;
    }
}
