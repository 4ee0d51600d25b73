using System.Diagnostics;
using System.Globalization;

namespace Ioasis.Exec.Sanitizing;

/// <summary>Functions and lines of frames, by <c>addr2line</c> where it is on this machine.</summary>
internal sealed class SourceLines
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);
    private readonly Dictionary<(string Module, ulong Offset), string?> _known = [];

    /// <summary>Looks up every frame of some moments, a module at a time.</summary>
    public void Learn(IEnumerable<ProgramMoment?> moments)
    {
        foreach (IGrouping<string, ProgramFrame> module in moments.OfType<ProgramMoment>().SelectMany(static moment => moment.Stack)
            .Where(static frame => frame.Module is not null).GroupBy(static frame => frame.Module!, StringComparer.Ordinal))
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
        Stack = [.. moment.Stack.Select(frame => frame.Module is { } module && _known.TryGetValue((module, frame.Offset), out string? source) ? frame with { Source = source } : frame)],
    };

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
