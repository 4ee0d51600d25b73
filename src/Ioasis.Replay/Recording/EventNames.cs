using System.Buffers.Binary;
using System.Text;

namespace Ioasis.Replay.Recording;

/// <summary>The names of events seen so far: from bytes to kinds and counts without making strings.</summary>
internal sealed class EventNames
{
    private const int Slots = 1024;

    private readonly int[] _slots = new int[Slots];
    private readonly List<Entry> _entries = [];

    private int _last = -1;

    /// <summary>Tells the kind of an event; <see cref="Count"/> counts it.</summary>
    /// <param name="name">The name without what a compiler hung on it.</param>
    public KernelEventKind Kind(ReadOnlySpan<byte> name)
    {
        if (_last >= 0 && _entries[_last] is { } same && same.Name.AsSpan().SequenceEqual(name))
        {
            return same.Kind;
        }

        int slot = (int)(Hash(name) % Slots);
        for (int probe = 0; probe < Slots; probe++)
        {
            int index = _slots[slot] - 1;
            if (index < 0)
            {
                if (_entries.Count == Slots - 1)
                {
                    break;
                }

                _slots[slot] = _entries.Count + 1;
                _entries.Add(new(name.ToArray(), KindOf(name)));
                _last = _entries.Count - 1;
                return _entries[^1].Kind;
            }

            Entry entry = _entries[index];
            if (entry.Name.AsSpan().SequenceEqual(name))
            {
                _last = index;
                return entry.Kind;
            }

            slot = (slot + 1) % Slots;
        }

        // More than a thousand names: the rest is counted together.
        _last = -1;
        Others++;
        return KindOf(name);
    }

    /// <summary>How many events had names beyond those that are kept apart.</summary>
    public long Others { get; private set; }

    /// <summary>Counts an event of the name that was asked for last.</summary>
    public void Count()
    {
        if (_last >= 0)
        {
            _entries[_last].Count++;
        }
    }

    /// <summary>Whether the name that was asked for last was looked at by <see cref="Judge"/> before.</summary>
    public bool IsJudged => _last < 0 || _entries[_last].Judged;

    /// <summary>Notes whether events of the name that was asked for last carry a device and an address.</summary>
    public KernelEventKind Judge(bool carriesMapping)
    {
        Entry entry = _entries[_last];
        entry.Judged = true;
        return entry.Kind = carriesMapping ? KernelEventKind.Unknown : KernelEventKind.Other;
    }

    /// <summary>The names and their counts.</summary>
    public IEnumerable<(string Name, long Count, KernelEventKind Kind)> All()
    {
        foreach (Entry entry in _entries)
        {
            yield return (Encoding.ASCII.GetString(entry.Name), entry.Count, entry.Kind);
        }

        if (Others > 0)
        {
            yield return ("(others)", Others, KernelEventKind.Other);
        }
    }

    private static uint Hash(ReadOnlySpan<byte> name)
    {
        // The first and the last bytes tell the kernel's names apart well enough.
        ulong first;
        ulong last;
        if (name.Length >= sizeof(ulong))
        {
            first = BinaryPrimitives.ReadUInt64LittleEndian(name);
            last = BinaryPrimitives.ReadUInt64LittleEndian(name[^sizeof(ulong)..]);
        }
        else
        {
            first = last = 0;
            foreach (byte c in name)
            {
                first = (first << 8) | c;
            }
        }

        ulong hash = (first ^ ulong.RotateLeft(last, 29) ^ (ulong)name.Length) * 0x9e3779b97f4a7c15;
        return (uint)(hash >> 32);
    }

    private static KernelEventKind KindOf(ReadOnlySpan<byte> name) => Encoding.ASCII.GetString(name) switch
    {
        "map" => KernelEventKind.Map,
        "unmap" => KernelEventKind.Unmap,
        "dma_map_phys" => KernelEventKind.DmaMapPhys,
        "dma_map_page" => KernelEventKind.DmaMapPage,
        "dma_map_resource" => KernelEventKind.DmaMapResource,
        "dma_unmap_phys" => KernelEventKind.DmaUnmapPhys,
        "dma_unmap_page" => KernelEventKind.DmaUnmapPage,
        "dma_unmap_resource" => KernelEventKind.DmaUnmapResource,
        "dma_alloc" => KernelEventKind.DmaAlloc,
        "dma_alloc_pages" => KernelEventKind.DmaAllocPages,
        "dma_alloc_sgt" => KernelEventKind.DmaAllocSgt,
        "dma_map_sg" => KernelEventKind.DmaMapSg,
        "dma_unmap_sg" => KernelEventKind.DmaUnmapSg,
        "dma_free" => KernelEventKind.DmaFree,
        "dma_free_pages" => KernelEventKind.DmaFreePages,
        "dma_free_sgt" => KernelEventKind.DmaFreeSgt,
        "iova_link" => KernelEventKind.IovaLink,
        "iova_destroy" => KernelEventKind.IovaDestroy,
        "add_device_to_group" => KernelEventKind.AddDeviceToGroup,
        "attach_device_to_domain" => KernelEventKind.AttachDevice,
        "tracing_mark_write" => KernelEventKind.Mark,
        "cache_tag_flush_range" => KernelEventKind.FlushRange,
        "remove_device_from_group" or "detach_device_from_domain" or "io_page_fault"
            or "dma_sync_single_for_cpu" or "dma_sync_single_for_device" or "dma_sync_sg_for_cpu" or "dma_sync_sg_for_device"
            or "dma_map_sg_err" or "dma_alloc_sgt_err"
            or "cache_tag_assign" or "cache_tag_unassign" or "cache_tag_flush_range_np" or "cache_tag_flush_all" or "qi_submit"
            or "prq_report" or "swiotlb_bounced" => KernelEventKind.Known,

        // Linux 5.3 to 5.11: the Intel driver mapped DMA past the core, which then traced nothing.
        "map_single" or "map_sg" or "bounce_map_single" or "bounce_map_sg" => KernelEventKind.Map,
        "unmap_single" or "unmap_sg" or "bounce_unmap_single" or "bounce_unmap_sg" => KernelEventKind.Unmap,
        _ => name.StartsWith("ioasis_"u8) ? KindOfProbe(name["ioasis_".Length..]) : KernelEventKind.Other,
    };

    // The recorder's probes: ioasis_<role>, and more words where one role has several functions.
    private static KernelEventKind KindOfProbe(ReadOnlySpan<byte> name)
    {
        int end = name.IndexOf((byte)'_');
        ReadOnlySpan<byte> role = end < 0 ? name : name[..end];
        return Encoding.ASCII.GetString(role) switch
        {
            "map" => name.IndexOf("sg"u8) >= 0 ? KernelEventKind.ProbeMapList : KernelEventKind.ProbeMap,
            "unmap" => KernelEventKind.ProbeUnmap,
            "attach" => KernelEventKind.ProbeAttach,
            "free" => KernelEventKind.ProbeFree,
            "dma" => KernelEventKind.ProbeDma,
            "other" => KernelEventKind.ProbeOther,
            _ => KernelEventKind.Known,
        };
    }

    private sealed class Entry(byte[] name, KernelEventKind kind)
    {
        public byte[] Name { get; } = name;

        public KernelEventKind Kind { get; set; } = kind;

        public long Count { get; set; }

        public bool Judged { get; set; }
    }
}
