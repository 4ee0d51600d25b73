using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>A call that waits for its answer, and what can be asked and done about the process that made it.</summary>
internal readonly unsafe ref struct Caller(
    in Notification notification, ICallSource source, Processes processes, HandleTable handles)
{
    private readonly Notification _notification = notification;

    /// <summary>The call.</summary>
    public Notification Call => _notification;

    /// <summary>The thread that made it.</summary>
    public int Thread => _notification.Thread;

    /// <summary>The open files of our kernel.</summary>
    public HandleTable Handles => handles;

    /// <summary>The processes.</summary>
    public Processes Processes => processes;

    /// <summary>Whether the thread still waits: what was read of it was its own.</summary>
    public bool IsValid => source.IsValid(_notification.Id);

    /// <summary>Finds the process.</summary>
    public Errno FindProcess(out ProgramProcess? process) => processes.Find(_notification.Thread, out process);

    /// <summary>Finds what a descriptor of the process is.</summary>
    /// <returns>Whether there is such a descriptor.</returns>
    public bool TryIdentify(int descriptor, out FileIdentity identity) => source.TryIdentify(Thread, descriptor, out identity);

    /// <summary>Finds the handle behind a descriptor of the process.</summary>
    public Handle? FindHandle(int descriptor) =>
        !handles.IsEmpty && TryIdentify(descriptor, out FileIdentity identity) ? handles.Find(identity) : null;

    /// <summary>What a link of the process's descriptors, or of itself, points to.</summary>
    /// <param name="name">Below <c>/proc/THREAD/</c>.</param>
    /// <param name="target">Where the answer goes.</param>
    /// <returns>Bytes, or <c>-errno</c>.</returns>
    public nint ReadProcLink(string name, Span<byte> target)
    {
        fixed (byte* path = SystemCalls.ToPath(string.Create(CultureInfo.InvariantCulture, $"/proc/{Thread}/{name}")))
        {
            return SystemCalls.ReadLink(SystemCalls.AtFdCwd, path, target);
        }
    }

    /// <summary>Whether a descriptor of the process is an event counter.</summary>
    public bool IsCounter(int descriptor)
    {
        Span<byte> target = stackalloc byte[64];
        nint length = ReadProcLink(string.Create(CultureInfo.InvariantCulture, $"fd/{descriptor}"), target);
        return length > 0 && target[..(int)length].SequenceEqual("anon_inode:[eventfd]"u8);
    }

    /// <summary>Copies a descriptor of the process into this one.</summary>
    /// <returns>The descriptor here, or <c>-errno</c>.</returns>
    public static nint TakeDescriptor(ProgramProcess process, int descriptor) => SystemCalls.PidFdGet(process.PidFd, descriptor);

    /// <summary>Copies from the caller's memory, as far as it goes.</summary>
    public nint Read(ulong address, Span<byte> destination) => SystemCalls.ReadProcess(Thread, address, destination);

    /// <summary>Copies to the caller's memory.</summary>
    public Errno Write(ulong address, ReadOnlySpan<byte> source1) =>
        SystemCalls.WriteProcess(Thread, address, source1) == source1.Length ? Errno.Success : Errno.BadAddress;

    /// <summary>
    /// Gives the process a descriptor, and closes it here before the process goes on: only then is a close there the last one.
    /// </summary>
    /// <returns>The descriptor there, or <c>-errno</c>.</returns>
    public nint Give(int descriptor, bool closeOnExec) => source.Give(_notification.Id, descriptor, closeOnExec);
}
