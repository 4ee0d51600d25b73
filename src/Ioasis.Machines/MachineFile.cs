using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Network;
using Ioasis.Embedded;
using Ioasis.Primitives;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Ioasis.Machines;

/// <summary>
/// A machine in a small YAML file: its IOMMUs, the functions of its PCI buses and the models of devices in their places (docs/how-to.md).
/// Every key is checked; what is not known is an error, with its line.
/// </summary>
public sealed record MachineFile
{
    private const int MostNesting = 16;
    private const int MostBytes = 1 << 20;

    private MachineFile(string name, PcieTopology topology) => (Name, Topology) = (name, topology);

    /// <summary>What messages call the file.</summary>
    public string Name { get; }

    /// <summary>The functions as a topology.</summary>
    public PcieTopology Topology { get; }

    /// <summary>The IOMMUs, each with a name.</summary>
    public IReadOnlyList<IommuSlot> Iommus { get; private init; } = [];

    /// <summary>The functions, in the order of the file.</summary>
    public IReadOnlyList<MachineFunction> Functions { get; private init; } = [];

    /// <summary>Reads a file's text.</summary>
    /// <exception cref="MachineFileException">It is not one, or the functions do not make a machine.</exception>
    /// <param name="text">The text.</param>
    /// <param name="fileName">What messages call it.</param>
    /// <param name="usual">What IOMMUs are of which the file does not say the kind; null for the usual kind.</param>
    public static MachineFile Parse(TextReader text, string fileName, IommuSlot? usual = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        usual ??= new RiscVIommuSlot();
        YamlStream stream = Load(ReadAll(text, fileName), fileName);
        if (stream.Documents is not [{ RootNode: YamlMappingNode root }])
        {
            throw new MachineFileException($"{fileName}: not a mapping with 'iommu' and 'functions'");
        }

        Section file = new(fileName, root);
        List<IommuSlot> iommus = ReadIommus(file, usual);
        List<MachineFunction> functions = [.. file.List("functions").Select(section => ReadFunction(section, iommus))];
        file.RefuseOthers();
        return PcieTopology.TryCreate(functions.Select(static function => function.Function), out PcieTopology? topology, out string? error)
            ? new(fileName, topology!) { Iommus = iommus, Functions = functions }
            : throw new MachineFileException($"{fileName}: {error}");
    }

    /// <summary>Makes the models of devices that the file names. They are in no machine yet; the caller disposes of them.</summary>
    /// <exception cref="MachineFileException">One cannot be made: then none is there.</exception>
    public IReadOnlyDictionary<DeviceId, PciDevice> CreateDevices(DeviceKinds kinds)
    {
        ArgumentNullException.ThrowIfNull(kinds);
        Dictionary<DeviceId, PciDevice> made = [];
        try
        {
            foreach (MachineFunction function in Functions)
            {
                if (function.Device is { } text)
                {
                    made.Add(function.Function.Id, CreateDevice(kinds, function, text));
                }
            }

            return made;
        }
        catch
        {
            foreach (PciDevice device in made.Values)
            {
                device.Dispose();
            }

            throw;
        }
    }

    /// <summary>What the models are called in the file, for those that name each other.</summary>
    /// <param name="devices">Models, by their places (<see cref="CreateDevices"/>).</param>
    internal IReadOnlyList<NamedDevice> NamesOf(IReadOnlyDictionary<DeviceId, PciDevice> devices)
    {
        ArgumentNullException.ThrowIfNull(devices);
        return
        [
            .. from function in Functions
               let model = devices.GetValueOrDefault(function.Function.Id)
               where model is not null
               select new NamedDevice(function.Function.Id, function.Name, model!),
        ];
    }

    /// <summary>
    /// Puts the functions into a platform that was made with <see cref="Iommus"/>. After an exception the platform is good for nothing
    /// but its end.
    /// </summary>
    /// <param name="platform">The platform, without devices.</param>
    /// <param name="devices">Models, by their places (<see cref="CreateDevices"/>).</param>
    /// <param name="useNames">Whether the names of the file are those by which clients ask for devices; else their addresses are, as on Linux.</param>
    /// <returns>The functions, by their numbers.</returns>
    /// <exception cref="MachineFileException">An IOMMU does not take a function, a name is there twice, or a device does not fit.</exception>
    public IReadOnlyDictionary<DeviceId, EmbeddedEndpoint> AddTo(
        EmbeddedPlatform platform, IReadOnlyDictionary<DeviceId, PciDevice>? devices = null, bool useNames = false)
    {
        ArgumentNullException.ThrowIfNull(platform);
        Dictionary<DeviceId, MachineFunction> functions = Functions.ToDictionary(static function => function.Function.Id);
        foreach ((DeviceId id, MachineFunction function) in functions)
        {
            IommuInstance iommu = platform.Iommus[function.Iommu].Driver;
            if (iommu.ReasonToRefuse(id) is { } reason)
            {
                throw new MachineFileException($"{Name}: {id} cannot be behind {(platform.Iommus.Count == 1 ? "this IOMMU" : iommu.Name)}: {reason}.");
            }
        }

        try
        {
            return platform.AddTopology(
                Topology,
                properties: function => new()
                {
                    Iommu = functions[function.Id].Iommu,
                    PasidBits = functions[function.Id].PasidBits,
                    ReservedRegions = functions[function.Id].ReservedRegions,
                    Name = useNames ? functions[function.Id].Name : null,
                },
                devices: function => devices?.GetValueOrDefault(function.Id));
        }
        catch (IommuException error)
        {
            throw new MachineFileException($"{Name}: {error.Message}", error);
        }
    }

    private PciDevice CreateDevice(DeviceKinds kinds, MachineFunction function, string text)
    {
        if (kinds.TryCreate(text, out PciDevice? device, out DeviceLocation location) is { } wrong)
        {
            throw new MachineFileException($"{Name}:{function.Line}: 'device': {wrong}");
        }

        if (location != new DeviceLocation())
        {
            device!.Dispose();
            throw new MachineFileException($"{Name}:{function.Line}: 'device' is \"{text}\": the machine's file says by its other keys where it is and how it is called");
        }

        return device!;
    }

    private static string ReadAll(TextReader text, string fileName)
    {
        char[] buffer = new char[MostBytes + 1];
        int length = text.ReadBlock(buffer, 0, buffer.Length);
        return length <= MostBytes ? new(buffer, 0, length) : throw new MachineFileException($"{fileName}: longer than {MostBytes} characters");
    }

    private static YamlStream Load(string text, string fileName)
    {
        try
        {
            // The tree is built by recursion: how deep it goes is known before.
            Parser parser = new(new StringReader(text));
            int depth = 0;
            while (parser.MoveNext())
            {
                depth += parser.Current!.NestingIncrease;
                if (depth > MostNesting)
                {
                    throw new MachineFileException($"{fileName}:{parser.Current.Start.Line}: nested more than {MostNesting} deep");
                }

                if (parser.Current is AnchorAlias)
                {
                    throw new MachineFileException($"{fileName}:{parser.Current.Start.Line}: an alias stands for what is written elsewhere: not here");
                }
            }

            YamlStream stream = [];
            stream.Load(new StringReader(text));
            return stream;
        }
        catch (YamlException error)
        {
            throw new MachineFileException($"{fileName}:{error.Start.Line}: {error.Message}", error);
        }
    }

    // One, as 'iommu', or several, as a list 'iommus'.
    private static List<IommuSlot> ReadIommus(Section file, IommuSlot usual)
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

            iommus.Add(ReadIommu(section, name, usual));
            section.RefuseOthers();
        }

        if (iommus.Count == 0)
        {
            iommus.Add(usual with { Name = "iommu0" });
        }

        return iommus;
    }

    private static IommuSlot ReadIommu(Section section, string name, IommuSlot usual)
    {
        IommuSlot? slot = usual;
        if (section.TryText("kind") is { } kind && !IommuSlot.TryParse(kind, out slot, out string? error))
        {
            throw section.WrongValue("kind", $"'kind': {error}");
        }

        slot = slot! with { Name = name, MsiWindow = section.TryRange("msi-window") };
        foreach (IommuSlotOption option in slot.Options)
        {
            if (section.TryText(option.Name) is { } value && slot.Set(option.Name, value, out slot) is { } wrong)
            {
                throw section.WrongValue(option.Name, wrong);
            }
        }

        return slot.FindConflict() is { } conflict ? throw section.Wrong(conflict) : slot;
    }

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
    internal static string WordFor(ReservedRegionKind kind) =>
        kind == ReservedRegionKind.SoftwareMsi ? "msi" : RegionKinds.First(pair => pair.Value == kind).Key;

    /// <summary>The file's word for a kind of function.</summary>
    internal static string WordFor(PcieFunctionKind kind) => Kinds.First(pair => pair.Value == kind).Key;

    private static MachineFunction ReadFunction(Section section, List<IommuSlot> iommus)
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

        MachineFunction made = new(function, section.Line)
        {
            Name = section.TryText("name"),
            PasidBits = section.TryNumber("pasid-bits", 20) ?? 0,
            ReservedRegions = regions,
            Iommu = iommu,
            Device = section.TryText("device"),
        };
        if (made.Device is not null && function.IsBridge)
        {
            throw section.Wrong($"'device' is for functions that do DMA, not for a {WordFor(kind)}");
        }

        section.RefuseOthers();
        return made;
    }
}
