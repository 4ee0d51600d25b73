using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Ioasis.Devices.Nvme;

/// <summary>
/// A namespace: blocks of a format, and what keeps their bytes. Metadata is kept apart from data, so that the data of a raw file
/// is what was written. Under the controller's lock.
/// </summary>
internal sealed class NvmeNamespace : IDisposable
{
    private readonly BlockStore _data;
    private BlockStore? _metadata;

    /// <summary>Makes it.</summary>
    /// <exception cref="IOException">Its file cannot be used.</exception>
    /// <exception cref="DeviceSettingException">An option is not possible.</exception>
    public NvmeNamespace(uint id, NvmeNamespaceOptions options, string serial)
    {
        Id = id;
        IsReadOnly = options.IsReadOnly;
        Format = FindFormat(options.BlockSize, options.MetadataSize);
        IsExtended = options.ExtendedBlocks && options.MetadataSize > 0;
        _data = BlockStore.Open(options.File, options.Size, options.IsReadOnly);
        MakeMetadata();

        // The same text gives the same names, so that a disk is known again.
        Span<byte> hash = stackalloc byte[32];
        _ = SHA256.HashData(Encoding.UTF8.GetBytes($"ioasis nvme {serial} {id}"), hash);
        byte[] uuid = hash[..16].ToArray();
        uuid[6] = (byte)((uuid[6] & 0x0f) | 0x80);
        uuid[8] = (byte)((uuid[8] & 0x3f) | 0x80);
        Uuid = uuid;
        Guid = hash.Slice(8, 16).ToArray();
        byte[] eui = new byte[8];
        eui[0] = 0x52;
        eui[1] = 0x54;
        BinaryPrimitives.WriteUInt32BigEndian(eui.AsSpan(4), BinaryPrimitives.ReadUInt32BigEndian(hash));
        Eui = eui;
    }

    /// <summary>The formats that a namespace can have: bytes of a block, and of its metadata.</summary>
    public static IReadOnlyList<(int Block, int Metadata)> Formats { get; } = [(512, 0), (4096, 0), (512, 8), (4096, 8)];

    /// <summary>Its number.</summary>
    public uint Id { get; }

    /// <summary>Whether it cannot be written.</summary>
    public bool IsReadOnly { get; }

    /// <summary>Which of <see cref="Formats"/> it has.</summary>
    public int Format { get; private set; }

    /// <summary>Whether metadata follows each block in the data.</summary>
    public bool IsExtended { get; private set; }

    /// <summary>Bytes of a block.</summary>
    public int BlockSize => Formats[Format].Block;

    /// <summary>Bytes of a block's metadata.</summary>
    public int MetadataSize => Formats[Format].Metadata;

    /// <summary>Bytes of a block as a command transfers it.</summary>
    public int TransferSize => IsExtended ? BlockSize + MetadataSize : BlockSize;

    /// <summary>Blocks.</summary>
    public ulong Blocks => (ulong)(_data.Size / BlockSize);

    /// <summary>Bytes of data.</summary>
    public ulong Capacity => (ulong)_data.Size;

    /// <summary>Its 64-bit identifier.</summary>
    public byte[] Eui { get; }

    /// <summary>Its 128-bit identifier.</summary>
    public byte[] Guid { get; }

    /// <summary>Its UUID.</summary>
    public byte[] Uuid { get; }

    /// <summary>Its data.</summary>
    public BlockStore Data => _data;

    /// <summary>Its metadata; null if its format has none.</summary>
    public BlockStore? Metadata => _metadata;

    /// <summary>Read commands so far.</summary>
    public ulong Reads { get; set; }

    /// <summary>Write commands so far.</summary>
    public ulong Writes { get; set; }

    /// <summary>Bytes read so far.</summary>
    public ulong ReadBytes { get; set; }

    /// <summary>Bytes written so far.</summary>
    public ulong WrittenBytes { get; set; }

    /// <summary>Blocks that were made unreadable.</summary>
    public NvmeBadBlocks BadBlocks { get; } = new();

    /// <summary>Finds a format.</summary>
    /// <exception cref="DeviceSettingException">There is none.</exception>
    public static int FindFormat(int block, int metadata)
    {
        for (int i = 0; i < Formats.Count; i++)
        {
            if (Formats[i] == (block, metadata))
            {
                return i;
            }
        }

        throw new DeviceSettingException($"Blocks of {block} bytes with {metadata} of metadata: 512 or 4096, and 0 or 8, are possible.");
    }

    /// <summary>Writes everything to the medium.</summary>
    public bool Flush() => _data.Flush() && (_metadata?.Flush() ?? true);

    /// <summary>Gives it a format. Everything reads zero afterwards.</summary>
    /// <returns>Whether it was possible.</returns>
    public bool Reformat(int format, bool isExtended)
    {
        if (!_data.Zero(0, _data.Size))
        {
            return false;
        }

        BadBlocks.Clear();
        Format = format;
        IsExtended = isExtended && MetadataSize > 0;
        _metadata?.Dispose();
        MakeMetadata();
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _data.Dispose();
        _metadata?.Dispose();
    }

    private void MakeMetadata() => _metadata = MetadataSize > 0 ? new MemoryBlockStore((long)Blocks * MetadataSize) : null;
}
