using Ioasis.Devices;
using Ioasis.Devices.Network;
using Ioasis.Embedded;
using Ioasis.Machines;
using Ioasis.Primitives;
using Ioasis.VfioUser;
using Ioasis.VfioUser.Qemu;

namespace Ioasis.Exec;

/// <summary>Machines as a command line names them: a machine file, a kind of IOMMU, and devices as <c>KIND[,key=value]...</c>.</summary>
internal static class ExecMachine
{
    /// <summary>The kinds of devices that there are.</summary>
    public static DeviceKinds Kinds { get; } = MakeKinds();

    /// <summary>Reads what a machine is to be, and makes its devices, each at a place of its own.</summary>
    /// <param name="file">A machine file; null for a machine with one IOMMU.</param>
    /// <param name="iommu">The kind of IOMMUs of which nothing else is said, with options (<see cref="IommuSlot.TryParse"/>); null for the usual one.</param>
    /// <param name="devices">Devices beside those of the file.</param>
    /// <param name="options">The machine; the program is still to be said.</param>
    /// <param name="kinds">The kinds of devices; null for <see cref="Kinds"/>.</param>
    /// <returns>Null, or a sentence that names the word and the rule; then there are no devices.</returns>
    public static string? TryRead(string? file, string? iommu, IReadOnlyList<string> devices, out ExecOptions? options, DeviceKinds? kinds = null)
    {
        ArgumentNullException.ThrowIfNull(devices);
        kinds ??= Kinds;
        options = null;
        IommuSlot? slot = null;
        if (iommu is not null && !IommuSlot.TryParse(iommu, out slot, out string? wrong))
        {
            return $"{wrong}.";
        }

        MachineFile? machine = null;
        IReadOnlyDictionary<DeviceId, PciDevice> models = new Dictionary<DeviceId, PciDevice>();
        try
        {
            if (file is not null)
            {
                using StreamReader text = File.OpenText(file);
                machine = MachineFile.Parse(text, file, slot);
                models = machine.CreateDevices(kinds);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }

        string? error = Create(devices, machine, kinds, out List<ExecDevice> made);
        if (error is null && (error = DevicePeers.Join(NamesOf(machine, models, made))) is not null)
        {
            made.ForEach(static other => other.Device.Dispose());
        }

        if (error is not null)
        {
            foreach (PciDevice model in models.Values)
            {
                model.Dispose();
            }

            return error;
        }

        options = new() { File = machine, FileDevices = models, Devices = made };
        if (machine is not null || slot is not null)
        {
            options = options with { Machine = options.Machine with { Iommus = machine?.Iommus ?? [slot!] } };
        }

        return null;
    }

    private static List<NamedDevice> NamesOf(MachineFile? machine, IReadOnlyDictionary<DeviceId, PciDevice> models, List<ExecDevice> devices) =>
    [
        .. machine?.NamesOf(models) ?? [],
        .. devices.Select(static device => new NamedDevice(device.Id, device.Location.Name, device.Device)),
    ];

    private static DeviceKinds MakeKinds()
    {
        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.Add(RemoteDevice.Kind);
        kinds.Add(QemuDevice.Kind);
        return kinds;
    }

    private static string? Create(IReadOnlyList<string> texts, MachineFile? machine, DeviceKinds kinds, out List<ExecDevice> devices)
    {
        List<(PciDevice Device, DeviceLocation Location)> made = [];
        devices = [];
        string? error = null;
        foreach (string text in texts)
        {
            if (kinds.TryCreate(text, out PciDevice? device, out DeviceLocation location) is { } wrong)
            {
                error = $"--device {text}: {wrong}";
                break;
            }

            made.Add((device!, location));
        }

        // Those that have a place first: the others go where they leave room.
        HashSet<DeviceId> taken = [.. machine?.Functions.Select(static function => function.Function.Id) ?? []];
        int iommus = machine?.Iommus.Count ?? 1;
        foreach ((_, DeviceLocation location) in made)
        {
            if (location.Address is { } address && !taken.Add(address))
            {
                error ??= $"two devices are at {address}.";
            }

            if (location.Iommu >= iommus)
            {
                error ??= $"iommu={location.Iommu}: the machine has {iommus}, from 0.";
            }
        }

        if (error is not null)
        {
            made.ForEach(static other => other.Device.Dispose());
            return error;
        }

        foreach ((PciDevice device, DeviceLocation location) in made)
        {
            DeviceId id = location.Address ?? NextFree(taken);
            devices.Add(new(id, device, new() { GroupId = location.Group, Iommu = location.Iommu }) { Location = location });
        }

        return null;
    }

    private static DeviceId NextFree(HashSet<DeviceId> taken)
    {
        for (int slot = 1; ; slot++)
        {
            DeviceId id = DeviceId.FromPci(0, slot / 32, slot % 32, 0);
            if (taken.Add(id))
            {
                return id;
            }
        }
    }
}
