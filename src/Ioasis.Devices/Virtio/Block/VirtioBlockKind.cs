namespace Ioasis.Devices.Virtio;

/// <summary>virtio-blk by a line of text: <c>virtio-blk,file=disk.img</c>.</summary>
internal static class VirtioBlockKind
{
    /// <summary>The kind.</summary>
    public static DeviceKind Kind { get; } = new(
        "virtio-blk",
        "a virtio 1.3 block device on a file or in memory",
        [
            new("file", "raw file of the disk; without it the disk is memory"),
            new("size", "bytes of the disk, with K, M, G or T; the file's as is, 64M for memory; a file is made or grows"),
            new("readonly", "on or off: the disk cannot be written; off as is"),
            new("block", "bytes of a block as the driver is told: 512 (as is) or 4096"),
            new("queues", "request queues, 1 to 1024; 1 as is"),
            new("segments", "most pieces of data in a request; what fits into a queue as is"),
            new("segment-size", "most bytes of a piece; any number as is"),
            new("serial", "serial number, at most 20 characters"),
            new("cache", "on or off: a write cache that can be flushed and turned off; on as is"),
            new("discard", "on or off: discard and write zeroes; on as is"),
            .. VirtioOptions.Keys,
            .. VirtioMisbehaviourText.DiskKeys,
        ],
        Create);

    private static VirtioBlock Create(DeviceSettings settings) => new(VirtioOptions.Read(settings, new VirtioBlockOptions
    {
        File = settings.Text("file"),
        Size = settings.Size("size", 0, 512, 1L << 46),
        IsReadOnly = settings.Switch("readonly", false),
        BlockSize = (int)settings.Number("block", 512, 512, 4096),
        Queues = (int)settings.Number("queues", 1, 1, 1024),
        MaxSegments = (int)settings.Number("segments", 0, 1, 32766),
        MaxSegmentSize = settings.Size("segment-size", 0, 512, uint.MaxValue),
        Serial = settings.Text("serial") ?? "IOASIS0001",
        WriteCache = settings.Switch("cache", true),
        Discard = settings.Switch("discard", true),
        Misbehaviour = VirtioMisbehaviourText.ReadDisk(settings),
    }));
}
