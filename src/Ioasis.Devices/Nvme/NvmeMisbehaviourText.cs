using System.Globalization;

namespace Ioasis.Devices.Nvme;

/// <summary>Misbehaviour as a line of text says it.</summary>
internal static class NvmeMisbehaviourText
{
    /// <summary>The keys.</summary>
    public static IReadOnlyList<DeviceKey> Keys { get; } =
    [
        new("fail", "OPERATION[@LBA]:STATUS, commands that fail: read@100:0x281; operations: any, flush, read, write, write-uncorrectable, compare, write-zeroes, dataset, verify", IsRepeatable: true),
        new("delay", "OPERATION:TIME, commands that are done late: read:10ms; TIME ends in us, ms or s", IsRepeatable: true),
        new("lose-interrupts", "percent of the interrupt messages that are lost"),
        new("late-interrupts", "TIME by which interrupt messages are late"),
        new("reorder", "on or off: commands that are there together complete in an order of chance; off as is"),
        new("twice", "percent of the commands that complete twice"),
        new("stale-dma", "percent of the reads that also write where an earlier one wrote"),
        new("wild-dma", "percent of the reads that also write to an address of chance"),
        new("dma-after-reset", "on or off: the data of the last read is written once more after a reset; off as is"),
        new("gone", "number of the I/O command with which it is gone from the bus, from 1"),
        new("hung", "number of the I/O command with which it hangs until the function is reset, from 1"),
        new("seed", "what chance follows from; 1 as is"),
    ];

    /// <summary>Reads it; null if none of the keys occurs.</summary>
    /// <exception cref="DeviceSettingException">A value is not possible.</exception>
    public static NvmeMisbehaviour? Read(DeviceSettings settings)
    {
        if (!Keys.Any(key => settings.Has(key.Name)))
        {
            return null;
        }

        return new()
        {
            Seed = (ulong)settings.Number("seed", 1),
            Failures = [.. settings.All("fail").Select(ReadFailure)],
            Delays = [.. settings.All("delay").Select(ReadDelay)],
            LostInterrupts = (int)settings.Number("lose-interrupts", 0, 0, 100),
            LateInterrupts = settings.Text("late-interrupts") is { } late ? ReadTime("late-interrupts", late, late) : TimeSpan.Zero,
            Reorders = settings.Switch("reorder", false),
            Twice = (int)settings.Number("twice", 0, 0, 100),
            StaleDma = (int)settings.Number("stale-dma", 0, 0, 100),
            WildDma = (int)settings.Number("wild-dma", 0, 0, 100),
            DmaAfterReset = settings.Switch("dma-after-reset", false),
            GoneAt = settings.Number("gone", 0),
            HungAt = settings.Number("hung", 0),
        };
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
            ? new(ReadOperation("delay", text[..colon], text), ReadTime("delay", text[(colon + 1)..], text))
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

    private static TimeSpan ReadTime(string key, string time, string text)
    {
        foreach ((string unit, double milliseconds) in new[] { ("us", 0.001), ("ms", 1.0), ("s", 1000.0) })
        {
            if (time.EndsWith(unit, StringComparison.Ordinal)
                && double.TryParse(time.AsSpan(0, time.Length - unit.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
                && number * milliseconds <= 86_400_000)
            {
                return TimeSpan.FromMilliseconds(number * milliseconds);
            }
        }

        throw DeviceSettings.Bad(key, text, "a time such as 500us, 10ms or 2s is expected, at most a day");
    }
}
