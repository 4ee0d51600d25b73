using Ioasis.Embedded.Sanitizing;
using System.Diagnostics;
using System.Globalization;

namespace Ioasis.Exec.Sanitizing;

/// <summary>Functions and lines of frames, by <c>addr2line</c> where it is on this machine; of .NET's methods by what the runtime wrote down.</summary>
/// <param name="methods">The methods.</param>
/// <param name="modules">Files that the program has mapped.</param>
internal sealed class SourceLines(ManagedMethods methods, IReadOnlyCollection<string> modules)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);
    private readonly Dictionary<(string Module, ulong Offset), string?> _known = [];

    /// <summary>Looks up every frame of some moments, a module at a time.</summary>
    public void Learn(IEnumerable<ProgramMoment> moments)
    {
        foreach (IGrouping<string, ProgramFrame> module in moments.SelectMany(static moment => moment.Stack)
            .Where(static frame => frame.Module is not null && !IsCompiledAtRunTime(frame.Module)).GroupBy(static frame => frame.Module!, StringComparer.Ordinal))
        {
            ulong[] offsets = [.. module.Select(static frame => frame.Offset).Distinct().Where(offset => !_known.ContainsKey((module.Key, offset)))];
            string[] lines = offsets.Length == 0 ? [] : Ask(module.Key, offsets);
            for (int i = 0; i < offsets.Length; i++)
            {
                string line = i < lines.Length ? lines[i].Trim() : "";
                _known[(module.Key, offsets[i])] = line.Length == 0 || line.StartsWith("??", StringComparison.Ordinal) ? null : line;
            }
        }
    }

    /// <summary>A moment with what was learned.</summary>
    public ProgramMoment? Named(ProgramMoment? moment) => moment is null ? null : moment with
    {
        Stack = [.. moment.Stack.Select(frame => frame with { Source = SourceOf(frame) })],
    };

    private string? SourceOf(ProgramFrame frame) =>
        IsCompiledAtRunTime(frame.Module) ? methods.Find(frame.Address, modules) : _known.GetValueOrDefault((frame.Module!, frame.Offset));

    /// <summary>Whether code is not a file's: .NET maps the memory of its compiler twice, by a file without a name.</summary>
    public static bool IsCompiledAtRunTime(string? module) => module is null || module.StartsWith("/memfd:doublemapper", StringComparison.Ordinal);

    // "-p": "main at file.c:12", a line for each address, with "-i" followed by those of the functions that it is inlined into.
    private static string[] Ask(string module, ulong[] offsets)
    {
        try
        {
            ProcessStartInfo start = new("addr2line") { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
            foreach (string argument in (IEnumerable<string>)["-e", module, "-f", "-p", "-s", "-i", "-C", .. offsets.Select(static offset => offset.ToString("x", CultureInfo.InvariantCulture))])
            {
                start.ArgumentList.Add(argument);
            }

            using Process process = Process.Start(start)!;
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            _ = process.StandardError.ReadToEndAsync();
            if (!process.WaitForExit(s_patience))
            {
                process.Kill();
                return [];
            }

            return output.GetAwaiter().GetResult().Replace("\n (inlined by) ", ", in ", StringComparison.Ordinal).Split('\n');
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException or InvalidOperationException)
        {
            return [];
        }
    }
}
