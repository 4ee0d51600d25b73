using System.Globalization;

namespace Ioasis.Testing;

/// <summary>
/// One departure from the undisturbed order: when <paramref name="Thread"/> arrives at its <paramref name="Point"/>-th own
/// point, <paramref name="Next"/> runs.
/// </summary>
/// <param name="Thread">Index of a thread, or -1 for the start, where nobody has run.</param>
/// <param name="Point">Counted from 1 for each thread by itself; its end counts as one. 0 for the start.</param>
/// <param name="Next">Index of the thread that runs instead of the one that would.</param>
public readonly record struct Deviation(int Thread, int Point, int Next)
{
    /// <inheritdoc/>
    public override string ToString() => Thread < 0
        ? string.Create(CultureInfo.InvariantCulture, $"start>{Next}")
        : string.Create(CultureInfo.InvariantCulture, $"{Thread}.{Point}>{Next}");
}

/// <summary>
/// An order of logical threads, as the departures from the undisturbed one, in which a thread runs until it waits or ends
/// and then the next that can takes over. Because a departure is named by a thread's own count of points, taking one away
/// leaves the meaning of the others.
/// </summary>
/// <param name="Deviations">The departures.</param>
public sealed record Schedule(IReadOnlyList<Deviation> Deviations)
{
    /// <summary>The undisturbed order.</summary>
    public static Schedule Undisturbed { get; } = new([]);

    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    /// <exception cref="FormatException"><paramref name="text"/> is no schedule.</exception>
    public static Schedule Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<Deviation> deviations = [];
        foreach (string item in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (string.Equals(item, "undisturbed", StringComparison.Ordinal))
            {
                continue;
            }

            string[] sides = item.Split('>');
            string[] place = sides[0].Split('.');
            bool start = string.Equals(sides[0], "start", StringComparison.Ordinal);
            if (sides.Length != 2 || (!start && place.Length != 2))
            {
                throw new FormatException($"'{item}' is not like 0.12>1 or start>1.");
            }

            deviations.Add(new(
                start ? -1 : int.Parse(place[0], CultureInfo.InvariantCulture),
                start ? 0 : int.Parse(place[1], CultureInfo.InvariantCulture),
                int.Parse(sides[1], CultureInfo.InvariantCulture)));
        }

        return new(deviations);
    }

    /// <inheritdoc/>
    public override string ToString() => Deviations.Count == 0 ? "undisturbed" : string.Join(' ', Deviations);
}
