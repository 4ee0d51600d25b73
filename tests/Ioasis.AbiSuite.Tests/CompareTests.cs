namespace Ioasis.AbiSuite.Tests;

/// <summary>The comparison itself: no difference hides another.</summary>
public sealed class CompareTests
{
    [Theory]
    [InlineData("a=1 b=2 c=3", "a=1 b=2 c=3", "")]
    [InlineData("a=1 b=2 c=3", "a=1 b=9 c=8", "b:2>9 c:3>8")]
    [InlineData("a=1 b=2 c=3", "a=1 c=4", "b:2>nothing c:3>4")]
    [InlineData("a=1 c=3", "a=1 b=2 c=4", "b:nothing>2 c:3>4")]
    [InlineData("a=1 x=1 y=2 c=3 d=4", "a=1 z=7 c=3 d=5", "x:1>nothing y:2>nothing z:nothing>7 d:4>5")]
    [InlineData("a=1", "", "a:1>nothing")]
    [InlineData("", "a=1", "a:nothing>1")]
    [InlineData("n=1 n=2 n=3", "n=1 n=3", "n:2>3 n:3>nothing")]
    public void Records_are_compared_again_from_where_they_meet(string linux, string found, string differences) =>
        string.Join(' ', Parse(linux).Compare(Parse(found)).Select(static d => $"{d.Label}:{d.Expected}>{d.Found}")).ShouldBe(differences);

    private static CaseRecord Parse(string text) => new(
        "case", "S1", [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static word => new Observation(word[..1], word[2..]))]);
}
