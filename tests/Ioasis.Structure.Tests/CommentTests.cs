using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Ioasis.Structure.Tests;

/// <summary>Comments of what is public send a reader to what is public: the rest is not in the reference, and cannot be used.</summary>
public sealed partial class CommentTests
{
    private const BindingFlags Declared = BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private static readonly Lazy<IReadOnlySet<string>> s_public = new(static () => PublicApiTests.Libraries.SelectMany(static row => PublicNames(row.Data)).ToHashSet(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(PublicApiTests.Libraries), MemberType = typeof(PublicApiTests))]
    public void A_public_comment_names_public_things(string project)
    {
        string[] wrong =
        [
            .. XDocument.Load(Path.ChangeExtension(Repository.Assembly(project), ".xml")).Descendants("member")
                .Where(static member => s_public.Value.Contains(Plain(member.Attribute("name")!.Value)))
                .SelectMany(static member => member.Descendants().Attributes("cref").Select(cref => (Member: member.Attribute("name")!.Value, Cref: cref.Value)))
                .Where(static link => Plain(link.Cref).StartsWith("Ioasis.", StringComparison.Ordinal) && !s_public.Value.Contains(Plain(link.Cref)))
                .Select(static link => $"{link.Member} names {link.Cref}"),
        ];
        wrong.ShouldBeEmpty();
    }

    [Fact]
    public void Names_are_told_apart_by_what_others_see()
    {
        s_public.Value.Count.ShouldBeGreaterThan(1000);
        s_public.Value.ShouldContain("Ioasis.Client.VfioDevice.Open");
        s_public.Value.ShouldContain("Ioasis.Client.VirtualEvent`1.Data");
        s_public.Value.ShouldContain("Ioasis.Client.IommuException.#ctor");
        s_public.Value.ShouldNotContain("Ioasis.Client.InputWatch");
        s_public.Value.ShouldNotContain("Ioasis.Client.KernelDescriptor.MakeEventErrno");
        Plain("M:Ioasis.Client.IoAddressSpace.Map``1(System.Memory{``0},Ioasis.Primitives.Access)").ShouldBe("Ioasis.Client.IoAddressSpace.Map");
    }

    // Types and members that others see, as comments name them, without parameters.
    private static IEnumerable<string> PublicNames(string project)
    {
        foreach (Type type in Assembly.LoadFrom(Repository.Assembly(project)).GetTypes().Where(static type => type.IsVisible))
        {
            string name = type.FullName!.Replace('+', '.');
            yield return name;
            foreach (MemberInfo member in type.GetMembers(Declared).Where(IsVisible))
            {
                yield return $"{name}.{member.Name.Replace('.', '#')}";
            }
        }
    }

    private static bool IsVisible(MemberInfo member) => member switch
    {
        MethodBase method => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly,
        FieldInfo field => field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly,
        PropertyInfo property => property.GetAccessors(nonPublic: true).Any(IsVisible),
        EventInfo raised => IsVisible(raised.AddMethod!),
        _ => false,
    };

    private static string Plain(string name) => Parameters().Replace(name[2..], "");

    [GeneratedRegex(@"(``\d+)?(\(.*)?(~.*)?$", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Parameters();
}
