using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
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

    // A descriptor that a child shall have is in this process for the time of the start: another child must not get it.
    private static readonly Lock s_starts = new();

    private readonly Queue<string> _lines = new();
    private readonly SafeFileHandle _process;
    private readonly StreamReader _errors;
    private readonly Thread _listener;

    private QemuProcess(SafeSocketHandle socket, SafeFileHandle process, StreamReader errors)
    {
        Socket = socket;
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
    public static unsafe QemuProcess Start(string program, string device, IReadOnlyList<string> options)
    {
        int* pair = stackalloc int[2];
        if (SocketPair(UnixFamily, StreamCloseOnExec, 0, pair) < 0)
        {
            throw new IOException($"a socket cannot be made: error {Marshal.GetLastPInvokeError()}");
        }

        SafeSocketHandle ours = new(pair[0], ownsHandle: true);
        using SafeFileHandle theirs = new(pair[1], ownsHandle: true);
        lock (s_starts)
        {
            // This one a child gets.
            using SafeFileHandle shared = Duplicate(theirs, DuplicateFrom, 3);
            string number = shared.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);
            ProcessStartInfo start = new("/bin/sh") { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
            foreach (string word in (string[])
                [
                    "-c", "command -v \"$0\" > /dev/null || { echo \"there is no program '$0'\" >&2; exit 1; }; \"$0\" \"$@\" < /dev/null >&2 & echo $!",
                    program, "-M", "x-remote", "-accel", "tcg", "-nodefaults", "-display", "none", .. options,
                    "-device", $"{device},id=ioasis", "-object", $"x-remote-object,id=ioasis-link,devid=ioasis,fd={number}",
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
                    : new(ours, handle, errors);
            }
            catch (Exception e)
            {
                ours.Dispose();
                if (e is Win32Exception)
                {
                    throw new IOException($"{program}: it cannot be started: {e.Message}", e);
                }

                throw;
            }
        }
    }

    /// <summary>Closes the socket and waits for the end, at which it writes what it has not written yet.</summary>
    public void Dispose()
    {
        Socket.Dispose();
        if (!SocketCalls.WaitToRead(_process, PatienceMilliseconds))
        {
            Kill(_process);
        }

        _process.Dispose();
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
