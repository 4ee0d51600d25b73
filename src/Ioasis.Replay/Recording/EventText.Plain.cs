using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

// The fields of nearly all events, whose order is known: they need not be searched.
internal sealed partial class EventText
{
    // The text of Linux since 5.16, to the letter: the fields of nearly all events need not be searched. What differs in anything is left
    // to the general way.
    private bool TryPlainMapping(ref KernelEvent e, out ulong end)
    {
        end = 0;
        TextCursor cursor = new(e.Fields);
        if (!cursor.Skip("IOMMU: iova=0x"u8) || !cursor.TryHex(out ulong start) || !cursor.Skip(" - 0x"u8) || !cursor.TryHex(out end))
        {
            return false;
        }

        ulong value;
        ulong length;
        Found found = Found.Address | Found.End | Found.Length;
        if (e.Kind == KernelEventKind.Map)
        {
            found |= Found.Value;
            if (!cursor.Skip(" paddr=0x"u8) || !cursor.TryHex(out value) || !cursor.Skip(" size="u8) || !cursor.TryDecimal(out length))
            {
                return false;
            }
        }
        else
        {
            found |= Found.Unmapped;
            if (!cursor.Skip(" size="u8) || !cursor.TryDecimal(out length) || !cursor.Skip(" unmapped_size="u8) || !cursor.TryDecimal(out value))
            {
                return false;
            }
        }

        if (!cursor.Rest.IsEmpty)
        {
            return false;
        }

        (e.Address, e.Length, e.Value) = (start, length, value);
        _found = found;
        return true;
    }

    // What follows the device in dma_map_page, dma_map_phys and their unmaps, to the letter; else the general way is taken.
    private bool TryPlainRange(ref KernelEvent e)
    {
        TextCursor cursor = new(e.Fields);
        if (e.Device.IsEmpty || !cursor.Skip(" dir="u8) || cursor.Word().Contains((byte)'=')
            || !cursor.Skip(" dma_addr="u8) || !cursor.TryHex(out ulong address)
            || !cursor.Skip(" size="u8) || !cursor.TryDecimal(out ulong length)
            || (cursor.Skip(" phys_addr="u8) && !cursor.TryHex(out _))
            || (cursor.Skip(" attrs="u8) ? cursor.Rest.Contains((byte)'=') : !cursor.Rest.IsEmpty))
        {
            return false;
        }

        (e.Address, e.Length) = (address, length);
        e.Ranges = default;
        _found = Found.Address | Found.Length;
        return true;
    }
}
