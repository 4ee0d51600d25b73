using System.Reflection;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Finding something takes the same steps however much there is: no look-up goes through a list.</summary>
public sealed class LookUpTests
{
    // Taking a reference tries again when another thread changed the word meanwhile: as often as others come in between, whatever is in the tables.
    private static readonly string[] s_retries = ["Ioasid.TryGet"];

    /// <summary>Look-ups, by type and method, with the types of the arguments where there are several.</summary>
    public static TheoryData<string> LookUps { get; } = [.. All().Select(Describe)];

    [Theory]
    [MemberData(nameof(LookUps))]
    [Trait("Requirement", "S0.8")]
    [Trait("Requirement", "S0.9")]
    [Trait("Requirement", "S0.13")]
    public void No_look_up_repeats_a_step(string lookUp) =>
        Loops.Of(All().Single(method => string.Equals(Describe(method), lookUp, StringComparison.Ordinal)), s_retries).ShouldBeEmpty();

    [Fact]
    public void What_goes_through_a_list_is_found_out()
    {
        Loops.Of(Method(typeof(LookUpTests), nameof(SearchByLoop))).ShouldBe(["LookUpTests.SearchByLoop jumps back"]);
        Loops.Of(Method(typeof(LookUpTests), nameof(SearchByCall))).ShouldBe(["LookUpTests.SearchByLoop jumps back"]);
        Loops.Of(Method(typeof(LookUpTests), nameof(SearchByItself))).ShouldBe(["LookUpTests.SearchByItself calls itself"]);
        Loops.Of(Method(typeof(LookUpTests), nameof(SearchBySequence))).ShouldHaveSingleItem().ShouldContain("goes through a sequence");
        Loops.Of(Method(typeof(LookUpTests), nameof(SearchByLoop)), "LookUpTests.SearchByLoop").ShouldBeEmpty();
    }

    /// <summary>A hash takes one step if it hashes well: a token is told from others by what it is, never by what it says of itself.</summary>
    [Fact]
    [Trait("Requirement", "S0.8")]
    public void A_token_is_asked_nothing()
    {
        PasidAllocator allocator = Support.NewAllocator(4000);
        Token[] tokens = [.. Enumerable.Range(0, 1000).Select(static _ => new Token())];
        PasidSet[] sets = [.. tokens.Select(token => allocator.NewSet(1, token))];
        for (int i = 0; i < tokens.Length; i++)
        {
            allocator.FindSet(tokens[i]).ShouldBeSameAs(sets[i]);
        }

        Token.Questions.ShouldBe(0);
    }

    private static IEnumerable<MethodInfo> All()
    {
        const BindingFlags declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        foreach ((Type type, string[] names) in ((Type, string[])[])
            [(typeof(PasidAllocator), ["Find", "FindSet", "TryGet", "TryGetSet"]), (typeof(PasidSet), ["FindGuest", "TryGetGuest"]),
             (typeof(VmPasidTable), ["TryTranslate"])])
        {
            foreach (string name in names)
            {
                MethodInfo[] found = [.. type.GetMethods(declared).Where(method => string.Equals(method.Name, name, StringComparison.Ordinal))];
                found.ShouldNotBeEmpty(name);
                foreach (MethodInfo method in found)
                {
                    yield return method;
                }
            }
        }

        // The private number of an IOASID: the way back.
        yield return typeof(Ioasid).GetProperty(nameof(Ioasid.Guest))!.GetMethod!;
    }

    private static string Describe(MethodInfo method) =>
        $"{Loops.NameOf(method)}({string.Join(", ", method.GetParameters().Select(static parameter => parameter.ParameterType.Name))})";

    private static MethodInfo Method(Type type, string name) => type.GetMethod(name, BindingFlags.NonPublic | BindingFlags.Static)!;

    private static int SearchByLoop(int[] list, int wanted)
    {
        int at = 0;
        while (at < list.Length && list[at] != wanted)
        {
            at++;
        }

        return at;
    }

    private static int SearchByCall(int[] list, int wanted) => SearchByLoop(list, wanted + 1);

    private static int SearchByItself(int[] list, int wanted) =>
        list.Length == 0 || list[0] == wanted ? 0 : 1 + SearchByItself(list[1..], wanted);

    private static bool SearchBySequence(int[] list, int wanted) => list.Any(one => one == wanted);

    private sealed class Token
    {
        public static int Questions { get; private set; }

        public override bool Equals(object? obj)
        {
            Questions++;
            return ReferenceEquals(this, obj);
        }

        public override int GetHashCode()
        {
            Questions++;
            return 1;
        }
    }
}
