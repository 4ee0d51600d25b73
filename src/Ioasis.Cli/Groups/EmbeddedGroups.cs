using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Machines;
using Ioasis.Primitives;

namespace Ioasis.Cli.Groups;

/// <summary>
/// The groups of a machine that is described in a file and built in this process. What is usable is what the kernel side
/// answers when a program asks.
/// </summary>
internal static class EmbeddedGroups
{
    /// <summary>The platform file that stands for one that was not given.</summary>
    public static string ExampleText
    {
        get
        {
            using StreamReader text = new(typeof(EmbeddedGroups).Assembly.GetManifestResourceStream("example-platform.yaml")!);
            return text.ReadToEnd();
        }
    }

    /// <summary>Builds the machine and asks it.</summary>
    /// <exception cref="MachineFileException">The functions do not make a machine.</exception>
    public static GroupsReport Report(MachineFile file)
    {
        using EmbeddedPlatform platform = new(new()
        {
            Iommus = file.Iommus,
        });
        Dictionary<DeviceId, MachineFunction> functions = file.Functions.ToDictionary(static f => f.Function.Id);
        IReadOnlyDictionary<DeviceId, EmbeddedEndpoint> endpoints = file.AddTo(platform);
        GroupRow[] groups =
        [
            .. endpoints.Values.GroupBy(static endpoint => endpoint.Device.Group).OrderBy(static group => group.Key.Id)
                .Select(group => Row(platform, group.Key, [.. group.OrderBy(static endpoint => endpoint.Id.Value)], functions)),
        ];
        return new()
        {
            Backend = "embedded",
            Iommus =
            [
                .. platform.Iommus.Select(iommu => new IommuRow(
                    iommu.Name, endpoints.Values.Count(endpoint => endpoint.Iommu == iommu), iommu.Describe())),
            ],
            Groups = groups,
        };
    }

    private static GroupRow Row(
        EmbeddedPlatform platform, IommuGroup group, EmbeddedEndpoint[] endpoints, Dictionary<DeviceId, MachineFunction> functions) =>
        new()
        {
            Number = group.Id,
            Type = group.Domain.Kind.ToString().ToLowerInvariant(),
            Devices = [.. endpoints.Select(endpoint => Row(endpoint, functions[endpoint.Id]))],
            ReservedRegions =
            [
                .. endpoints.SelectMany(static endpoint => endpoint.Device.GetReservedRegions()).Distinct()
                    .OrderBy(static region => region.Range)
                    .Select(static region => new RegionRow(
                        new(region.Range.Start), new(region.Range.Last), MachineFile.WordFor(region.Kind))),
            ],
            UsableRanges = [.. Usable(platform, endpoints).Select(RangeRow.Of)],
            KnowsLimit = true,
        };

    private static DeviceRow Row(EmbeddedEndpoint endpoint, MachineFunction function) => new()
    {
        Name = endpoint.Id.ToString(),
        Kind = function.Name is { } name ? $"{name} ({MachineFile.WordFor(function.Function.Kind)})" : MachineFile.WordFor(function.Function.Kind),
        Path = function.Function.IsBridge ? null : endpoint.DevicePath,
        PasidBits = function.PasidBits == 0 ? null : function.PasidBits,
    };

    // As a program would: open the devices, attach them to an address space, ask for its ranges.
    private static IReadOnlyList<AddressRange> Usable(EmbeddedPlatform platform, EmbeddedEndpoint[] endpoints)
    {
        using var iommu = IommuFd.Open(platform.Kernel);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        List<VfioDevice> devices = [];
        try
        {
            foreach (EmbeddedEndpoint endpoint in endpoints)
            {
                var device = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
                devices.Add(device);
                device.Bind(iommu);
                device.Attach(space);
            }

            return space.GetIovaRanges();
        }
        finally
        {
            devices.ForEach(static device => device.Dispose());
        }
    }
}
