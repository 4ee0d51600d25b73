namespace Ioasis.Devices.Virtio;

/// <summary>How a virtio-blk device is built.</summary>
public sealed record VirtioBlockOptions : VirtioOptions
{
    /// <summary>Raw file: byte n of the file is byte n of the disk; null for memory.</summary>
    public string? File { get; init; }

    /// <summary>Bytes, whole sectors of 512; 0 for the file's, or 64 MiB of memory.</summary>
    public long Size { get; init; }

    /// <summary>Whether it cannot be written.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Bytes of a block, as a hint: 512 or 4096.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Request queues, 1 to 1024.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Most pieces of data in a request; 0 for what fits into a queue.</summary>
    public int MaxSegments { get; init; }

    /// <summary>Most bytes of a piece; 0 for any number.</summary>
    public long MaxSegmentSize { get; init; }

    /// <summary>What "get ID" says, at most 20 characters.</summary>
    public string Serial { get; init; } = "IOASIS0001";

    /// <summary>Whether it has a write cache that can be flushed and turned off.</summary>
    public bool WriteCache { get; init; } = true;

    /// <summary>Whether it takes discard and write zeroes.</summary>
    public bool Discard { get; init; } = true;
}
