namespace Ioasis.Devices.Nvme;

/// <summary>NVMe controllers by a line of text: <c>nvme,file=disk.img,size=1G</c>.</summary>
internal static class NvmeKind
{
    /// <summary>The kind.</summary>
    public static DeviceKind Kind { get; } = new(
        "nvme",
        "an NVM Express controller, base specification 2.0, with namespaces on files or in memory",
        [
            new("file", "raw file of the namespace; without it the namespace is memory"),
            new("size", "bytes of the namespace, with K, M, G or T; the file's as is, 64M for memory; a file is made or grows"),
            new("lba", "bytes of a block: 512 (as is) or 4096"),
            new("metadata", "bytes of metadata of a block: 0 (as is) or 8"),
            new("extended", "on or off: metadata follows each block in the data; off as is"),
            new("readonly", "on or off: the namespace cannot be written; off as is"),
            new("namespace", "a further namespace: the same keys, as KEY:VALUE with ; between them", IsRepeatable: true),
            new("serial", "serial number, at most 20 characters"),
            new("model", "model number, at most 40 characters"),
            new("queues", "I/O queue pairs, 1 to 65535; 64 as is"),
            new("entries", "most entries of a queue, 2 to 65536; 65536 as is"),
            new("mdts", "log2 of the longest transfer in pages of 4 KiB, 0 for any; 9 (2 MiB) as is"),
            new("vectors", "vectors of MSI-X, 1 to 2048; one a queue as is"),
            new("interrupts", "how it can interrupt: msix, msi, pin with + between them; all as is"),
            new("shadow", "on or off: shadow doorbells; on as is"),
            new("vendor", "PCI vendor ID; 0x1b36 as is"),
            new("device", "PCI device ID; 0x0010 as is"),
            new("pasid-bits", "PASID bits, 0 to 20; 0 as is"),
            new("pasid", "the PASID that its requests carry; none as is"),
            new("ats", "on or off: it translates addresses itself; off as is"),
            new("pri", "on or off: it asks for missing pages; off as is"),
            .. NvmeMisbehaviourText.Keys,
        ],
        Create);

    private static NvmeController Create(DeviceSettings settings)
    {
        List<NvmeNamespaceOptions> spaces = [];
        if (settings.Has("file") || settings.Has("size") || !settings.Has("namespace"))
        {
            spaces.Add(ReadNamespace(settings));
        }

        foreach (string text in settings.All("namespace"))
        {
            spaces.Add(ReadNamespace(new DeviceSettings("namespace," + string.Join(
                ',', text.Split(';').Select(static part => ReplaceFirst(part).Replace(",", ",,", StringComparison.Ordinal))))));
        }

        return new(new NvmeOptions
        {
            Namespaces = spaces,
            Serial = settings.Text("serial") ?? "IOASIS0001",
            Model = settings.Text("model") ?? "Ioasis NVMe controller",
            Queues = (int)settings.Number("queues", 64, 1, 65535),
            QueueEntries = (int)settings.Number("entries", 65536, 2, 65536),
            MaxTransferLog2 = (int)settings.Number("mdts", 9, 0, 16),
            Vectors = (int)settings.Number("vectors", 0, 0, 2048),
            Interrupts = ReadInterrupts(settings.Text("interrupts")),
            ShadowDoorbells = settings.Switch("shadow", true),
            PciId = ((ushort)settings.Number("vendor", 0x1b36, 0, 0xffff), (ushort)settings.Number("device", 0x0010, 0, 0xffff)),
            PasidBits = (int)settings.Number("pasid-bits", settings.Has("pasid") ? 20 : 0, 0, 20),
            Pasid = new((uint)settings.Number("pasid", 0, 0, (1 << 20) - 1)),
            Ats = settings.Switch("ats", false) || settings.Switch("pri", false),
            PageRequests = settings.Switch("pri", false),
            Misbehaviour = NvmeMisbehaviourText.Read(settings),
        });
    }

    private static NvmeNamespaceOptions ReadNamespace(DeviceSettings settings)
    {
        foreach (string key in settings.Keys)
        {
            if (string.Equals(settings.Kind, "namespace", StringComparison.Ordinal) && key is not ("file" or "size" or "lba" or "metadata" or "extended" or "readonly"))
            {
                throw DeviceSettings.Bad("namespace", key, "file, size, lba, metadata, extended and readonly are known");
            }
        }

        int block = (int)settings.Number("lba", 512, 512, 4096);
        int metadata = (int)settings.Number("metadata", 0, 0, 8);
        return (block is 512 or 4096) && (metadata is 0 or 8)
            ? new()
            {
                File = settings.Text("file"),
                Size = settings.Size("size", 0, 0, 1L << 46),
                BlockSize = block,
                MetadataSize = metadata,
                ExtendedBlocks = settings.Switch("extended", false),
                IsReadOnly = settings.Switch("readonly", false),
            }
            : throw DeviceSettings.Bad("lba", $"{block}+{metadata}", "blocks of 512 or 4096 bytes with 0 or 8 of metadata are possible");
    }

    private static NvmeInterrupts ReadInterrupts(string? text)
    {
        NvmeInterrupts all = 0;
        foreach (string word in (text ?? "msix+msi+pin").Split('+'))
        {
            all |= word switch
            {
                "msix" => NvmeInterrupts.MsiX,
                "msi" => NvmeInterrupts.Msi,
                "pin" => NvmeInterrupts.Pin,
                _ => throw DeviceSettings.Bad("interrupts", text!, "msix, msi and pin are possible, with + between them"),
            };
        }

        return all;
    }

    private static string ReplaceFirst(string part)
    {
        int colon = part.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? part : part[..colon] + "=" + part[(colon + 1)..];
    }
}
