using System.Runtime.ExceptionServices;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Conformance;

/// <summary>Replays files of conformance vectors against the hardware model (docs/conformance.md).</summary>
internal static class ConformanceRunner
{
    private static readonly string[] Extensions = ["*.jsonl", "*.jsonl.gz"];

    /// <summary>Replays files.</summary>
    /// <param name="paths">Vector files, plain or gzip-compressed; a directory stands for the vector files in it.</param>
    /// <param name="options">What to replay, and how.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="VectorFormatException">A file is missing, damaged or not in the format, or no case was selected.</exception>
    public static ConformanceReport Run(IEnumerable<string> paths, ConformanceOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        IReadOnlyList<string> files = FindFiles(paths);
        ConformanceReport[] reports = new ConformanceReport[files.Count];
        try
        {
            Parallel.For(0, files.Count, new() { MaxDegreeOfParallelism = options.Parallelism }, i => reports[i] = RunFile(files[i], options));
        }
        catch (AggregateException exception)
        {
            ExceptionDispatchInfo.Throw(exception.InnerExceptions.OfType<VectorFormatException>().FirstOrDefault() ?? exception.InnerExceptions[0]);
        }

        ConformanceReport total = new(options.Modes);
        foreach (ConformanceReport report in reports)
        {
            total.Merge(report, options.MaxDifferences);
        }

        return total.Topics.Count > 0 ? total : throw new VectorFormatException("no case is in the files and matches the options");
    }

    /// <summary>The vector files that paths stand for.</summary>
    /// <param name="paths">Files, or directories of them.</param>
    /// <returns>The files in the order of the paths, those of a directory by name.</returns>
    /// <exception cref="VectorFormatException">A file is missing, or a directory has none.</exception>
    public static IReadOnlyList<string> FindFiles(IEnumerable<string> paths)
    {
        ArgumentNullException.ThrowIfNull(paths);
        return [.. paths.SelectMany(Expand)];
    }

    private static string[] Expand(string path)
    {
        if (!Directory.Exists(path))
        {
            return File.Exists(path) ? [path] : throw new VectorFormatException(path, 0, "no such file");
        }

        string[] files = [.. Extensions.SelectMany(e => Directory.GetFiles(path, e)).Order(StringComparer.Ordinal)];
        return files.Length > 0 ? files : throw new VectorFormatException(path, 0, "the directory holds no .jsonl or .jsonl.gz file");
    }

    private static ConformanceReport RunFile(string file, ConformanceOptions options)
    {
        ConformanceReport report = new(options.Modes);
        CaseReplayer[] replayers = [.. options.Modes.Select(mode => new CaseReplayer(
            mode.ToString().ToLowerInvariant(),
            (parameters, memory, outputs) => new HardwareModel(parameters, memory, outputs, mode)))];
        try
        {
            List<VectorCase> chain = [];
            foreach (VectorCase vectorCase in VectorReader.ReadFile(file))
            {
                if (options.Topic is not null && !string.Equals(options.Topic, vectorCase.Topic, StringComparison.Ordinal))
                {
                    continue;
                }

                if (options.CaseId is null)
                {
                    Replay(vectorCase, replayers, options, report);
                    continue;
                }

                // A case may continue others: these run too, but do not count.
                if (!vectorCase.Continues)
                {
                    chain.Clear();
                }

                if (!string.Equals(options.CaseId, vectorCase.Id, StringComparison.Ordinal))
                {
                    chain.Add(vectorCase);
                    continue;
                }

                ConformanceReport unwanted = new(options.Modes);
                chain.ForEach(earlier => Replay(earlier, replayers, options, unwanted));
                Replay(vectorCase, replayers, options, report);
                break;
            }
        }
        finally
        {
            foreach (CaseReplayer replayer in replayers)
            {
                replayer.Dispose();
            }
        }

        return report;
    }

    private static void Replay(VectorCase vectorCase, CaseReplayer[] replayers, ConformanceOptions options, ConformanceReport report)
    {
        TopicResult topic = report.Topic(vectorCase.Topic);
        if (!HardwareModel.Meets(vectorCase.Needs))
        {
            topic.CountSkipped();
            return;
        }

        List<Difference>[] differences = [.. replayers.Select(replayer => replayer.Replay(vectorCase))];
        topic.Count(options.Modes, differences, options.MaxDifferences);
    }
}
