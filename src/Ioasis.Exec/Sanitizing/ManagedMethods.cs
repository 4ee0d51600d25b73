using System.Globalization;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace Ioasis.Exec.Sanitizing;

/// <summary>
/// Methods of .NET programs by the addresses of their compiled code: the runtime writes them to <c>/tmp/perf-PID.map</c> when
/// <c>DOTNET_PerfMapEnabled</c> says so. It does not tell which instruction belongs to which line; the lines of the whole method come from
/// the program's symbols (portable PDB), where they are beside the assembly or in it.
/// </summary>
internal sealed class ManagedMethods
{
    /// <summary>The variable, and its value for the map alone.</summary>
    public const string Variable = "DOTNET_PerfMapEnabled";

    /// <summary>Only the map, without events for other tools.</summary>
    public const string MapOnly = "3";

    private readonly List<Method> _methods = [];
    private readonly Dictionary<string, MethodLines> _lines = new(StringComparer.Ordinal);

    /// <summary>Reads the maps of processes.</summary>
    /// <param name="processes">Their numbers.</param>
    /// <param name="isOurs">Whether the maps are there because we asked for them; then they are deleted.</param>
    public void Read(IEnumerable<int> processes, bool isOurs)
    {
        foreach (int process in processes)
        {
            string file = string.Create(CultureInfo.InvariantCulture, $"/tmp/perf-{process}.map");
            try
            {
                if (File.Exists(file))
                {
                    _methods.AddRange(File.ReadLines(file).Select(Method.Parse).OfType<Method>());
                    if (isOurs)
                    {
                        File.Delete(file);
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Then the frames stay addresses.
            }
        }

        _methods.Sort(static (one, other) => one.Start.CompareTo(other.Start));
    }

    /// <summary>The method at an address, as <c>Type.Method at File.cs:12-30</c>, or null.</summary>
    /// <param name="address">The address.</param>
    /// <param name="modules">Files that the program has mapped, its assemblies among them.</param>
    public string? Find(ulong address, IEnumerable<string> modules)
    {
        // The last one that begins there or before: code that was compiled again lies elsewhere.
        int low = 0, high = _methods.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _methods[middle].Start <= address ? (middle + 1, high) : (low, middle);
        }

        if (low == 0 || address - _methods[low - 1].Start >= _methods[low - 1].Length)
        {
            return null;
        }

        Method method = _methods[low - 1];
        string name = $"{method.Type}.{method.Name}";
        string? assembly = modules.FirstOrDefault(module => string.Equals(Path.GetFileNameWithoutExtension(module), method.Assembly, StringComparison.Ordinal));
        return assembly is not null && LinesOf(assembly).Find(method.Type, method.Name) is { } lines ? $"{name} at {lines}" : name;
    }

    private MethodLines LinesOf(string assembly)
    {
        if (!_lines.TryGetValue(assembly, out MethodLines? lines))
        {
            _lines[assembly] = lines = MethodLines.Read(assembly);
        }

        return lines;
    }

    /// <summary>A compiled method.</summary>
    private sealed record Method(ulong Start, ulong Length, string Assembly, string Type, string Name)
    {
        // "7f9660691860 3a int32 [assembly] Namespace.Type::Method(string[])"; stubs of the runtime have no brackets, arguments may have.
        public static Method? Parse(string line)
        {
            string[] words = line.Split(' ', 3);
            if (words.Length < 3)
            {
                return null;
            }

            int end = words[2].IndexOf("::", StringComparison.Ordinal);
            int open = end < 0 ? -1 : words[2].LastIndexOf(" [", end, StringComparison.Ordinal);
            int close = open < 0 ? -1 : words[2].IndexOf("] ", open, StringComparison.Ordinal);
            int arguments = end < 0 ? -1 : words[2].IndexOf('(', end);
            return close > 0 && close < end && arguments > 0 && CallStack.TryParse(words[0], out ulong start) && CallStack.TryParse(words[1], out ulong length)
                ? new(start, length, words[2][(open + 2)..close], words[2][(close + 2)..end], words[2][(end + 2)..arguments])
                : null;
        }
    }

    /// <summary>Which lines the methods of an assembly are on.</summary>
    private sealed class MethodLines
    {
        private readonly Dictionary<(string Type, string Method), (string File, int First, int Last)> _known = [];

        public static MethodLines Read(string assembly)
        {
            MethodLines lines = new();
            try
            {
                using PEReader image = new(File.OpenRead(assembly));
                if (image.HasMetadata && image.TryOpenAssociatedPortablePdb(
                    assembly, static path => File.Exists(path) ? File.OpenRead(path) : null, out MetadataReaderProvider? provider, out _) && provider is not null)
                {
                    using (provider)
                    {
                        lines.Learn(image.GetMetadataReader(), provider.GetMetadataReader());
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or BadImageFormatException or InvalidOperationException)
            {
                // Without symbols there are no lines.
            }

            return lines;
        }

        public string? Find(string type, string method) => _known.TryGetValue((type, method), out (string File, int First, int Last) found)
            ? string.Create(CultureInfo.InvariantCulture, $"{found.File}:{found.First}{(found.Last > found.First ? $"-{found.Last}" : "")}")
            : null;

        private void Learn(MetadataReader metadata, MetadataReader symbols)
        {
            HashSet<(string, string)> overloaded = [];
            foreach (MethodDefinitionHandle handle in metadata.MethodDefinitions)
            {
                MethodDefinition method = metadata.GetMethodDefinition(handle);
                (string, string) name = (NameOf(metadata, method.GetDeclaringType()), metadata.GetString(method.Name));
                (string File, int First, int Last)? lines = null;
                foreach (SequencePoint point in symbols.GetMethodDebugInformation(handle.ToDebugInformationHandle()).GetSequencePoints())
                {
                    if (!point.IsHidden)
                    {
                        string file = Path.GetFileName(symbols.GetString(symbols.GetDocument(point.Document).Name).Replace('\\', '/'));
                        lines = (file, Math.Min(lines?.First ?? point.StartLine, point.StartLine), Math.Max(lines?.Last ?? 0, point.EndLine));
                    }
                }

                // Which of several methods of one name it is, the map tells only by the types of the arguments.
                if (lines is { } found && !_known.TryAdd(name, found))
                {
                    _ = overloaded.Add(name);
                }
            }

            foreach ((string, string) name in overloaded)
            {
                _ = _known.Remove(name);
            }
        }

        // As the runtime writes it: Namespace.Outer+Inner.
        private static string NameOf(MetadataReader metadata, TypeDefinitionHandle handle)
        {
            TypeDefinition type = metadata.GetTypeDefinition(handle);
            string name = metadata.GetString(type.Name);
            return !type.GetDeclaringType().IsNil ? $"{NameOf(metadata, type.GetDeclaringType())}+{name}"
                : type.Namespace.IsNil ? name
                : $"{metadata.GetString(type.Namespace)}.{name}";
        }
    }
}
