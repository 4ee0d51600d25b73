namespace Ioasis.Devices.Virtio;

/// <summary>Misbehaviour as a line of text says it.</summary>
internal static class VirtioMisbehaviourText
{
    private static readonly (string Word, VirtioOperation Operation)[] s_disk =
    [
        ("any", VirtioOperation.Any), ("read", VirtioOperation.Read), ("write", VirtioOperation.Write), ("flush", VirtioOperation.Flush),
        ("get-id", VirtioOperation.GetId), ("discard", VirtioOperation.Discard), ("write-zeroes", VirtioOperation.WriteZeroes),
    ];

    private static readonly (string Word, VirtioOperation Operation)[] s_network =
    [
        ("any", VirtioOperation.Any), ("send", VirtioOperation.Send), ("receive", VirtioOperation.Receive),
    ];

    /// <summary>The keys of a disk.</summary>
    public static IReadOnlyList<DeviceKey> DiskKeys { get; } =
    [
        new("fail", $"OPERATION[@SECTOR]:STATUS, requests that fail: read@100:1; operations: {Words(s_disk)}; status 1 to 255, 1 an error, 2 unsupported", IsRepeatable: true),
        new("delay", "OPERATION:TIME, requests that are done late: read:10ms; TIME ends in us, ms or s", IsRepeatable: true),
        .. DeviceMisbehaviour.KeysFor("request", "read"),
    ];

    /// <summary>The keys of a network.</summary>
    public static IReadOnlyList<DeviceKey> NetworkKeys { get; } =
    [
        new("fail", $"OPERATION:PERCENT, so many frames are lost: send:10; operations: {Words(s_network)}", IsRepeatable: true),
        new("delay", "OPERATION:TIME, frames that are late: receive:10ms; TIME ends in us, ms or s", IsRepeatable: true),
        .. DeviceMisbehaviour.KeysFor("frame", "received frame"),
    ];

    /// <summary>Reads a disk's; null if none of the keys occurs.</summary>
    /// <exception cref="DeviceSettingException">A value is not possible.</exception>
    public static VirtioMisbehaviour? ReadDisk(DeviceSettings settings) => Read(settings, DiskKeys, s_disk, 255);

    /// <summary>Reads a network's; null if none of the keys occurs.</summary>
    /// <exception cref="DeviceSettingException">A value is not possible.</exception>
    public static VirtioMisbehaviour? ReadNetwork(DeviceSettings settings) => Read(settings, NetworkKeys, s_network, 100);

    private static VirtioMisbehaviour? Read(
        DeviceSettings settings, IReadOnlyList<DeviceKey> keys, (string Word, VirtioOperation Operation)[] words, byte most) =>
        !keys.Any(key => settings.Has(key.Name)) ? null : DeviceMisbehaviour.Read(settings, new VirtioMisbehaviour
        {
            Failures = [.. settings.All("fail").Select(text => ReadFailure(text, words, most))],
            Delays = [.. settings.All("delay").Select(text => ReadDelay(text, words))],
        });

    private static VirtioFailure ReadFailure(string text, (string Word, VirtioOperation Operation)[] words, byte most)
    {
        (string word, string value) = Split("fail", text);
        int at = word.IndexOf('@', StringComparison.Ordinal);
        ulong? sector = at < 0 ? null : (ulong)DeviceSettings.ParseNumber("fail", word[(at + 1)..], 0, long.MaxValue);
        if (sector is not null && words == s_network)
        {
            throw DeviceSettings.Bad("fail", text, "frames have no sector");
        }

        return new(ReadOperation("fail", at < 0 ? word : word[..at], text, words), sector, (byte)DeviceSettings.ParseNumber("fail", value, 1, most));
    }

    private static VirtioDelay ReadDelay(string text, (string Word, VirtioOperation Operation)[] words)
    {
        (string word, string time) = Split("delay", text);
        return new(ReadOperation("delay", word, text, words), DeviceSettings.ParseTime("delay", time, text));
    }

    private static (string Word, string Value) Split(string key, string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? throw DeviceSettings.Bad(key, text, "OPERATION:VALUE is expected") : (text[..colon], text[(colon + 1)..]);
    }

    private static VirtioOperation ReadOperation(string key, string word, string text, (string Word, VirtioOperation Operation)[] words)
    {
        foreach ((string known, VirtioOperation operation) in words)
        {
            if (string.Equals(known, word, StringComparison.Ordinal))
            {
                return operation;
            }
        }

        throw DeviceSettings.Bad(key, text, $"{Words(words)} are possible operations");
    }

    private static string Words((string Word, VirtioOperation Operation)[] words) => string.Join(", ", words.Select(static pair => pair.Word));
}
