using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Ioasis.Conformance;

// Tokens of JSON: each reader names what it wanted and what it found.
internal sealed partial class VectorParser
{
    private VectorFormatException Bad(string problem) => new(file, line, problem);

    private void Expect(ref Utf8JsonReader json, JsonTokenType type, string what)
    {
        if (json.TokenType != type)
        {
            throw Bad($"expected {what} at byte {json.TokenStartIndex}");
        }
    }

    private void Begin(ref Utf8JsonReader json)
    {
        _ = json.Read();
        Expect(ref json, JsonTokenType.StartArray, "an array");
    }

    private static bool Next(ref Utf8JsonReader json) => json.Read() && json.TokenType != JsonTokenType.EndArray;

    private void End(ref Utf8JsonReader json)
    {
        if (Next(ref json))
        {
            throw Bad($"expected the end of an array at byte {json.TokenStartIndex}");
        }
    }

    private static bool NextKey(ref Utf8JsonReader json) => json.Read() && json.TokenType != JsonTokenType.EndObject;

    private static void Skip(ref Utf8JsonReader json)
    {
        _ = json.Read();
        json.Skip();
    }

    private string ReadText(ref Utf8JsonReader json)
    {
        _ = json.Read();
        return Text(ref json);
    }

    private string Text(ref Utf8JsonReader json)
    {
        Expect(ref json, JsonTokenType.String, "a string");
        return json.GetString()!;
    }

    private ulong ReadNumber(ref Utf8JsonReader json)
    {
        _ = json.Read();
        return Number(ref json);
    }

    private ulong Number(ref Utf8JsonReader json) => json.TokenType switch
    {
        JsonTokenType.True => 1,
        JsonTokenType.False => 0,
        JsonTokenType.Number when json.TryGetUInt64(out ulong value) => value,
        _ => throw Bad($"expected a number at byte {json.TokenStartIndex}"),
    };

    private bool ReadFlag(ref Utf8JsonReader json) => ReadNumber(ref json) != 0;

    private uint ReadOffset(ref Utf8JsonReader json) =>
        ReadNumber(ref json) is var offset and <= 0xffff ? (uint)offset : throw Bad("a register offset has 16 bits");

    private int ReadSize(ref Utf8JsonReader json) =>
        ReadNumber(ref json) is var size and >= 1 and <= 8 ? (int)size : throw Bad("a register access has 1 to 8 bytes");

    private ulong ReadHex(ref Utf8JsonReader json)
    {
        _ = json.Read();
        return Hex(ref json);
    }

    private ulong Hex(ref Utf8JsonReader json)
    {
        Expect(ref json, JsonTokenType.String, "a hexadecimal string");
        ReadOnlySpan<byte> text = json.ValueSpan;
        return Utf8Parser.TryParse(text, out ulong value, out int used, 'x') && used == text.Length
            ? value
            : throw Bad($"\"{Encoding.UTF8.GetString(text)}\" is not a hexadecimal number of up to 64 bits");
    }

    private byte[] ReadBytes(ref Utf8JsonReader json)
    {
        _ = json.Read();
        return Bytes(ref json);
    }

    private byte[] Bytes(ref Utf8JsonReader json)
    {
        Expect(ref json, JsonTokenType.String, "bytes (a hexadecimal string)");
        ReadOnlySpan<byte> text = json.ValueSpan;
        byte[] bytes = new byte[text.Length / 2];
        return (text.Length & 1) == 0 && Convert.FromHexString(text, bytes, out _, out int written) == System.Buffers.OperationStatus.Done && written == bytes.Length
            ? bytes
            : throw Bad("a string of bytes has an odd length or something else than hexadecimal digits");
    }
}
