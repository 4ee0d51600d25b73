using System.Collections;
using System.Runtime.InteropServices;
using Ioasis.Embedded;

namespace Ioasis.Exec;

/// <summary>A program with the machine in its own process: <c>libioasis-preload.so</c> builds it there, of what the environment says.</summary>
internal static unsafe partial class PreloadedProgram
{
    private const string Library = "libioasis-preload.so";
    private const int BrokenPipe = 13;

    /// <summary>Replaces this process by the program.</summary>
    /// <param name="machine">A machine file; null for none.</param>
    /// <param name="iommu">The kind of IOMMUs of which nothing else is said.</param>
    /// <param name="devices">Devices, as <see cref="ExecMachine.TryRead"/> takes them.</param>
    /// <param name="program">The program, found by <c>PATH</c>, and its arguments.</param>
    /// <returns>A sentence that says why this process is still here.</returns>
    public static string Become(string? machine, string? iommu, IReadOnlyList<string> devices, IReadOnlyList<string> program)
    {
        ArgumentNullException.ThrowIfNull(devices);
        ArgumentNullException.ThrowIfNull(program);
        if (ExecRunner.FindObstacle() is { } obstacle)
        {
            return obstacle;
        }

        if (FindLibrary() is not { } library)
        {
            return $"{Library} is not there: ./native builds it; IOASIS_PRELOAD names it where it is elsewhere.";
        }

        if (TryWriteView(machine, iommu, devices, out string? view) is { } problem)
        {
            return problem;
        }

        Dictionary<string, string> environment = new(StringComparer.Ordinal);
        foreach (DictionaryEntry entry in Environment.GetEnvironmentVariables())
        {
            environment[(string)entry.Key] = (string?)entry.Value ?? "";
        }

        environment["LD_PRELOAD"] = environment.TryGetValue("LD_PRELOAD", out string? others) && others.Length > 0 ? $"{library}:{others}" : library;
        environment["IOASIS_VIEW"] = view!;
        environment["IOASIS_MACHINE"] = machine is null ? "" : Path.GetFullPath(machine);
        environment["IOASIS_IOMMU"] = iommu ?? "";
        environment["IOASIS_DEVICES"] = string.Join('\n', devices);
        int error = Execute(program, [.. environment.Select(static pair => $"{pair.Key}={pair.Value}")]);
        Directory.Delete(view!, recursive: true);
        return $"{program[0]} cannot be run: {Marshal.GetPInvokeErrorMessage(error)}.";
    }

    // The files by which the program finds devices are there before it is, and stay for its children. For them the machine is built once here.
    private static string? TryWriteView(string? machine, string? iommu, IReadOnlyList<string> devices, out string? view)
    {
        view = null;
        string? problem = ExecMachine.TryRead(machine, iommu, devices, out ExecOptions? options);
        if (problem is not null)
        {
            return problem;
        }

        using EmbeddedPlatform platform = new(options!.Machine);
        problem = ViewedDevices.TryAdd(options, platform, out List<ViewedDevice> viewed);
        if (problem is null)
        {
            ViewTree tree = ViewTree.Create(viewed);
            tree.WriteListing();
            view = tree.Root;
        }

        return problem;
    }

    // Beside the command, or where ./native puts it in the repository that the command was built in.
    private static string? FindLibrary()
    {
        if (Environment.GetEnvironmentVariable("IOASIS_PRELOAD") is { Length: > 0 } named)
        {
            return File.Exists(named) ? Path.GetFullPath(named) : null;
        }

        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            foreach (string path in (ReadOnlySpan<string>)[Path.Combine(folder, Library), Path.Combine(folder, "artifacts", "native", Library)])
            {
                if (File.Exists(path))
                {
                    return path;
                }
            }
        }

        return null;
    }

    private static int Execute(IReadOnlyList<string> program, string[] environment)
    {
        byte** arguments = MakeList(program);
        byte** variables = MakeList(environment);
        try
        {
            // The runtime ignores broken pipes, and a program would inherit that.
            _ = SetSignal(BrokenPipe, 0);
            _ = Execute(arguments[0], arguments, variables);
            return Marshal.GetLastPInvokeError();
        }
        finally
        {
            FreeList(arguments);
            FreeList(variables);
        }
    }

    private static byte** MakeList(IReadOnlyList<string> texts)
    {
        byte** list = (byte**)NativeMemory.AllocZeroed((nuint)texts.Count + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < texts.Count; i++)
        {
            list[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
        }

        return list;
    }

    private static void FreeList(byte** list)
    {
        for (byte** entry = list; *entry is not null; entry++)
        {
            Marshal.FreeCoTaskMem((nint)(*entry));
        }

        NativeMemory.Free(list);
    }

    [LibraryImport("libc", EntryPoint = "execvpe", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Execute(byte* file, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "signal")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SetSignal(int signal, nint handler);
}
