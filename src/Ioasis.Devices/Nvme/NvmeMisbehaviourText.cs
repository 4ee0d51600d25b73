namespace Ioasis.Devices.Nvme;

/// <summary>Misbehaviour as a line of text says it.</summary>
internal static class NvmeMisbehaviourText
{
    /// <summary>The keys.</summary>
    public static IReadOnlyList<DeviceKey> Keys { get; } =
    [
        new("fail", "OPERATION[@LBA]:STATUS, commands that fail: read@100:0x281; operations: any, flush, read, write, write-uncorrectable, compare, write-zeroes, dataset, verify", IsRepeatable: true),
        new("delay", "OPERATION:TIME, commands that are done late: read:10ms; TIME ends in us, ms or s", IsRepeatable: true),
        .. DeviceMisbehaviour.KeysFor("I/O command", "read"),
    ];

    /// <summary>Reads it; null if none of the keys occurs.</summary>
    /// <exception cref="DeviceSettingException">A value is not possible.</exception>
    public static NvmeMisbehaviour? Read(DeviceSettings settings)
    {
        if (!Keys.Any(key => settings.Has(key.Name)))
        {
            return null;
        }

        return DeviceMisbehaviour.Read(settings, new NvmeMisbehaviour
        {
            Failures = [.. settings.All("fail").Select(ReadFailure)],
            Delays = [.. settings.All("delay").Select(ReadDelay)],
        });
    }

    private static NvmeFailure ReadFailure(string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        int at = text.IndexOf('@', StringComparison.Ordinal);
        if (colon < 0 || at > colon)
        {
            throw DeviceSettings.Bad("fail", text, "OPERATION[@LBA]:STATUS is expected");
        }

        ulong? block = at >= 0 ? (ulong)DeviceSettings.ParseNumber("fail", text[(at + 1)..colon], 0, long.MaxValue) : null;
        long status = DeviceSettings.ParseNumber("fail", text[(colon + 1)..], 1, 0x7fff);
        return new(ReadOperation("fail", text[..(at >= 0 ? at : colon)], text), block, (NvmeStatus)status);
    }

    private static NvmeDelay ReadDelay(string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon >= 0
            ? new(ReadOperation("delay", text[..colon], text), DeviceSettings.ParseTime("delay", text[(colon + 1)..], text))
            : throw DeviceSettings.Bad("delay", text, "OPERATION:TIME is expected");
    }

    private static NvmeIoOpcode? ReadOperation(string key, string word, string text) => word switch
    {
        "any" or "*" => null,
        "flush" => NvmeIoOpcode.Flush,
        "read" => NvmeIoOpcode.Read,
        "write" => NvmeIoOpcode.Write,
        "write-uncorrectable" => NvmeIoOpcode.WriteUncorrectable,
        "compare" => NvmeIoOpcode.Compare,
        "write-zeroes" => NvmeIoOpcode.WriteZeroes,
        "dataset" => NvmeIoOpcode.DatasetManagement,
        "verify" => NvmeIoOpcode.Verify,
        _ => throw DeviceSettings.Bad(
            key, text, "any, flush, read, write, write-uncorrectable, compare, write-zeroes, dataset and verify are possible operations"),
    };
}
