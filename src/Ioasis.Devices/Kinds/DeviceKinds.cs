using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>The kinds of devices that a text can ask for (<c>--device KIND[,key=value…]</c>).</summary>
public sealed class DeviceKinds
{
    private readonly List<DeviceKind> _kinds = [];
    private readonly List<DeviceKey> _machineKeys = [.. DeviceLocation.Keys];

    /// <summary>The kinds, in the order in which they were added.</summary>
    internal IReadOnlyList<DeviceKind> All => _kinds;

    /// <summary>The kinds that this library has.</summary>
    public static DeviceKinds CreateDefault()
    {
        DeviceKinds kinds = new();
        kinds.Add(EduDevice.Kind);
        kinds.Add(Nvme.NvmeKind.Kind);
        kinds.Add(Virtio.VirtioBlockKind.Kind);
        kinds.Add(Virtio.VirtioNetKind.Kind);
        kinds.Add(Ioat.IoatKind.Kind);
        kinds.Add(Dsa.DsaKind.Kind);
        return kinds;
    }

    /// <summary>Adds a kind.</summary>
    /// <exception cref="ArgumentException">There is one of that name, or a key of it belongs to the machine.</exception>
    internal void Add(DeviceKind kind)
    {
        ArgumentNullException.ThrowIfNull(kind);
        if (_kinds.Exists(other => string.Equals(other.Name, kind.Name, StringComparison.Ordinal)))
        {
            throw new ArgumentException($"There is a kind \"{kind.Name}\" already.", nameof(kind));
        }

        foreach (DeviceKey key in _machineKeys)
        {
            if (kind.Keys.Any(other => string.Equals(other.Name, key.Name, StringComparison.Ordinal)))
            {
                throw new ArgumentException($"The key \"{key.Name}\" of \"{kind.Name}\" is the machine's.", nameof(kind));
            }
        }

        _kinds.Add(kind);
    }

    /// <summary>Adds a key that every kind takes and that is the machine's (<see cref="DeviceLocation.Others"/>).</summary>
    /// <exception cref="ArgumentException">A kind has a key of that name, or the machine.</exception>
    internal void AddMachineKey(DeviceKey key)
    {
        ArgumentNullException.ThrowIfNull(key);
        if (_machineKeys.Concat(_kinds.SelectMany(static kind => kind.Keys)).Any(other => string.Equals(other.Name, key.Name, StringComparison.Ordinal)))
        {
            throw new ArgumentException($"There is a key \"{key.Name}\" already.", nameof(key));
        }

        _machineKeys.Add(key);
    }

    /// <summary>Makes a device.</summary>
    /// <param name="text">What is wanted.</param>
    /// <param name="device">The device, which is in no machine; the caller disposes of it.</param>
    /// <param name="location">Where it is to be.</param>
    /// <returns>Null; or a sentence that says what is wrong: then nothing was made.</returns>
    public string? TryCreate(string text, out PciDevice? device, out DeviceLocation location)
    {
        device = null;
        location = new();
        try
        {
            DeviceSettings settings = new(text);
            DeviceKind kind = _kinds.Find(kind => string.Equals(kind.Name, settings.Kind, StringComparison.Ordinal))
                ?? throw new DeviceSettingException(
                    $"There is no device \"{settings.Kind}\": {string.Join(", ", _kinds.Select(static kind => kind.Name))} are known.");
            CheckKeys(kind, settings);
            location = ReadLocation(settings);
            device = kind.Create(settings);
            return null;
        }
        catch (Exception e) when (e is DeviceSettingException or IOException or UnauthorizedAccessException or ArgumentException or OutOfMemoryException)
        {
            device = null;
            return e.Message;
        }
    }

    private void CheckKeys(DeviceKind kind, DeviceSettings settings)
    {
        foreach (string key in settings.Keys)
        {
            DeviceKey known = kind.Keys.Concat(_machineKeys)
                .FirstOrDefault(other => string.Equals(other.Name, key, StringComparison.Ordinal))
                ?? throw new DeviceSettingException(
                    $"\"{kind.Name}\" has no key \"{key}\": {string.Join(", ", kind.Keys.Concat(_machineKeys).Select(static other => other.Name))} are known.");
            if (!known.IsRepeatable && settings.All(key).Count > 1)
            {
                throw new DeviceSettingException($"{key} is given {settings.All(key).Count} times: once is possible.");
            }
        }
    }

    private DeviceLocation ReadLocation(DeviceSettings settings) => new()
    {
        Address = settings.Text("addr") is { } address ? ParseAddress(address) : null,
        Iommu = (int)settings.Number("iommu", 0, 0, 255),
        Group = settings.Has("group") ? (int)settings.Number("group", 0, 0, int.MaxValue) : null,
        Name = settings.Text("name"),
        Others = ReadOthers(settings),
    };

    private IReadOnlyDictionary<string, string> ReadOthers(DeviceSettings settings)
    {
        Dictionary<string, string> others = _machineKeys.Skip(DeviceLocation.Keys.Count).Where(key => settings.Has(key.Name))
            .ToDictionary(static key => key.Name, key => settings.Text(key.Name)!, StringComparer.Ordinal);
        return others.Count == 0 ? DeviceLocation.NoOthers : others;
    }

    private static DeviceId ParseAddress(string text)
    {
        string[] parts = text.Split(':');
        string[] last = parts[^1].Split('.');
        if (parts.Length is 2 or 3
            && last.Length == 2
            && TryParse(parts.Length == 3 ? parts[0] : "0", 0xffff, out int segment)
            && TryParse(parts[^2], 0xff, out int bus)
            && TryParse(last[0], 31, out int slot)
            && TryParse(last[1], 7, out int function))
        {
            return DeviceId.FromPci((ushort)segment, (byte)bus, (byte)slot, (byte)function);
        }

        throw DeviceSettings.Bad("addr", text, "[DDDD:]BB:DD.F in hexadecimal digits is expected");
    }

    private static bool TryParse(string text, int most, out int value) =>
        int.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value >= 0 && value <= most;
}
