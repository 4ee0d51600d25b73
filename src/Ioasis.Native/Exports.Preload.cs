using System.Runtime.InteropServices;
using Ioasis.Exec;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <content>
/// The machine of <c>libioasis-preload.so</c>, which stands between a program and the C library (native/preload.c). The symbols are its alone.
/// </content>
internal static unsafe partial class Exports
{
    private const int Registers = 27;

    private static readonly Lock s_programLock = new();
    private static LocalProgram? s_program;
    private static nint s_programText;

    /// <summary>Builds the machine that the environment names.</summary>
    /// <returns>Null, or a text that says why it cannot be.</returns>
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_preload_start")]
    private static nint StartProgram()
    {
        try
        {
            lock (s_programLock)
            {
                string? problem = null;
                if (s_program is null)
                {
                    string devices = Environment.GetEnvironmentVariable("IOASIS_DEVICES") ?? "";
                    problem = ExecMachine.TryRead(
                        NullIfEmpty(Environment.GetEnvironmentVariable("IOASIS_MACHINE")),
                        NullIfEmpty(Environment.GetEnvironmentVariable("IOASIS_IOMMU")),
                        devices.Split('\n', StringSplitOptions.RemoveEmptyEntries),
                        out ExecOptions? options);
                    problem ??= LocalProgram.TryStart(options!, Environment.GetEnvironmentVariable("IOASIS_VIEW") ?? "", out s_program);
                }

                return problem is null ? 0 : Keep(problem);
            }
        }
        catch (Exception e)
        {
            return Keep($"failed inside the library: {e.GetType().Name}: {e.Message}");
        }
    }

    /// <summary>Answers a system call.</summary>
    /// <returns>1 if it is ours.</returns>
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_preload_call")]
    private static int AnswerCall(int number, ulong* arguments, long* result)
    {
        try
        {
            return s_program!.TryCall(number, new(arguments, 6), out *result) ? 1 : 0;
        }
        catch (Exception)
        {
            *result = -(int)Errno.IoError;
            return 1;
        }
    }

    /// <summary>Makes an access of registers.</summary>
    /// <returns>1 if it was one.</returns>
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_preload_access")]
    private static int AccessRegisters(ulong address, ulong* registers, byte* vectors, nint size)
    {
        try
        {
            return s_program!.TryAccess(address, new(registers, Registers), new(vectors, (int)size)) ? 1 : 0;
        }
        catch (Exception)
        {
            return 0;
        }
    }

    /// <summary>Whether the program has nothing of the machine.</summary>
    /// <returns>1 if it has not.</returns>
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_preload_idle")]
    private static int IsIdle()
    {
        try
        {
            return s_program is not { IsIdle: false } ? 1 : 0;
        }
        catch (Exception)
        {
            return 0;
        }
    }

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private static nint Keep(string text)
    {
        Marshal.FreeCoTaskMem(s_programText);
        return s_programText = Marshal.StringToCoTaskMemUTF8(text);
    }
}
