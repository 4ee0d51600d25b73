using System.Globalization;
using System.Text;
using Ioasis.Platform;

namespace Ioasis.Testing;

/// <summary>Writes a run for people: who did what, in order, with a line wherever another thread takes over.</summary>
internal static class TraceWriter
{
    private const int Edge = 12;

    public static string Write(Scenario scenario, IReadOnlyList<TraceEvent> events, IReadOnlyList<Decision> decisions)
    {
        StringBuilder text = new();
        Dictionary<ulong, int> locks = [];
        HashSet<(int, int)> preemptions =
            [.. decisions.Where(static item => item.Deviates && IsPreemption(item)).Select(static item => (item.Thread, item.Point))];
        int width = scenario.Threads.Max(static thread => thread.Name.Length);
        int[] points = new int[scenario.Threads.Count];
        int start = 0;
        while (start < events.Count)
        {
            int end = start;
            while (end < events.Count && events[end].Thread == events[start].Thread)
            {
                end++;
            }

            int thread = events[start].Thread;
            for (int i = start; i < end; i++)
            {
                TraceEvent item = events[i];
                if (item.Text is null or "ends")
                {
                    points[thread]++;
                }

                string what = Describe(scenario, item, locks);
                if (i == start + Edge && end - start > (2 * Edge) + 1)
                {
                    _ = text.AppendLine(CultureInfo.InvariantCulture, $"  {scenario.Threads[thread].Name.PadRight(width)}      … {end - start - (2 * Edge)} more");
                }

                if (i < start + Edge || i >= end - Edge || end - start <= (2 * Edge) + 1)
                {
                    _ = text.AppendLine(
                        CultureInfo.InvariantCulture, $"  {scenario.Threads[thread].Name.PadRight(width)} {(item.Text is null ? points[thread] : ""),4}  {what}");
                }
            }

            if (end < events.Count)
            {
                string why = preemptions.Contains((thread, points[thread])) ? " preempts " + scenario.Threads[thread].Name : " goes on";
                _ = text.AppendLine(CultureInfo.InvariantCulture, $"-- {scenario.Threads[events[end].Thread].Name}{why}");
            }

            start = end;
        }

        return text.ToString();
    }

    public static bool IsPreemption(in Decision decision) => (decision.Free >> decision.Chosen & 1) == 0;

    private static string Describe(Scenario scenario, TraceEvent item, Dictionary<ulong, int> locks)
    {
        if (item.Text is not null)
        {
            return item.Text;
        }

        string? named = scenario.Describe(item.Kind, item.Detail);
        if (named is null && item.Detail != 0)
        {
            if (item.Kind is InjectionKind.LockAcquire or InjectionKind.LockRelease or InjectionKind.Wait)
            {
                if (!locks.TryGetValue(item.Detail, out int number))
                {
                    locks.Add(item.Detail, number = locks.Count + 1);
                }

                named = string.Create(CultureInfo.InvariantCulture, $"lock {number}");
            }
            else
            {
                named = string.Create(CultureInfo.InvariantCulture, $"0x{item.Detail:x}");
            }
        }

        string value = item.Value is { } number2 ? string.Create(CultureInfo.InvariantCulture, $" = 0x{number2:x}") : "";
        return $"{item.Kind} {named}{value}".TrimEnd();
    }
}
