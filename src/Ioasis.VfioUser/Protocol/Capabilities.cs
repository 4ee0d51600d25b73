using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Ioasis.VfioUser;

/// <summary>What one end of a connection can take (specification, "VFIO_USER_VERSION"); null where it did not say.</summary>
internal sealed record Capabilities
{
    /// <summary>Descriptors in one message.</summary>
    [JsonPropertyName("max_msg_fds")]
    public ulong? MaxMessageDescriptors { get; init; }

    /// <summary>Bytes of data in one message.</summary>
    [JsonPropertyName("max_data_xfer_size")]
    public ulong? MaxTransfer { get; init; }

    /// <summary>Regions of memory at a time.</summary>
    [JsonPropertyName("max_dma_maps")]
    public ulong? MaxMaps { get; init; }

    /// <summary>Sizes of pages of memory, or'ed together.</summary>
    [JsonPropertyName("pgsizes")]
    public ulong? PageSizes { get; init; }

    /// <summary>Whether it takes several writes in one message.</summary>
    [JsonPropertyName("write_multiple")]
    public bool? WriteMultiple { get; init; }
}

/// <summary>The JSON text of VFIO_USER_VERSION. What is not known is not looked at.</summary>
internal sealed record VersionData
{
    /// <summary>The capabilities.</summary>
    [JsonPropertyName("capabilities")]
    public Capabilities? Capabilities { get; init; }

    /// <summary>Reads a text as it follows <see cref="VersionStructure"/>.</summary>
    /// <param name="bytes">With the NUL that ends it; empty for no text.</param>
    /// <param name="data">What it says.</param>
    /// <returns>Whether it is one.</returns>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out VersionData data)
    {
        data = new();
        if (bytes.IsEmpty)
        {
            return true;
        }

        int end = bytes.IndexOf((byte)0);
        if (end < 0 || end != bytes.Length - 1)
        {
            return false;
        }

        try
        {
            data = end == 0 ? data : JsonSerializer.Deserialize(bytes[..end], VersionJson.Default.VersionData) ?? new();
            return true;
        }
        catch (Exception e) when (e is JsonException or DecoderFallbackException)
        {
            return false;
        }
    }

    /// <summary>The text, with the NUL that ends it.</summary>
    public byte[] ToBytes() => [.. JsonSerializer.SerializeToUtf8Bytes(this, VersionJson.Default.VersionData), 0];
}

/// <summary>The serializer, made when this is compiled.</summary>
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, MaxDepth = 8)]
[JsonSerializable(typeof(VersionData))]
internal sealed partial class VersionJson : JsonSerializerContext;

/// <summary>What a connection may carry once both ends have spoken.</summary>
/// <param name="Minor">The minor version; the major version is 0.</param>
/// <param name="MaxDescriptors">Descriptors in one message.</param>
/// <param name="MaxTransfer">Bytes of data in one message.</param>
/// <param name="MaxMaps">Regions of memory at a time.</param>
/// <param name="WriteMultiple">Whether several writes come in one message.</param>
internal sealed record Agreement(ushort Minor, int MaxDescriptors, int MaxTransfer, int MaxMaps, bool WriteMultiple)
{
    /// <summary>The newest minor version.</summary>
    public const ushort NewestMinor = 1;

    /// <summary>The most that we offer and take, and before anything was said.</summary>
    public static Agreement Ours { get; } = new(NewestMinor, 16, 1 << 20, 65_535, true);

    // What is meant where nothing is said.
    private const ulong UnsaidDescriptors = 1;
    private const ulong UnsaidTransfer = 1 << 20;
    private const ulong UnsaidMaps = 65_535;
    private const ulong PageSize = 4096;

    // Less than a page at a time is no offer that a device can live with.
    private const ulong LeastTransfer = PageSize;

    /// <summary>The least of both.</summary>
    /// <param name="minor">The other end's minor version.</param>
    /// <param name="theirs">What it can take.</param>
    /// <param name="agreement">What holds.</param>
    /// <returns>Null; or a sentence that names the capability and the rule.</returns>
    public static string? TryAgree(ushort minor, Capabilities? theirs, out Agreement agreement)
    {
        agreement = Ours;
        ulong transfer = theirs?.MaxTransfer ?? UnsaidTransfer;
        ulong pages = theirs?.PageSizes ?? PageSize;
        ulong maps = theirs?.MaxMaps ?? UnsaidMaps;
        if (transfer < LeastTransfer)
        {
            return $"max_data_xfer_size is {transfer}: {LeastTransfer} is the least";
        }

        if ((pages & PageSize) == 0)
        {
            return $"pgsizes is 0x{pages:x}: pages of {PageSize} bytes are needed";
        }

        agreement = new(
            Math.Min(minor, NewestMinor),
            (int)Math.Min(theirs?.MaxMessageDescriptors ?? UnsaidDescriptors, (ulong)Ours.MaxDescriptors),
            (int)Math.Min(transfer, (ulong)Ours.MaxTransfer),
            (int)Math.Min(maps, (ulong)Ours.MaxMaps),
            theirs?.WriteMultiple ?? false);
        return null;
    }

    /// <summary>As the text of a VERSION message.</summary>
    public VersionData ToData() => new()
    {
        Capabilities = new()
        {
            MaxMessageDescriptors = (ulong)Ours.MaxDescriptors,
            MaxTransfer = (ulong)MaxTransfer,
            MaxMaps = (ulong)MaxMaps,
            PageSizes = PageSize,
            WriteMultiple = WriteMultiple,
        },
    };
}
