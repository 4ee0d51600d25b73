using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;

namespace Ioasis.Native.Tests;

/// <summary>What the header, the library and the sources behind it promise each other.</summary>
public sealed partial class InterfaceTests
{
    private static string Header => File.ReadAllText(Path.Combine(Toolbox.Library, "ioasis.h"));

    [Theory]
    [InlineData("gcc", "c", "c99")]
    [InlineData("gcc", "c", "c11")]
    [InlineData("gcc", "c", "c17")]
    [InlineData("g++", "c++", "c++11")]
    [InlineData("g++", "c++", "c++20")]
    public void The_header_stands_alone_and_compiles_without_a_warning(string compiler, string language, string standard)
    {
        string working = Toolbox.Need(compiler, compiler + " libc6-dev linux-libc-dev");
        string source = Path.Combine(Toolbox.Scratch, $"alone-{language}-{standard}.h.in");
        File.WriteAllText(source, "#include <ioasis.h>\n#include <ioasis.h>\nstruct ioasis_stats stats;\n");
        (int status, string text) = Toolbox.Run(
            working, ["-x", language, "-std=" + standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I" + Toolbox.Library, source]);
        status.ShouldBe(0, text);
    }

    [Fact]
    public void The_library_exports_what_the_header_declares_with_its_version_and_nothing_else()
    {
        (int status, string text) = Toolbox.Run(Toolbox.Need("nm", "binutils"), ["-D", "--defined-only", Path.Combine(Toolbox.Library, "libioasis.so")]);
        status.ShouldBe(0, text);
        string[] symbols = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(static line => line.Split(' '))
            .Where(static parts => parts[^2] != "A")
            .Select(static parts => parts[^1])
            .Where(static symbol => !symbol.EndsWith("@@IOASIS_PRIVATE", StringComparison.Ordinal))];
        symbols.ShouldAllBe(static symbol => symbol.EndsWith("@@IOASIS_0.1", StringComparison.Ordinal));
        symbols.Select(static symbol => symbol.Split('@')[0]).Order(StringComparer.Ordinal)
            .ShouldBe(DeclaredCalls().Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_call_and_every_structure_of_the_header_has_a_comment()
    {
        string[] lines = Header.Split('\n');
        for (int i = 1; i < lines.Length; i++)
        {
            if (Declaration().IsMatch(lines[i]) || lines[i].StartsWith("struct ioasis_", StringComparison.Ordinal) && lines[i].EndsWith('{'))
            {
                // Calls that go together share a comment.
                int above = i - 1;
                while (Declaration().IsMatch(lines[above]))
                {
                    above--;
                }

                lines[above].ShouldEndWith("*/", Case.Sensitive, lines[i]);
            }
        }
    }

    [Fact]
    public void Structures_are_laid_out_alike_in_C_and_in_CSharp()
    {
        StringBuilder program = new("#include <ioasis.h>\n#include <stdio.h>\n");
        int structures = 0;
        foreach (Type type in typeof(Exports).Assembly.GetTypes()
            .Where(static type => type.Namespace == "Ioasis.Native" && type.IsValueType && (typeof(ISizedStructure).IsAssignableFrom(type) || type == typeof(Bar))))
        {
            structures++;
            string name = "struct ioasis_" + ToC(type.Name);
            _ = program.AppendLine($"_Static_assert(sizeof({name}) == {SizeOf(type)}, \"{name}\");");
            foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public))
            {
                long offset = Marshal.OffsetOf(type, field.Name);
                _ = program.AppendLine($"_Static_assert(offsetof({name}, {ToC(field.Name)}) == {offset}, \"{name}.{ToC(field.Name)}\");");
                _ = program.AppendLine($"_Static_assert(sizeof((({name} *)0)->{ToC(field.Name)}) == {SizeOf(field)}, \"size of {name}.{ToC(field.Name)}\");");
            }
        }

        structures.ShouldBe(8);
        string source = Path.Combine(Toolbox.Scratch, "layout.c");
        File.WriteAllText(source, program.Append("int main(void) { puts(\"ok\"); return 0; }\n").ToString());
        Toolbox.Run(Toolbox.CompileC(source), []).Text.ShouldBe("ok\n");
    }

    [Fact]
    public void Pkg_config_finds_the_library_where_it_was_installed()
    {
        string finder = Toolbox.Need("pkg-config", "pkg-config");
        string prefix = Path.Combine(Toolbox.Scratch, "prefix");
        _ = Toolbox.Library;
        (int status, string text) = Toolbox.Run(Path.Combine(Toolbox.Root, "native"), ["--prefix", prefix]);
        status.ShouldBe(0, text);
        (status, text) = Toolbox.Run(finder, [$"--with-path={prefix}/lib/pkgconfig", "--cflags", "--libs", "ioasis"]);
        status.ShouldBe(0, text);
        text.ShouldContain($"-I{prefix}/include");
        text.ShouldContain("-lioasis");
        File.Exists(Path.Combine(prefix, "lib", "libioasis.so.0")).ShouldBeTrue();
    }

    [Fact]
    public void The_build_says_what_it_needs_and_installs_nothing()
    {
        Dictionary<string, string> missing = new(StringComparer.Ordinal)
        {
            ["--frobnicate"] = "unknown option '--frobnicate'",
            ["--prefix"] = "--prefix needs a folder",
        };
        foreach ((string option, string words) in missing)
        {
            (int status, string text) = Toolbox.Run(Path.Combine(Toolbox.Root, "native"), [option]);
            status.ShouldBe(2);
            text.ShouldContain(words);
        }
    }

    private static IEnumerable<string> DeclaredCalls() =>
        Declaration().Matches(Header).Select(static match => match.Groups["name"].Value);

    // Of the types that are in ioasis.h's structures.
    private static int SizeOf(Type type) =>
        type.IsEnum ? SizeOf(Enum.GetUnderlyingType(type)) : type.IsFunctionPointer || type.IsUnmanagedFunctionPointer ? nint.Size : (int)typeof(InterfaceTests)
            .GetMethod(nameof(SizeOfUnmanaged), BindingFlags.NonPublic | BindingFlags.Static)!.MakeGenericMethod(type).Invoke(null, null)!;

    private static int SizeOf(FieldInfo field) => SizeOf(field.FieldType);

    private static int SizeOfUnmanaged<T>() => System.Runtime.CompilerServices.Unsafe.SizeOf<T>();

    private static string ToC(string name) => Upper().Replace(name, static match => "_" + match.Value).ToLowerInvariant();

    [GeneratedRegex(@"^(?:int|ssize_t|uint32_t|const char \*) ?(?<name>ioasis_\w+)\(", RegexOptions.Multiline | RegexOptions.ExplicitCapture)]
    private static partial Regex Declaration();

    [GeneratedRegex("(?<!^)[A-Z]")]
    private static partial Regex Upper();
}
