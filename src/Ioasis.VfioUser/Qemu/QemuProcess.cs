using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// A QEMU whose only task is one device, with a socket to it. It ends when the socket is closed, and so with this process, however that dies. It is no child of
/// this process, for <c>ioasis exec</c> waits for all children to end.
/// </summary>
internal sealed partial class QemuProcess : IDisposable
{
    private const int UnixFamily = 1;
    private const int StreamCloseOnExec = 0x8_0001;
    private const int DuplicateFrom = 0;
    private const int Killed = 9;
    private const int LinesToKeep = 20;
    private const int PatienceMilliseconds = 60_000;
    private const int StartMilliseconds = 300_000;
    private const int LookMilliseconds = 100;

    // A descriptor that a child shall have is in this process for the time of the start: another child must not get it.
    private static readonly Lock s_starts = new();

    private readonly Queue<string> _lines = new();
    private readonly SafeSocketHandle _monitor;
    private readonly SafeFileHandle _process;
    private readonly StreamReader _errors;
    private readonly Thread _listener;

    private QemuProcess(SafeSocketHandle socket, SafeSocketHandle monitor, SafeFileHandle process, StreamReader errors)
    {
        Socket = socket;
        _monitor = monitor;
        _process = process;
        _errors = errors;
        _listener = new(Listen) { IsBackground = true, Name = "qemu errors" };
        _listener.Start();
    }

    /// <summary>The end of the socket that is ours.</summary>
    public SafeSocketHandle Socket { get; }

    /// <summary>Whether it has ended.</summary>
    public bool HasEnded => SocketCalls.WaitToRead(_process, 0);

    /// <summary>What it said last; what it says before it ends is waited for.</summary>
    public string Said
    {
        get
        {
            _ = _listener.Join(PatienceMilliseconds);
            lock (_lines)
            {
                return _lines.Count == 0 ? "it said nothing" : string.Join("; ", _lines);
            }
        }
    }

    /// <summary>Starts it.</summary>
    /// <param name="program">QEMU's path or name.</param>
    /// <param name="device">What is behind <c>-device</c>, without an ID.</param>
    /// <param name="options">Further words of the command line.</param>
    /// <exception cref="IOException">It cannot be started.</exception>
    public static QemuProcess Start(string program, string device, IReadOnlyList<string> options)
    {
        (SafeSocketHandle ours, SafeFileHandle theirs) = MakePair();
        (SafeSocketHandle monitor, SafeFileHandle monitored) = MakePair();
        using (theirs)
        using (monitored)
        lock (s_starts)
        {
            // These a child gets.
            using SafeFileHandle shared = Duplicate(theirs, DuplicateFrom, 3);
            using SafeFileHandle sharedToo = Duplicate(monitored, DuplicateFrom, 3);
            ProcessStartInfo start = new("/bin/sh") { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
            foreach (string word in (string[])
                [
                    "-c", "command -v \"$0\" > /dev/null || { echo \"there is no program '$0'\" >&2; exit 1; }; \"$0\" \"$@\" < /dev/null >&2 & echo $!",
                    program, "-M", "x-remote", "-accel", "tcg", "-nodefaults", "-display", "none",
                    "-chardev", $"socket,id=ioasis-monitor,fd={NumberOf(sharedToo)}", "-qmp", "chardev:ioasis-monitor", .. options,
                    "-device", $"{device},id=ioasis", "-object", $"x-remote-object,id=ioasis-link,devid=ioasis,fd={NumberOf(shared)}",
                ])
            {
                start.ArgumentList.Add(word);
            }

            try
            {
                using Process shell = Process.Start(start)!;
                string? line = shell.StandardOutput.ReadLine();
                shell.WaitForExit();
                StreamReader errors = shell.StandardError;
                if (!int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out int process))
                {
                    throw new IOException($"{program}: {errors.ReadToEnd().Trim()}");
                }

                SafeFileHandle handle = OpenProcess(process);
                return handle.IsInvalid
                    ? throw new IOException($"{program}: it ended at once: {errors.ReadToEnd().Trim()}")
                    : new(ours, monitor, handle, errors);
            }
            catch (Exception e)
            {
                ours.Dispose();
                monitor.Dispose();
                if (e is Win32Exception)
                {
                    throw new IOException($"{program}: it cannot be started: {e.Message}", e);
                }

                throw;
            }
        }
    }

    /// <summary>
    /// Waits until the machine is whole. Before that QEMU takes requests for the device already, and then resets it: what was written to its registers and read from
    /// them is lost. A command of QEMU's monitor (QMP) is carried out afterwards only.
    /// </summary>
    /// <returns>Whether it is; false if QEMU has ended, or says nothing.</returns>
    public bool AwaitReset()
    {
        ReadOnlySpan<byte> command = "{\"execute\":\"qmp_capabilities\"}\n"u8;
        if (SocketCalls.Send(_monitor, command, [], []) != command.Length)
        {
            return false;
        }

        List<SafeFileHandle> strays = [];
        StringBuilder said = new();
        byte[] bytes = new byte[1024];
        for (long end = Environment.TickCount64 + StartMilliseconds; Environment.TickCount64 < end && !HasEnded;)
        {
            int count = SocketCalls.WaitToRead(_monitor, LookMilliseconds) ? SocketCalls.Receive(_monitor, bytes, strays, out _) : -1;
            strays.ForEach(static descriptor => descriptor.Dispose());
            strays.Clear();
            if (count == 0)
            {
                return false;
            }

            if (count > 0 && said.Append(Encoding.UTF8.GetString(bytes, 0, count)).ToString().Contains("\"return\"", StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Closes the socket and waits for the end, at which it writes what it has not written yet.</summary>
    public void Dispose()
    {
        Socket.Dispose();
        _monitor.Dispose();
        if (!SocketCalls.WaitToRead(_process, PatienceMilliseconds))
        {
            Kill(_process);
        }

        _process.Dispose();
    }

    private static string NumberOf(SafeFileHandle descriptor) => descriptor.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);

    private static unsafe (SafeSocketHandle Ours, SafeFileHandle Theirs) MakePair()
    {
        int* pair = stackalloc int[2];
        return SocketPair(UnixFamily, StreamCloseOnExec, 0, pair) < 0
            ? throw new IOException($"a socket cannot be made: error {Marshal.GetLastPInvokeError()}")
            : (new(pair[0], ownsHandle: true), new(pair[1], ownsHandle: true));
    }

    private void Listen()
    {
        using (_errors)
        {
            while (_errors.ReadLine() is { } line)
            {
                lock (_lines)
                {
                    _lines.Enqueue(line);
                    if (_lines.Count > LinesToKeep)
                    {
                        _ = _lines.Dequeue();
                    }
                }
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static unsafe partial int SocketPair(int family, int type, int protocol, int* pair);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle Duplicate(SafeFileHandle descriptor, int command, int least);

    // pidfd_open(2) and pidfd_send_signal(2), for which older C libraries have no names. The numbers are those of every architecture.
    private static SafeFileHandle OpenProcess(int process) => new(SystemCall(434, process, 0, 0, 0), ownsHandle: true);

    private static void Kill(SafeFileHandle process) => _ = SystemCall(424, process.DangerousGetHandle(), Killed, 0, 0);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SystemCall(nint number, nint first, nint second, nint third, nint fourth);
}
