namespace Ioasis.Devices;

/// <summary>A kind of device that can be asked for by a line of text: <c>nvme,file=disk.img,size=1G</c>.</summary>
/// <param name="Name">The first word of the text.</param>
/// <param name="Summary">What it is, for people.</param>
/// <param name="Keys">What can be said of it.</param>
/// <param name="Create">Makes one. It may throw <see cref="DeviceSettingException"/> or what opening a file throws.</param>
internal sealed record DeviceKind(
    string Name, string Summary, IReadOnlyList<DeviceKey> Keys, Func<DeviceSettings, PciDevice> Create);

/// <summary>Something that can be said of a device.</summary>
/// <param name="Name">The word before "=".</param>
/// <param name="Help">What may stand behind it and what it means, for people.</param>
/// <param name="IsRepeatable">Whether it may be said several times.</param>
internal sealed record DeviceKey(string Name, string Help, bool IsRepeatable = false);

/// <summary>Where a device is to be: what its text says of the machine and not of the device itself.</summary>
public sealed record DeviceLocation
{
    /// <summary>The keys, which every kind has.</summary>
    internal static IReadOnlyList<DeviceKey> Keys { get; } =
    [
        new("addr", "[DDDD:]BB:DD.F, its place on the bus"),
        new("iommu", "number of the IOMMU before it, from 0"),
        new("group", "number of the group that it shares"),
        new("name", "its name"),
    ];

    /// <summary>Segment, bus, device and function; null if the machine chooses.</summary>
    public Primitives.DeviceId? Address { get; init; }

    /// <summary>Which IOMMU is before it.</summary>
    public int Iommu { get; init; }

    /// <summary>The group that it shares; null for one of its own.</summary>
    public int? Group { get; init; }

    /// <summary>Its name; null for one made of its address.</summary>
    public string? Name { get; init; }

    /// <summary>What else its text says of the machine, by the keys that were added.</summary>
    public IReadOnlyDictionary<string, string> Others { get; init; } = NoOthers;

    // One for all, so that two locations of which nothing is said are equal.
    internal static IReadOnlyDictionary<string, string> NoOthers { get; } = new Dictionary<string, string>(StringComparer.Ordinal);
}

/// <summary>Something in a device's text that is not possible. The message is a sentence that names key, value and rule.</summary>
public sealed class DeviceSettingException : Exception
{
    /// <summary>Makes one.</summary>
    public DeviceSettingException()
    {
    }

    /// <summary>Makes one.</summary>
    public DeviceSettingException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one.</summary>
    public DeviceSettingException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
