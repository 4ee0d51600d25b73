using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text.RegularExpressions;

namespace Ioasis.Structure.Tests;

/// <summary>
/// No architecture's name in what every architecture shares: not in a namespace, type, member or parameter, public or
/// internal. The second driver is the proof that it need not be there, this is what keeps it so.
/// </summary>
public sealed partial class NeutralityTests
{
    public static TheoryData<string> Neutral { get; } =
    [
        "Ioasis.Primitives", "Ioasis.Platform", "Ioasis.PageTables", "Ioasis.Core", "Ioasis.Processes", "Ioasis.Kernel", "Ioasis.Client", "Ioasis.Uapi",
        "Ioasis.Devices",
    ];

    [Theory]
    [MemberData(nameof(Neutral))]
    public void A_shared_assembly_names_no_architecture(string project)
    {
        List<string> names = [.. NamesIn(project, IsShared(project))];
        names.Count.ShouldBeGreaterThan(10);
        names.Where(static name => Architectures().IsMatch(name)).ShouldBeEmpty();
    }

    [Theory]
    [InlineData("RiscVIommu", true)]
    [InlineData("MapMrif", true)]
    [InlineData("pscid", true)]
    [InlineData("UsePscidBits", true)]
    [InlineData("VtdStage2", true)]
    [InlineData("IntelDriver", true)]
    [InlineData("Sv48", true)]
    [InlineData("sv39x4", true)]
    [InlineData("IsSvnapot", true)]
    [InlineData("IsX64", true)]
    [InlineData("_ddtCache", true)]
    [InlineData("SmmuStream", true)]
    [InlineData("Interval", false)]
    [InlineData("AddTree", false)]
    [InlineData("Discard", false)]
    [InlineData("Charm", false)]
    [InlineData("Parm", false)]
    [InlineData("IsValid", false)]
    [InlineData("IntelligentName", false)]
    public void The_words_are_found_as_words(string name, bool isFound) => Architectures().IsMatch(name).ShouldBe(isFound);

    // What stands for one architecture in a place of its own: formats of page tables and structures of the ABI.
    private static Func<string, string, bool> IsShared(string project) => project switch
    {
        "Ioasis.PageTables" => static (space, _) => space != "Ioasis.PageTables.Formats",
        "Ioasis.Uapi" => static (_, type) => !OfOneArchitecture().IsMatch(type),
        _ => static (_, _) => true,
    };

    private static IEnumerable<string> NamesIn(string project, Func<string, string, bool> isShared)
    {
        using PEReader file = new(File.OpenRead(Repository.Assembly(project)));
        MetadataReader reader = file.GetMetadataReader();
        foreach (TypeDefinitionHandle handle in reader.TypeDefinitions)
        {
            TypeDefinition type = reader.GetTypeDefinition(handle);
            TypeDefinition outermost = type;
            while (!outermost.GetDeclaringType().IsNil)
            {
                outermost = reader.GetTypeDefinition(outermost.GetDeclaringType());
            }

            string space = reader.GetString(outermost.Namespace);
            if (!isShared(space, reader.GetString(outermost.Name)))
            {
                continue;
            }

            string name = reader.GetString(type.Name);
            yield return $"{space}: {name}";
            foreach (MethodDefinition method in type.GetMethods().Select(reader.GetMethodDefinition))
            {
                string member = reader.GetString(method.Name);
                yield return $"{name}.{member}";
                foreach (ParameterHandle parameter in method.GetParameters())
                {
                    yield return $"{name}.{member}({reader.GetString(reader.GetParameter(parameter).Name)})";
                }
            }

            foreach (FieldDefinitionHandle field in type.GetFields())
            {
                yield return $"{name}.{reader.GetString(reader.GetFieldDefinition(field).Name)}";
            }

            foreach (PropertyDefinitionHandle property in type.GetProperties())
            {
                yield return $"{name}.{reader.GetString(reader.GetPropertyDefinition(property).Name)}";
            }

            foreach (EventDefinitionHandle happening in type.GetEvents())
            {
                yield return $"{name}.{reader.GetString(reader.GetEventDefinition(happening).Name)}";
            }

            foreach (GenericParameterHandle parameter in type.GetGenericParameters())
            {
                yield return $"{name}<{reader.GetString(reader.GetGenericParameter(parameter).Name)}>";
            }
        }
    }

    // Of architectures and their IOMMUs, and of what only one of them has. A word begins with a capital or where no letter stands
    // before it, and ends before a capital or where no small letter follows.
    [GeneratedRegex(
        "((?<![A-Za-z])(riscV|mrif|imsic|pscid|gscid|iosatp|iohgatp|ddtp?|pdtp?|iotinval|iofence|svnapot|svpbmt|svadu|napot|pbmt|sv(32|39|48|57)(x4)?|"
        + "intel|vtd|dmar|enqcmd|x86|x64|amd|amdvi|arm|aarch64|smmu|smmuV3|msiPageTables?|interruptFiles?|processDirector(y|ies)|pagingMode)(?![a-z])"
        + "|(RiscV|RISCV|Mrif|Imsic|Pscid|Gscid|Iosatp|Iohgatp|Ddtp?|Pdtp?|Iotinval|Iofence|Svnapot|Svpbmt|Svadu|Napot|Pbmt|Sv(32|39|48|57)(x4)?|"
        + "Intel|Vtd|Dmar|Enqcmd|X86|X64|Amd|AmdVi|Arm|Aarch64|Smmu|SmmuV3|MsiPageTables?|InterruptFiles?|ProcessDirector(y|ies)|PagingMode)(?![a-z]))",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Architectures();

    [GeneratedRegex("(RiscV|Vtd)", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex OfOneArchitecture();
}
