using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Ioasis.Lab.Qemu;

/// <summary>QEMU's control socket: a line of JSON for a command, one for its answer, events between. Not thread-safe.</summary>
public sealed class QmpConnection : IDisposable
{
    private readonly NetworkStream _stream;
    private readonly StreamReader _reader;
    private readonly List<string> _events = [];

    /// <summary>Takes over a connected socket and agrees on the protocol.</summary>
    public QmpConnection(Socket socket)
    {
        _stream = new(socket, ownsSocket: true);
        _reader = new(_stream);
        _ = ReadMessage();
        _ = Execute("qmp_capabilities");
    }

    /// <summary>Names of the events so far.</summary>
    public IReadOnlyList<string> Events => _events;

    /// <summary>Runs a command.</summary>
    /// <returns>What it returned.</returns>
    /// <exception cref="QtestException">It failed, or QEMU is gone.</exception>
    public JsonNode? Execute(string command, JsonObject? arguments = null)
    {
        JsonObject request = new() { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        JsonSerializerOptions options = JsonSerializerOptions.Default;
        _stream.Write(JsonSerializer.SerializeToUtf8Bytes(request, options));
        _stream.WriteByte((byte)'\n');
        while (true)
        {
            JsonNode answer = ReadMessage();
            if (answer["event"] is { } name)
            {
                _events.Add(name.GetValue<string>());
            }
            else if (answer["error"] is { } error)
            {
                throw new QtestException($"{command}: {error["desc"]}");
            }
            else
            {
                return answer["return"];
            }
        }
    }

    /// <summary>The path of the first device of a type, in QEMU's tree of objects; null if there is none.</summary>
    public string? TryFindDevice(string type)
    {
        foreach (string folder in (ReadOnlySpan<string>)["/machine/peripheral-anon", "/machine/peripheral", "/machine/unattached"])
        {
            foreach (JsonNode? item in Execute("qom-list", new() { ["path"] = folder })!.AsArray())
            {
                if (string.Equals(item!["type"]!.GetValue<string>(), $"child<{type}>", StringComparison.Ordinal))
                {
                    return $"{folder}/{item["name"]!.GetValue<string>()}";
                }
            }
        }

        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _stream.Dispose();
    }

    private JsonNode ReadMessage()
    {
        try
        {
            return _reader.ReadLine() is { } line && JsonNode.Parse(line) is { } message
                ? message
                : throw new QtestException("QEMU closed the control socket");
        }
        catch (IOException error)
        {
            throw new QtestException($"QEMU is gone: {error.Message}", error);
        }
    }
}
