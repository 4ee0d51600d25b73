using System.Runtime.InteropServices;
using System.Text;

namespace Ioasis.Replay.Recording;

/// <summary>The names of events seen so far: from bytes to kinds and counts without making strings.</summary>
internal sealed class EventNames
{
    private const int Slots = 256;

    private readonly int[] _slots = new int[Slots];
    private readonly List<Entry> _entries = [];

    private int _last;

    /// <summary>Tells the kind of an event; <see cref="Count"/> counts it.</summary>
    public KernelEventKind Kind(ReadOnlySpan<byte> name)
    {
        int slot = (int)(Hash(name) % Slots);
        for (int probe = 0; probe < Slots; probe++)
        {
            int index = _slots[slot] - 1;
            if (index < 0)
            {
                _slots[slot] = _entries.Count + 1;
                _entries.Add(new() { Name = name.ToArray(), Kind = KindOf(name) });
                _last = _entries.Count - 1;
                return _entries[^1].Kind;
            }

            ref Entry entry = ref CollectionsMarshal.AsSpan(_entries)[index];
            if (entry.Name.AsSpan().SequenceEqual(name))
            {
                _last = index;
                return entry.Kind;
            }

            slot = (slot + 1) % Slots;
        }

        // More than 256 names: the rest is of no interest here, and is not counted by name.
        _last = -1;
        return KernelEventKind.Other;
    }

    /// <summary>Counts an event of the name that was asked for last.</summary>
    public void Count()
    {
        if (_last >= 0)
        {
            CollectionsMarshal.AsSpan(_entries)[_last].Count++;
        }
    }

    /// <summary>The names and their counts.</summary>
    public IEnumerable<(string Name, long Count)> All()
    {
        foreach (Entry entry in _entries)
        {
            yield return (Encoding.ASCII.GetString(entry.Name), entry.Count);
        }
    }

    private static uint Hash(ReadOnlySpan<byte> name)
    {
        uint hash = (uint)name.Length;
        foreach (byte c in name)
        {
            hash = (hash ^ c) * 16777619;
        }

        return hash ^ (hash >> 15);
    }

    private static KernelEventKind KindOf(ReadOnlySpan<byte> name)
    {
        return Encoding.ASCII.GetString(name) switch
        {
            "map" => KernelEventKind.Map,
            "unmap" => KernelEventKind.Unmap,
            "dma_map_phys" => KernelEventKind.DmaMapPhys,
            "dma_map_page" => KernelEventKind.DmaMapPage,
            "dma_unmap_phys" => KernelEventKind.DmaUnmapPhys,
            "dma_unmap_page" => KernelEventKind.DmaUnmapPage,
            "dma_alloc" => KernelEventKind.DmaAlloc,
            "dma_alloc_pages" => KernelEventKind.DmaAllocPages,
            "dma_free" => KernelEventKind.DmaFree,
            "dma_free_pages" => KernelEventKind.DmaFreePages,
            "dma_map_sg" => KernelEventKind.DmaMapSg,
            "dma_unmap_sg" => KernelEventKind.DmaUnmapSg,
            "iova_link" => KernelEventKind.IovaLink,
            "iova_destroy" => KernelEventKind.IovaDestroy,
            "add_device_to_group" => KernelEventKind.AddDeviceToGroup,
            "attach_device_to_domain" => KernelEventKind.AttachDevice,
            "tracing_mark_write" => KernelEventKind.Mark,
            "cache_tag_flush_range" => KernelEventKind.FlushRange,
            "cache_tag_assign" => KernelEventKind.CacheTagAssign,
            "qi_submit" => KernelEventKind.QueuedInvalidation,
            "io_page_fault" => KernelEventKind.IoPageFault,
            { } other when other.StartsWith("dma_", StringComparison.Ordinal) => KernelEventKind.OtherDma,
            _ => KernelEventKind.Other,
        };
    }

    private struct Entry
    {
        public byte[] Name;
        public KernelEventKind Kind;
        public long Count;
    }
}
