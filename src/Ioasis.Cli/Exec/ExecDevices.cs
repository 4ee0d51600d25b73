using Ioasis.Embedded;
using Ioasis.Exec;
using Ioasis.Primitives;

namespace Ioasis.Cli.Exec;

/// <summary>Devices as the command line names them: <c>KIND[,key=value]...</c>.</summary>
internal static class ExecDevices
{
    /// <summary>Makes the devices, each at a place of its own.</summary>
    /// <returns>Null, or a sentence that names the word and the rule.</returns>
    public static string? TryCreate(IReadOnlyList<string> texts, out List<ExecDevice> devices)
    {
        devices = [];
        foreach (string text in texts)
        {
            string[] words = text.Split(',');
            if (words[0] is not "edu")
            {
                return $"--device {text}: '{words[0]}' is no kind of device; there is edu.";
            }

            DeviceId? id = null;
            foreach (string word in words.Skip(1))
            {
                if (!word.StartsWith("addr=", StringComparison.Ordinal) || !DeviceId.TryParse(word.AsSpan(5), out DeviceId parsed))
                {
                    return $"--device {text}: '{word}' is not addr=DDDD:BB:DD.F.";
                }

                id = parsed;
            }

            devices.Add(new(id ?? NextFree(devices), new EduDevice(new() { CanReset = true }), new()));
        }

        DeviceId? twice = devices.GroupBy(static device => device.Id).FirstOrDefault(static group => group.Count() > 1)?.Key;
        return twice is null ? null : $"two devices are at {twice}.";
    }

    private static DeviceId NextFree(List<ExecDevice> devices)
    {
        int slot = 1;
        while (devices.Any(device => device.Id == DeviceId.FromPci(0, 0, slot, 0)))
        {
            slot++;
        }

        return DeviceId.FromPci(0, 0, slot, 0);
    }
}
