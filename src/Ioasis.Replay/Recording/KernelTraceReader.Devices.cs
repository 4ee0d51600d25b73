using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

// Events that name a device: they tell whose the maps and unmaps beside them are.
internal sealed partial class KernelTraceReader
{
    private bool TryProbe(ReadOnlySpan<byte> fields, KernelEventKind kind, Attribution.TaskState task)
    {
        TextCursor cursor = new(fields);
        if (!cursor.SkipPast("dev=\""u8) || !cursor.TryUntil((byte)'"', out ReadOnlySpan<byte> name) || name.IsEmpty
            || !cursor.SkipPast("iova="u8) || !cursor.TryHex(out ulong iova))
        {
            return false;
        }

        if (kind == KernelEventKind.IovaDestroy)
        {
            Attribution.Probe(task.Destroys, CountDevice(name), iova);
            return true;
        }

        if (!cursor.SkipPast("offset="u8) || !cursor.TryHex(out ulong offset))
        {
            return false;
        }

        Attribution.Probe(task.Links, CountDevice(name), iova + offset);
        return true;
    }

    // IOMMU: groupID=0 device=0000:00:00.0
    private bool TryGroup(ReadOnlySpan<byte> fields, KernelEventKind kind, Attribution.TaskState task)
    {
        TextCursor cursor = new(fields);
        if (!cursor.SkipPast("device="u8))
        {
            return false;
        }

        ReadOnlySpan<byte> name = cursor.Word();
        if (name.IsEmpty)
        {
            return false;
        }

        int device = _trace.Devices.Intern(name);
        _grouped.Add(device);
        if (kind == KernelEventKind.AttachDevice)
        {
            _attached.Add(device);
            _attribution.ClaimDirect(task.Maps, device);
        }

        return true;
    }

    // 0000:00:02.0 dir=… dma_addr=… size=… …, or with arrays: dma_addrs={0x…,0x…} sizes={0x…,0x…}
    private bool TryDma(ReadOnlySpan<byte> fields, KernelEventKind kind, Attribution.TaskState task, int line, int cpu)
    {
        TextCursor cursor = new(fields);
        ReadOnlySpan<byte> name = cursor.Word();
        if (name.IsEmpty)
        {
            return false;
        }

        switch (kind)
        {
            case KernelEventKind.DmaMapSg:
                if (!TryArrays(ref cursor))
                {
                    return false;
                }

                _attribution.ClaimAll(
                    task.Maps, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_ranges), CountDevice(name), Evidence.DmaMapSg);
                return true;

            case KernelEventKind.DmaUnmapSg:
                _attribution.ClaimNewest(task.Unmaps, CountDevice(name), Evidence.DmaUnmapSg);
                return true;

            case KernelEventKind.OtherDma:
                CountDevice(name);
                return true;
        }

        if (!cursor.SkipPast("dma_addr="u8) || !cursor.TryHex(out ulong address) || !cursor.SkipPast("size="u8)
            || !cursor.TryDecimal(out ulong size))
        {
            return false;
        }

        int device = CountDevice(name);
        ReadOnlySpan<(ulong Address, ulong Size)> range = [(address, size)];
        switch (kind)
        {
            case KernelEventKind.DmaMapPhys:
                _attribution.ClaimOne(task.Maps, address, size, device, Evidence.DmaMapPhys, line, cpu);
                break;

            case KernelEventKind.DmaMapPage:
                _attribution.ClaimOne(task.Maps, address, size, device, Evidence.DmaMapPage, line, cpu);
                break;

            case KernelEventKind.DmaUnmapPhys:
                _attribution.ClaimOne(task.Unmaps, address, size, device, Evidence.DmaUnmapPhys, line, cpu);
                break;

            case KernelEventKind.DmaUnmapPage:
                _attribution.ClaimOne(task.Unmaps, address, size, device, Evidence.DmaUnmapPage, line, cpu);
                break;

            case KernelEventKind.DmaAlloc:
                _attribution.ClaimAll(task.Maps, range, device, Evidence.DmaAlloc);
                break;

            case KernelEventKind.DmaAllocPages:
                _attribution.ClaimAll(task.Maps, range, device, Evidence.DmaAllocPages);
                break;

            case KernelEventKind.DmaFree:
                _attribution.ClaimAll(task.Unmaps, range, device, Evidence.DmaFree);
                break;

            case KernelEventKind.DmaFreePages:
                _attribution.ClaimAll(task.Unmaps, range, device, Evidence.DmaFreePages);
                break;
        }

        return true;
    }

    private bool TryArrays(ref TextCursor cursor)
    {
        _ranges.Clear();
        _addresses.Clear();
        if (!cursor.SkipPast("{"u8))
        {
            return false;
        }

        while (cursor.TryHex(out ulong address))
        {
            _addresses.Add(address);
            cursor.Skip(","u8);
        }

        if (!cursor.SkipPast("{"u8))
        {
            return false;
        }

        while (_ranges.Count < _addresses.Count && cursor.TryHex(out ulong size))
        {
            _ranges.Add((_addresses[_ranges.Count], size));
            cursor.Skip(","u8);
        }

        return true;
    }
}
