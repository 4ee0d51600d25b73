using System.Globalization;
using Ioasis.Hardware;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Conformance;

/// <summary>The outcome of one topic.</summary>
internal sealed class TopicResult
{
    private readonly Dictionary<CachingMode, int> _passedByMode = [];
    private readonly List<Difference> _differences = [];

    internal TopicResult(string topic) => Topic = topic;

    /// <summary>The topic.</summary>
    public string Topic { get; }

    /// <summary>Cases that pass in every caching mode.</summary>
    public int Passed { get; private set; }

    /// <summary>Cases that differ in some caching mode.</summary>
    public int Failed { get; private set; }

    /// <summary>Cases that need something that the model does not have.</summary>
    public int Skipped { get; private set; }

    /// <summary>The first differences.</summary>
    public IReadOnlyList<Difference> Differences => _differences;

    /// <summary>Cases that pass in one caching mode.</summary>
    public int PassedIn(CachingMode mode) => _passedByMode.GetValueOrDefault(mode);

    internal void CountSkipped() => Skipped++;

    internal void Count(IReadOnlyList<CachingMode> modes, IReadOnlyList<List<Difference>> differencesByMode, int maxDifferences)
    {
        bool passed = true;
        for (int i = 0; i < modes.Count; i++)
        {
            if (differencesByMode[i].Count == 0)
            {
                _passedByMode[modes[i]] = PassedIn(modes[i]) + 1;
                continue;
            }

            // The same difference in the other modes says nothing new.
            if (passed)
            {
                _differences.AddRange(differencesByMode[i].Take(Math.Max(0, maxDifferences - _differences.Count)));
            }

            passed = false;
        }

        if (passed)
        {
            Passed++;
        }
        else
        {
            Failed++;
        }
    }

    internal void Merge(TopicResult other, int maxDifferences)
    {
        Passed += other.Passed;
        Failed += other.Failed;
        Skipped += other.Skipped;
        foreach ((CachingMode mode, int passed) in other._passedByMode)
        {
            _passedByMode[mode] = PassedIn(mode) + passed;
        }

        _differences.AddRange(other._differences.Take(Math.Max(0, maxDifferences - _differences.Count)));
    }
}

/// <summary>The outcome of a run.</summary>
internal sealed class ConformanceReport
{
    private readonly SortedDictionary<string, TopicResult> _topics = new(StringComparer.Ordinal);

    internal ConformanceReport(IReadOnlyList<CachingMode> modes) => Modes = modes;

    /// <summary>The caching modes that were run.</summary>
    public IReadOnlyList<CachingMode> Modes { get; }

    /// <summary>Results by topic, sorted.</summary>
    public IReadOnlyCollection<TopicResult> Topics => _topics.Values;

    /// <summary>Cases that pass in every caching mode.</summary>
    public int Passed => _topics.Values.Sum(t => t.Passed);

    /// <summary>Cases that do not.</summary>
    public int Failed => _topics.Values.Sum(t => t.Failed);

    /// <summary>Cases that were not run.</summary>
    public int Skipped => _topics.Values.Sum(t => t.Skipped);

    /// <summary>Writes the table, the differences and, as the last line, <c>N passed, N failed</c>.</summary>
    /// <param name="output">Where to.</param>
    public void WriteTo(TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(output);
        int width = Math.Max(5, _topics.Keys.Select(t => t.Length).DefaultIfEmpty().Max());
        output.Write("topic".PadRight(width) + "   cases");
        foreach (CachingMode mode in Modes)
        {
            output.Write(mode.ToString().ToLowerInvariant().PadLeft(11));
        }

        output.WriteLine();
        foreach (TopicResult topic in _topics.Values)
        {
            int cases = topic.Passed + topic.Failed;
            output.Write(topic.Topic.PadRight(width) + cases.ToString(CultureInfo.InvariantCulture).PadLeft(8));
            foreach (CachingMode mode in Modes)
            {
                output.Write(topic.PassedIn(mode).ToString(CultureInfo.InvariantCulture).PadLeft(11));
            }

            output.WriteLine(topic.Failed == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"   {topic.Failed} failed"));
        }

        foreach (TopicResult topic in _topics.Values.Where(t => t.Differences.Count > 0))
        {
            output.WriteLine();
            output.WriteLine($"{topic.Topic}: first differences");
            foreach (Difference difference in topic.Differences)
            {
                output.WriteLine("  " + difference.ToString().ReplaceLineEndings(Environment.NewLine + "  "));
            }
        }

        output.WriteLine();
        if (Skipped > 0)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Skipped} skipped (they need something that the model does not have)"));
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Passed} passed, {Failed} failed"));
    }

    internal TopicResult Topic(string name)
    {
        if (!_topics.TryGetValue(name, out TopicResult? topic))
        {
            _topics.Add(name, topic = new(name));
        }

        return topic;
    }

    internal void Merge(ConformanceReport other, int maxDifferences)
    {
        foreach (TopicResult topic in other.Topics)
        {
            Topic(topic.Topic).Merge(topic, maxDifferences);
        }
    }
}
