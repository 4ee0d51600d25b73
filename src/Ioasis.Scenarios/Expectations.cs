using System.Runtime.CompilerServices;

namespace Ioasis.Scenarios.Checks;

/// <summary>
/// What a scenario holds its outcome to. A check that does not hold throws <see cref="ScenarioException"/>, which the explorer reports
/// with the schedule that led to it.
/// </summary>
internal static class Expectations
{
    public static void ShouldBe<T>(this T actual, T expected, string? why = null, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (!EqualityComparer<T>.Default.Equals(actual, expected))
        {
            Fail(what, actual, $"not {expected}", why);
        }
    }

    public static void ShouldNotBe<T>(this T actual, T other, string? why = null, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (EqualityComparer<T>.Default.Equals(actual, other))
        {
            Fail(what, actual, "which it must not be", why);
        }
    }

    public static void ShouldBeOneOf<T>(this T actual, T first, T second, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (!EqualityComparer<T>.Default.Equals(actual, first) && !EqualityComparer<T>.Default.Equals(actual, second))
        {
            Fail(what, actual, $"neither {first} nor {second}", null);
        }
    }

    public static void ShouldBeLessThanOrEqualTo(this int actual, int limit, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (actual > limit)
        {
            Fail(what, actual, $"more than {limit}", null);
        }
    }

    public static void ShouldBeTrue(this bool actual, string? why = null, [CallerArgumentExpression(nameof(actual))] string what = "") =>
        actual.ShouldBe(true, why, what);

    public static void ShouldBeFalse(this bool actual, string? why = null, [CallerArgumentExpression(nameof(actual))] string what = "") =>
        actual.ShouldBe(false, why, what);

    public static void ShouldBeNull<T>(this T? actual, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (actual is not null)
        {
            Fail(what, actual, "not null", null);
        }
    }

    public static void ShouldNotBeNull<T>(this T? actual, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (actual is null)
        {
            Fail(what, actual, "null", null);
        }
    }

    public static void ShouldBeSameAs(this object? actual, object? expected, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (!ReferenceEquals(actual, expected))
        {
            Fail(what, actual, $"not {expected}", null);
        }
    }

    public static void ShouldContain<T>(this IEnumerable<T> actual, T item, string? why = null, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        if (!actual.Contains(item))
        {
            Fail(what, "a sequence", $"without {item}", why);
        }
    }

    public static void ShouldAllBe<T>(this IEnumerable<T> actual, Func<T, bool> holds, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        foreach (T item in actual)
        {
            if (!holds(item))
            {
                Fail(what, item, "which is not allowed", null);
            }
        }
    }

    private static void Fail(string what, object? actual, string problem, string? why) =>
        throw new ScenarioException($"{what} is {actual ?? "null"}, {problem}{(why is null ? "" : $": {why}")}.");
}
