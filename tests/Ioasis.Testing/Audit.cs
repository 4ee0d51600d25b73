using System.Globalization;
using System.Text;

namespace Ioasis.Testing;

/// <summary>
/// The books of a machine: figures of every table that a call could leave something in, each with a name. A call that failed, and
/// one that was undone, must leave all of them as they were (invariant 3); the difference names the table.
/// </summary>
/// <param name="figures">What each table has now. An object is compared by <see cref="object.Equals(object?)"/>.</param>
public sealed class Audit(params (string Name, Func<object?> Read)[] figures)
{
    /// <summary>What the tables have now.</summary>
    public IReadOnlyDictionary<string, object?> Read() =>
        figures.ToDictionary(static figure => figure.Name, static figure => figure.Read(), StringComparer.Ordinal);

    /// <summary>Throws unless every table is as it was.</summary>
    /// <param name="before">From <see cref="Read"/>.</param>
    /// <param name="call">What was called, for people.</param>
    public void ShouldBe(IReadOnlyDictionary<string, object?> before, string call)
    {
        ArgumentNullException.ThrowIfNull(before);
        StringBuilder differences = new();
        foreach ((string name, object? now) in Read())
        {
            if (!Equals(now, before[name]))
            {
                _ = differences.Append(CultureInfo.InvariantCulture, $"\n  {name}: {before[name]} before, {now} now");
            }
        }

        if (differences.Length > 0)
        {
            throw new InvalidOperationException($"{call} left a trace:{differences}");
        }
    }

    /// <summary>Throws if a call changes a table, whatever it returns.</summary>
    public T ShouldBeUnchangedBy<T>(Func<T> call, string name)
    {
        ArgumentNullException.ThrowIfNull(call);
        IReadOnlyDictionary<string, object?> before = Read();
        T result = call();
        ShouldBe(before, name);
        return result;
    }
}
