using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Starts a program under a filter. One thread puts itself under it and starts the program, which inherits it, and so does every process
/// that comes from it; then the thread ends. Nothing in this process but that thread is ever filtered.
/// </summary>
internal static unsafe partial class Launcher
{
    private const int NoNewPrivileges = 38;
    private const uint SetFilter = 1;
    private const uint NewListener = 8;
    private const uint WaitKillable = 0x20;
    private const int AttributeBytes = 512;
    private const int PipeSignal = 13;
    private const int FileSizeSignal = 25;
    private const short SetSignalDefaults = 4;
    private const short SetSignalMask = 8;

    /// <summary>Starts the program.</summary>
    /// <param name="arguments">The program, found by <c>PATH</c>, and its arguments.</param>
    /// <param name="environment">Its environment, as <c>NAME=value</c>.</param>
    /// <param name="serve">Called in another thread as soon as calls can come: the program needs answers to start.</param>
    /// <param name="process">The program's process.</param>
    /// <returns>Null, or a sentence that says what refused.</returns>
    public static string? Start(
        IReadOnlyList<string> arguments, IReadOnlyList<string> environment, Action<NotificationSource> serve, out int process)
    {
        // What the filtered thread calls is resolved before: afterwards nothing may open a file there.
        CallProgram program = CallFilter.Compile();
        _ = SetHandler(FileSizeSignal, 1);
        nint library = NativeLibrary.TryLoad("libc.so.6", out nint found) ? found : NativeLibrary.Load("libc");
        nint spawn = NativeLibrary.GetExport(library, "posix_spawnp");
        nint attributes = (nint)NativeMemory.AllocZeroed(AttributeBytes);
        if (InitializeAttributes(attributes) != 0 || !SetUpSignals(attributes))
        {
            process = 0;
            return "posix_spawnattr_init failed.";
        }

        nint argv = ToVector(arguments);
        nint envp = ToVector(environment);

        // Once for nothing, without the filter: so that the runtime, where it compiles just in time, has compiled all of it. A
        // compiler that is stopped by the filter keeps a lock that those who answer may need.
        Attempt rehearsal = new(uint.MaxValue, program, NativeLibrary.GetExport(library, "getpid"), 0, argv, envp);
        Thread thread = rehearsal.Start();
        thread.Join();
        Attempt attempt = new(SetFilter, program, spawn, attributes, argv, envp);
        thread = attempt.Start();
        int listener;
        while ((listener = attempt.Listener) == Attempt.Unknown)
        {
            Thread.Sleep(0);
        }

        if (listener >= 0)
        {
            serve(new(listener));
        }

        thread.Join();
        process = attempt.Process;
        FreeVector(argv);
        FreeVector(envp);
        NativeMemory.Free((void*)attributes);
        return listener < 0 ? ExplainFilter(-listener)
            : attempt.SpawnError != 0 ? ExplainSpawn(arguments[0], attempt.SpawnError)
            : null;
    }

    private static string ExplainFilter(int error) => (Errno)error switch
    {
        Errno.Busy => "seccomp refuses a listener (EBUSY): this process is under one already, as inside another 'ioasis exec'.",
        Errno.InvalidArgument => "seccomp refuses the filter (EINVAL): Linux 5.19 or newer is needed, with CONFIG_SECCOMP_FILTER.",
        Errno.NotPermitted or Errno.AccessDenied =>
            "seccomp refuses the filter (EPERM): a policy above this process, such as a container's, forbids seccomp(2).",
        Errno.NotImplemented => "seccomp(2) is not there (ENOSYS): the kernel was built without CONFIG_SECCOMP_FILTER.",
        _ => $"seccomp refuses the filter ({Marshal.GetPInvokeErrorMessage(error)}).",
    };

    private static string ExplainSpawn(string program, int error) =>
        (Errno)error == Errno.NoEntry
            ? $"'{program}' is not there, or not on PATH."
            : $"'{program}' cannot be started: {Marshal.GetPInvokeErrorMessage(error)}.";

    // The runtime ignores SIGPIPE, we SIGXFSZ, and signals may be blocked: none of it is the program's affair.
    private static bool SetUpSignals(nint attributes)
    {
        byte* set = stackalloc byte[128];
        new Span<byte>(set, 128).Clear();
        set[(PipeSignal - 1) / 8] |= 1 << ((PipeSignal - 1) % 8);
        set[(FileSizeSignal - 1) / 8] |= 1 << ((FileSizeSignal - 1) % 8);
        bool done = SetDefaultSignals(attributes, set) == 0;
        new Span<byte>(set, 128).Clear();
        return done
            && SetMask(attributes, set) == 0
            && SetSpawnFlags(attributes, SetSignalDefaults | SetSignalMask) == 0;
    }

    private static nint ToVector(IReadOnlyList<string> texts)
    {
        nint* vector = (nint*)NativeMemory.AllocZeroed((nuint)texts.Count + 1, (nuint)sizeof(nint));
        for (int i = 0; i < texts.Count; i++)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(texts[i]);
            byte* text = (byte*)NativeMemory.AllocZeroed((nuint)bytes.Length + 1);
            bytes.CopyTo(new Span<byte>(text, bytes.Length));
            vector[i] = (nint)text;
        }

        return (nint)vector;
    }

    private static void FreeVector(nint vector)
    {
        for (nint* text = (nint*)vector; *text != 0; text++)
        {
            NativeMemory.Free((void*)*text);
        }

        NativeMemory.Free((void*)vector);
    }

    [LibraryImport("libc", EntryPoint = "signal")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SetHandler(int signal, nint handler);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_init")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int InitializeAttributes(nint attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigdefault")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetDefaultSignals(nint attributes, byte* set);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigmask")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetMask(nint attributes, byte* set);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setflags")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetSpawnFlags(nint attributes, short flags);

    private sealed class Attempt(uint operation, CallProgram program, nint spawn, nint attributes, nint argv, nint envp)
    {
        public const int Unknown = int.MinValue;

        private readonly CallProgram _program = program;
        private int _listener = Unknown;
        private int _process;
        private int _spawnError;

        public int Listener => Volatile.Read(ref _listener);

        public int Process => _process;

        public int SpawnError => _spawnError;

        public Thread Start()
        {
            Thread thread = new(Run, 256 * 1024) { IsBackground = true, Name = "ioasis launcher" };
            thread.Start();
            return thread;
        }

        private void Run()
        {
            int process = 0;
            CallProgram filter = _program;
            delegate* unmanaged<int*, nint, nint, nint, nint, nint, int> start =
                (delegate* unmanaged<int*, nint, nint, nint, nint, nint, int>)spawn;
            nint result = SystemCalls.Prctl(operation == SetFilter ? NoNewPrivileges : int.MaxValue, 1);
            if (result == 0 || operation != SetFilter)
            {
                result = SystemCalls.Seccomp(operation, NewListener | WaitKillable, &filter);
            }

            Volatile.Write(ref _listener, (int)result);
            if (result >= 0 || operation != SetFilter)
            {
                _spawnError = start(&process, *(nint*)argv, 0, attributes, argv, envp);
                _process = process;
            }
        }
    }
}
