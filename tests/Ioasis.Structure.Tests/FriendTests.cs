using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace Ioasis.Structure.Tests;

/// <summary>Who sees the internals of a library (Directory.Build.targets): that opens no way around the table of floors.</summary>
public sealed class FriendTests
{
    public static TheoryData<string> Projects { get; } = [.. Repository.SourceProjects()];

    [Theory]
    [MemberData(nameof(Projects))]
    public void Only_what_may_refer_to_a_library_sees_its_internals(string project)
    {
        foreach (string friend in FriendsOf(project))
        {
            string name = string.Equals(friend, "ioasis", StringComparison.Ordinal) ? "Ioasis.Cli" : friend;
            if (Repository.Floors.SingleOrDefault(floor => string.Equals(floor.Project, name, StringComparison.Ordinal)) is { } floor)
            {
                floor.Sees.ShouldContain(project, $"{name} sees the internals of {project}");
            }
            else
            {
                // Not shipped: a test or a benchmark of this repository.
                new[] { "tests", "benchmarks" }.ShouldContain(
                    folder => File.Exists(Path.Combine(Repository.Root, folder, friend, friend + ".csproj")), $"{friend} sees the internals of {project}");
            }
        }
    }

    [Fact]
    public void Friends_are_found_in_the_assemblies() => FriendsOf("Ioasis.Core").ShouldContain("Ioasis.Kernel");

    private static List<string> FriendsOf(string project)
    {
        using PEReader image = new(File.OpenRead(Repository.Assembly(project)));
        MetadataReader metadata = image.GetMetadataReader();
        List<string> friends = [];
        foreach (CustomAttributeHandle handle in metadata.GetAssemblyDefinition().GetCustomAttributes())
        {
            CustomAttribute attribute = metadata.GetCustomAttribute(handle);
            if (attribute.Constructor.Kind == HandleKind.MemberReference
                && metadata.GetMemberReference((MemberReferenceHandle)attribute.Constructor).Parent is { Kind: HandleKind.TypeReference } parent
                && metadata.StringComparer.Equals(metadata.GetTypeReference((TypeReferenceHandle)parent).Name, "InternalsVisibleToAttribute"))
            {
                // The value begins with two bytes that are always 1 and 0 (ECMA-335, II.23.3); the name follows.
                BlobReader value = metadata.GetBlobReader(attribute.Value);
                value.ReadUInt16();
                friends.Add(value.ReadSerializedString()!);
            }
        }

        return friends;
    }
}
