using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Ioasis.Recorder;

/// <summary>
/// Asks for the domain of each group when a recording begins: sysfs is asked for a group's type, and the probe on the function
/// that answers sees the group.
/// </summary>
/// <param name="files">The machine's files.</param>
/// <param name="plan">The recording.</param>
internal sealed class GroupReader(TracingFiles files, RecordingPlan plan)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    private readonly List<GroupSnapshot> _snapshots = [];
    private readonly StringBuilder _others = new();

    /// <summary>What else the pipe gave meanwhile, which belongs to the recording.</summary>
    public string OtherLines => _others.ToString();

    /// <summary>Reads the domains of all groups; none if they could not be told.</summary>
    /// <param name="take">Takes text from the recording's pipe; empty if there is none at present.</param>
    public IReadOnlyList<GroupDomain> Read(Func<byte[]> take)
    {
        Dictionary<int, string> types = [];
        foreach (int group in plan.Platform.Groups.Select(static group => group.Number))
        {
            types[group] = files.TryRead(string.Create(CultureInfo.InvariantCulture, $"sys/kernel/iommu_groups/{group}/type")) ?? "";
        }

        string rest = "";
        HashSet<int> missing = [.. types.Keys];
        for (var time = Stopwatch.StartNew(); missing.Count > 0 && time.Elapsed < Patience;)
        {
            byte[] taken = take();
            if (taken.Length == 0)
            {
                Thread.Sleep(Pause);
                continue;
            }

            string[] lines = (rest + Encoding.UTF8.GetString(taken)).Split('\n');
            rest = lines[^1];
            foreach (string line in lines[..^1])
            {
                Line(line, missing);
            }
        }

        _others.Append(rest);
        _ = files.Write($"{plan.Session.Instance}/events/{plan.Session.ProbeGroup}/{ProbeCatalogue.GroupEvent}/enable", "0");
        return GroupState.Domains([.. _snapshots.Where(snapshot => types.ContainsKey(snapshot.Group))], types, KernelRelease.IsAtLeast(files, 5, 19));
    }

    private void Line(string line, HashSet<int> missing)
    {
        if (GroupSnapshot.TryParse(line, out GroupSnapshot? snapshot))
        {
            _snapshots.Add(snapshot!);
            missing.Remove(snapshot!.Group);
        }
        else
        {
            _others.Append(line).Append('\n');
        }
    }
}
