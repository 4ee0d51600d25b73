using System.Globalization;
using System.Text.Json;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Exec;
using Ioasis.Primitives;

namespace Ioasis.Cli.Exec;

/// <summary>The summary of a run of a program.</summary>
internal static class ExecJson
{
    /// <summary>Writes it.</summary>
    public static void Write(Stream stream, ExecResult result)
    {
        using Utf8JsonWriter json = new(stream, new() { Indented = true });
        json.WriteStartObject();
        if (result.Signal != 0)
        {
            json.WriteNumber("signal", result.Signal);
        }
        else
        {
            json.WriteNumber("exitStatus", result.ExitStatus);
        }

        json.WriteNumber("processes", result.Processes);
        json.WriteNumber("systemCalls", result.Calls);
        json.WriteNumber("leftMapped", result.LeftMapped);
        json.WriteNumber("faults", result.Faults);
        json.WriteStartArray("firstFaults");
        foreach (IommuFault fault in result.FirstFaults)
        {
            json.WriteStartObject();
            json.WriteString("device", fault.DeviceId.ToString());
            json.WriteString("iova", string.Create(CultureInfo.InvariantCulture, $"0x{fault.Iova.Value:x}"));
            json.WriteString("access", fault.Access.ToString().ToLowerInvariant());
            json.WriteString("reason", fault.Reason.ToString());
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("staleDma", result.StaleDma);
        json.WriteStartArray("firstStaleDma");
        foreach (StaleDma stale in result.FirstStaleDma)
        {
            json.WriteStartObject();
            json.WriteNumber("process", stale.Process);
            json.WriteString("address", string.Create(CultureInfo.InvariantCulture, $"0x{stale.Address:x}"));
            json.WriteString("access", stale.Writes ? "write" : "read");
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (result.Mistakes is { } mistakes)
        {
            SanitizeJson.Write(json, mistakes);
        }

        json.WriteStartArray("misdeeds");
        foreach ((DeviceId device, DeviceMisdeed misdeed) in result.Misdeeds)
        {
            json.WriteStartObject();
            json.WriteString("device", device.ToString());
            json.WriteNumber("command", misdeed.Number);
            json.WriteString("what", misdeed.What);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("left");
        json.WriteNumber("descriptors", result.Audit.Descriptors);
        json.WriteNumber("addressSpaces", result.Audit.AddressSpaces);
        json.WriteNumber("mappings", result.Audit.Areas);
        json.WriteNumber("pinnedBytes", result.Audit.PinnedBytes);
        json.WriteNumber("pinnedGibibytes", result.PinnedGibibytes);
        json.WriteEndObject();
        json.WriteEndObject();
        json.Flush();
        stream.WriteByte((byte)'\n');
    }
}
