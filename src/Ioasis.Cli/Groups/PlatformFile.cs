using System.Globalization;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Primitives;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Ioasis.Cli.Groups;

/// <summary>A platform file that cannot be used; the message names the line.</summary>
internal sealed class PlatformFileException(string message) : IOException(message);

/// <summary>One function of a platform file.</summary>
/// <param name="Function">What it is.</param>
/// <param name="Name">Its name, or null.</param>
/// <param name="PasidBits">PASID bits that it can send.</param>
/// <param name="ReservedRegions">IOVAs of it that are not free to map.</param>
/// <param name="Iommu">Which IOMMU is before it, from 0.</param>
internal sealed record PlatformFunction(
    PcieFunction Function, string? Name, int PasidBits, IReadOnlyList<ReservedRegion> ReservedRegions, int Iommu);

/// <summary>
/// A machine in a small YAML file: its IOMMUs, and the functions of its PCI buses (docs/how-to.md). Every key is checked; what is
/// not known is an error, with its line.
/// </summary>
internal sealed record PlatformFile
{
    /// <summary>The IOMMUs, each with a name.</summary>
    public IReadOnlyList<IommuSlot> Iommus { get; private init; } = [];

    /// <summary>The functions.</summary>
    public IReadOnlyList<PlatformFunction> Functions { get; private init; } = [];

    /// <summary>Reads a file's text.</summary>
    /// <exception cref="PlatformFileException">It is not one.</exception>
    /// <param name="text">The text.</param>
    /// <param name="fileName">What messages call it.</param>
    /// <param name="usualKind">The kind of IOMMUs of which the file does not say it.</param>
    public static PlatformFile Parse(TextReader text, string fileName, string usualKind)
    {
        YamlStream stream = [];
        try
        {
            stream.Load(text);
        }
        catch (YamlException error)
        {
            throw new PlatformFileException($"{fileName}:{error.Start.Line}: {error.Message}");
        }

        if (stream.Documents is not [{ RootNode: YamlMappingNode root }])
        {
            throw new PlatformFileException($"{fileName}: not a mapping with 'iommu' and 'functions'");
        }

        Section file = new(fileName, root);
        List<IommuSlot> iommus = ReadIommus(file, usualKind);
        PlatformFile made = new()
        {
            Iommus = iommus, Functions = [.. file.List("functions").Select(section => ReadFunction(section, iommus))],
        };
        file.RefuseOthers();
        return made;
    }

    // One, as 'iommu', or several, as a list 'iommus'.
    private static List<IommuSlot> ReadIommus(Section file, string usualKind)
    {
        List<Section> sections = [.. file.List("iommus", isOptional: true)];
        if (file.TrySection("iommu") is { } only)
        {
            if (sections.Count > 0)
            {
                throw only.Wrong("'iommu' is for a machine with one; this one has a list 'iommus'");
            }

            sections.Add(only);
        }

        List<IommuSlot> iommus = [];
        foreach (Section section in sections)
        {
            string name = section.TryText("name") ?? string.Create(CultureInfo.InvariantCulture, $"iommu{iommus.Count}");
            if (iommus.Exists(other => string.Equals(other.Name, name, StringComparison.Ordinal)))
            {
                throw section.Wrong($"there are two IOMMUs with the name {name}");
            }

            string kind = section.TryChoice("kind", IommuKinds) ?? usualKind;
            _ = IommuSlot.TryCreate(kind, out IommuSlot? slot);
            iommus.Add(slot! with
            {
                Name = name,
                Format = section.TryChoice("mode", slot.Formats.OrderBy(static format => format.ApertureBits).ToDictionary(static format => format.Name.ToLowerInvariant(), StringComparer.Ordinal)),
                MsiWindow = section.TryRange("msi-window"),
            });
            section.RefuseOthers();
        }

        if (iommus.Count == 0)
        {
            _ = IommuSlot.TryCreate(usualKind, out IommuSlot? slot);
            iommus.Add(slot! with { Name = "iommu0" });
        }

        return iommus;
    }

    private static readonly Dictionary<string, string> IommuKinds = IommuSlot.Kinds.ToDictionary(static kind => kind, StringComparer.Ordinal);

    private static readonly Dictionary<string, PcieFunctionKind> Kinds = new(StringComparer.Ordinal)
    {
        ["endpoint"] = PcieFunctionKind.Endpoint, ["integrated-endpoint"] = PcieFunctionKind.IntegratedEndpoint,
        ["root-port"] = PcieFunctionKind.RootPort, ["upstream-port"] = PcieFunctionKind.UpstreamPort,
        ["downstream-port"] = PcieFunctionKind.DownstreamPort, ["pcie-pci-bridge"] = PcieFunctionKind.PciePciBridge,
        ["pci-pcie-bridge"] = PcieFunctionKind.PciPcieBridge, ["pci-device"] = PcieFunctionKind.ConventionalDevice,
        ["pci-bridge"] = PcieFunctionKind.ConventionalBridge,
    };

    private static readonly Dictionary<string, AcsControls?> Acs = new(StringComparer.Ordinal)
    {
        ["none"] = null, ["off"] = AcsControls.None, ["on"] = AcsControls.Isolation,
    };

    private static readonly Dictionary<string, ReservedRegionKind> RegionKinds = new(StringComparer.Ordinal)
    {
        ["direct"] = ReservedRegionKind.Direct, ["direct-relaxable"] = ReservedRegionKind.DirectRelaxable,
        ["reserved"] = ReservedRegionKind.Reserved, ["msi"] = ReservedRegionKind.Msi,
    };

    /// <summary>Linux' word for a kind of region.</summary>
    public static string WordFor(ReservedRegionKind kind) =>
        kind == ReservedRegionKind.SoftwareMsi ? "msi" : RegionKinds.First(pair => pair.Value == kind).Key;

    /// <summary>The file's word for a kind of function.</summary>
    public static string WordFor(PcieFunctionKind kind) => Kinds.First(pair => pair.Value == kind).Key;

    private static PlatformFunction ReadFunction(Section section, List<IommuSlot> iommus)
    {
        DeviceId id = section.DeviceId("id");
        PcieFunctionKind kind = section.TryChoice("kind", Kinds) ?? PcieFunctionKind.Endpoint;
        int? bus = section.TryNumber("bus", 255);
        AcsControls? acs = section.TryChoice("acs", Acs) ?? null;
        PcieFunction function = new()
        {
            Id = id,
            Kind = kind,
            SecondaryBus = bus,
            AcsSupported = acs is null ? null : AcsControls.Isolation,
            AcsEnabled = acs ?? AcsControls.None,
            IsMultiFunction = section.TryFlag("multi-function") ?? false,
            IsExternalFacing = section.TryFlag("external-facing") ?? false,
        };
        if (function.IsBridge != (bus is not null))
        {
            throw section.Wrong(function.IsBridge ? $"a {WordFor(kind)} needs 'bus', the number of the bus behind it" : $"'bus' is for bridges and ports: nothing is behind a function of kind {WordFor(kind)}");
        }

        List<ReservedRegion> regions = [];
        foreach (Section region in section.List("reserved", isOptional: true))
        {
            regions.Add(new(
                region.TryRange("range") ?? throw region.Wrong("needs 'range', as 0x1000-0x1fff"),
                region.TryChoice("kind", RegionKinds) ?? ReservedRegionKind.Reserved));
            region.RefuseOthers();
        }

        int iommu = 0;
        if (section.TryText("iommu") is { } iommuName)
        {
            iommu = iommus.FindIndex(one => string.Equals(one.Name, iommuName, StringComparison.Ordinal));
            if (iommu < 0)
            {
                throw section.Wrong($"there is no IOMMU {iommuName}, but {string.Join(", ", iommus.Select(static one => one.Name))}");
            }
        }

        PlatformFunction made = new(function, section.TryText("name"), section.TryNumber("pasid-bits", 20) ?? 0, regions, iommu);
        section.RefuseOthers();
        return made;
    }

    /// <summary>A mapping of the file, each key of which is asked for once.</summary>
    private sealed class Section(string file, YamlMappingNode node)
    {
        private readonly HashSet<string> _asked = new(StringComparer.Ordinal);

        public PlatformFileException Wrong(string what) => WrongAt(node, what);

        public string? TryText(string key) => Find(key) switch
        {
            null => null,
            YamlScalarNode { Value: { } text } => text,
            var other => throw WrongAt(other, $"'{key}' must be a word"),
        };

        public T? TryChoice<T>(string key, Dictionary<string, T> choices)
            where T : struct => TryText(key) is not { } text ? null : Choose(key, text, choices);

        public T? TryChoice<T>(string key, Dictionary<string, T> choices, T? none = null)
            where T : class => TryText(key) is not { } text ? none : Choose(key, text, choices);

        public T? TryChoice<T>(string key, Dictionary<string, T?> choices)
            where T : struct => TryText(key) is not { } text ? null : Choose(key, text, choices);

        public int? TryNumber(string key, int max) =>
            TryText(key) is not { } text ? null
            : TryParse(text, out ulong value) && value <= (ulong)max ? (int)value
            : throw WrongAt(Find(key)!, $"'{key}' must be a number up to {max}");

        public bool? TryFlag(string key) => TryText(key) switch
        {
            null => null,
            "true" or "yes" or "on" => true,
            "false" or "no" or "off" => false,
            _ => throw WrongAt(Find(key)!, $"'{key}' must be true or false"),
        };

        public DeviceId DeviceId(string key) =>
            TryText(key) is { } text && Primitives.DeviceId.TryParse(text, out DeviceId id)
                ? id
                : throw Wrong($"needs '{key}', a PCI address as 00:1f.0, 0000:00:1f.0 or 10000:01:00.0");

        public AddressRange? TryRange(string key)
        {
            if (TryText(key) is not { } text)
            {
                return null;
            }

            string[] ends = text.Split('-', StringSplitOptions.TrimEntries);
            return ends.Length == 2 && TryParse(ends[0], out ulong start) && TryParse(ends[1], out ulong last) && start <= last
                ? new(start, last)
                : throw WrongAt(Find(key)!, $"'{key}' must be a range, as 0x1000-0x1fff");
        }

        public Section? TrySection(string key) => Find(key) switch
        {
            null => null,
            YamlMappingNode inner => new(file, inner),
            var other => throw WrongAt(other, $"'{key}' must be a mapping"),
        };

        public IEnumerable<Section> List(string key, bool isOptional = false) => Find(key) switch
        {
            null when isOptional => [],
            YamlSequenceNode list => list.Select(item =>
                item is YamlMappingNode inner ? new Section(file, inner) : throw WrongAt(item, $"an item of '{key}' must be a mapping")),
            var other => throw WrongAt(other ?? node, $"'{key}' must be a list"),
        };

        public void RefuseOthers()
        {
            foreach (YamlNode key in node.Children.Keys)
            {
                if (key is not YamlScalarNode { Value: { } name } || !_asked.Contains(name))
                {
                    throw WrongAt(key, $"'{key}' is not known here ({string.Join(", ", _asked.Order(StringComparer.Ordinal))})");
                }
            }
        }

        private static bool TryParse(string text, out ulong value)
        {
            text = text.Replace("_", "", StringComparison.Ordinal);
            return text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
                ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
                : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
        }

        private T Choose<T>(string key, string text, Dictionary<string, T> choices) =>
            choices.TryGetValue(text, out T? value)
                ? value
                : throw WrongAt(Find(key)!, $"'{key}' must be one of {string.Join(", ", choices.Keys)}");

        private YamlNode? Find(string key)
        {
            _asked.Add(key);
            return node.Children.TryGetValue(new YamlScalarNode(key), out YamlNode? found) ? found : null;
        }

        private PlatformFileException WrongAt(YamlNode at, string what) => new($"{file}:{at.Start.Line}: {what}");
    }
}
