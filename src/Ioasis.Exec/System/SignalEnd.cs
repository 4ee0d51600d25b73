using System.Runtime.InteropServices;

namespace Ioasis.Exec;

/// <summary>Ends this process by a signal.</summary>
internal static unsafe partial class SignalEnd
{
    private const int CoreLimit = 4;

    /// <summary>Gives a signal its default effect and sends it; no second core file is written.</summary>
    public static void Raise(int signal)
    {
        ulong* none = stackalloc ulong[2];
        none[0] = 0;
        none[1] = 0;
        _ = SetLimit(CoreLimit, none);
        _ = SetHandler(signal, 0);
        _ = SystemCalls.Kill(Environment.ProcessId, signal);
    }

    [LibraryImport("libc", EntryPoint = "signal")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SetHandler(int signal, nint handler);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetLimit(int resource, ulong* limit);
}
