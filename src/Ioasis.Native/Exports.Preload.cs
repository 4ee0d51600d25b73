using System.Runtime.InteropServices;
using System.Text;
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
    private static nint StartProgram(nint view, nuint length)
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
                    problem ??= LocalProgram.TryStart(options!, out s_program);
                }

                problem ??= PutView(new((void*)view, (int)length));
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
    private static int AccessRegisters(ulong address, ulong* registers)
    {
        try
        {
            return s_program!.TryAccess(address, new(registers, Registers)) ? 1 : 0;
        }
        catch (Exception)
        {
            return 0;
        }
    }

    /// <summary>The program ends: its view of devices goes. What the machine holds goes with the process.</summary>
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_preload_end")]
    private static void EndProgram()
    {
        try
        {
            s_program?.RemoveView();
        }
        catch (Exception)
        {
            // What could not be removed the next machine of this user removes.
        }
    }

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    // The view's root and the paths below which it is seen, each with a line end.
    private static string? PutView(Span<byte> place)
    {
        byte[] text = Encoding.UTF8.GetBytes(string.Join('\n', s_program!.Prefixes.Prepend(s_program.Root)) + "\n");
        if (text.Length >= place.Length)
        {
            return "the machine has too many devices for a program in its process.";
        }

        text.CopyTo(place);
        place[text.Length] = 0;
        return null;
    }

    private static nint Keep(string text)
    {
        Marshal.FreeCoTaskMem(s_programText);
        return s_programText = Marshal.StringToCoTaskMemUTF8(text);
    }
}
