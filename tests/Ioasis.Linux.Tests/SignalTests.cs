using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Linux.Tests;

/// <summary>Calls that signals interrupt, and descriptors of calls that fail.</summary>
[Collection(nameof(SignalTests))]
[CollectionDefinition(nameof(SignalTests), DisableParallelization = true)]
public sealed partial class SignalTests
{
    private const int SignalContinue = 18;
    private const int SignalFileSize = 25;
    private const int LimitFileSize = 1;
    private const int Timeout = 400;
    private const int Rounds = 400;

    // Signals come every 10 ms for ten times the timeout: a wait that they end is too short, one that they lengthen ends after them.
    [Fact]
    public void A_signal_neither_ends_a_poll_nor_lengthens_it()
    {
        IKernelAbi kernel = LinuxKernelAbi.Instance;
        int fd = kernel.CreateEvent(0, EventFlags.NonBlocking);
        int thread = 0;
        int result = -1;
        long milliseconds = 0;
        bool isDone = false;
        Thread waiter = new(() =>
        {
            Volatile.Write(ref thread, GetThreadId());
            long start = Stopwatch.GetTimestamp();
            result = kernel.Poll(fd, PollEvents.In, Timeout, out _);
            milliseconds = (long)Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            Volatile.Write(ref isDone, true);
        });
        waiter.Start();
        SpinWait.SpinUntil(() => Volatile.Read(ref thread) != 0);
        int sent = 0;
        while (!Volatile.Read(ref isDone) && sent < Rounds)
        {
            _ = SendSignal(Environment.ProcessId, thread, SignalContinue);
            sent++;
            Thread.Sleep(10);
        }

        bool wasDone = Volatile.Read(ref isDone);
        waiter.Join();
        kernel.Close(fd).ShouldBe(0);
        wasDone.ShouldBeTrue("the poll went on as long as signals came");
        sent.ShouldBeGreaterThan(1);
        result.ShouldBe(0);
        milliseconds.ShouldBeGreaterThanOrEqualTo(Timeout - 1);
    }

    [Fact]
    public void Memory_that_cannot_have_its_size_leaves_no_descriptor()
    {
        // The system refuses files above a limit of this process, by an error if the signal is ignored.
        _ = SetSignal(SignalFileSize, 1);
        GetLimit(LimitFileSize, out FileLimit old).ShouldBe(0);
        FileLimit small = old with { Soft = 4096 };
        SetLimit(LimitFileSize, small).ShouldBe(0);
        int result;
        try
        {
            result = LinuxKernelAbi.Instance.CreateMemory("ioasis-too-large", 8192);
        }
        finally
        {
            SetLimit(LimitFileSize, old).ShouldBe(0);
        }

        result.ShouldBe(-27, "EFBIG");
        CountMemories().ShouldBe(0);
    }

    private static int CountMemories() => Directory.EnumerateFileSystemEntries("/proc/self/fd")
        .Count(static entry => new FileInfo(entry).LinkTarget?.Contains("ioasis-too-large", StringComparison.Ordinal) ?? false);

    private readonly record struct FileLimit(ulong Soft, ulong Hard);

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetLimit(int resource, out FileLimit limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetLimit(int resource, in FileLimit limit);

    [LibraryImport("libc", EntryPoint = "signal")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SetSignal(int signal, nint action);

    [LibraryImport("libc", EntryPoint = "gettid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetThreadId();

    [LibraryImport("libc", EntryPoint = "tgkill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SendSignal(int process, int thread, int signal);
}
