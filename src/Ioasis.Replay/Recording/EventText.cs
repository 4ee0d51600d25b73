using System.Buffers;
using System.Runtime.InteropServices;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Reads what an event says from its text: fields by their names, in any order, unknown ones passed over. The kernel's
/// formats changed over the years (a range or one address, arrays or not, a direction or none); trace-cmd's raw output and
/// the kernel's <c>fields</c> option have the same names in other clothes.
/// </summary>
internal sealed partial class EventText
{
    private const ulong PageMask = 4095;

    private static readonly SearchValues<byte> s_hexDigits = SearchValues.Create("0123456789abcdef"u8);

    private readonly List<(ulong Address, ulong Length)> _ranges = [];
    private readonly List<ulong> _addresses = [];

    /// <summary>Reads the fields of an event whose kind is known.</summary>
    /// <returns>Whether it says what its kind has to say.</returns>
    public bool TryRead(ref KernelEvent e)
    {
        switch (e.Kind)
        {
            case KernelEventKind.Map or KernelEventKind.Unmap:
                return TryMapping(ref e);

            case KernelEventKind.Other or KernelEventKind.Mark or KernelEventKind.FlushRange or KernelEventKind.Known
                or KernelEventKind.Unknown:
                return true;

            case KernelEventKind.AddDeviceToGroup:
                TextCursor group = new(e.Fields);
                if (group.SkipPast("groupID="u8) && group.TryDecimal(out ulong number))
                {
                    e.Value = number + 1;
                }

                return TryNamed(ref e) && !e.Device.IsEmpty;

            case KernelEventKind.AttachDevice:
                return TryNamed(ref e) && !e.Device.IsEmpty;

            case KernelEventKind.IovaLink or KernelEventKind.IovaDestroy:
                return TryNamed(ref e) && !e.Device.IsEmpty && _found.HasFlag(Found.Address)
                    && (e.Kind == KernelEventKind.IovaDestroy || _found.HasFlag(Found.Offset));

            case KernelEventKind.ProbeMap or KernelEventKind.ProbeMapList or KernelEventKind.ProbeUnmap:
                return TryNamed(ref e) && e.Domain != 0 && _found.HasFlag(Found.Address);

            case KernelEventKind.ProbeAttach:
                return TryNamed(ref e) && e.Domain != 0;

            case KernelEventKind.ProbeFree:
                return TryNamed(ref e) && e.Domain != 0;

            case KernelEventKind.ProbeDma or KernelEventKind.ProbeOther:
                return TryNamed(ref e);

            case KernelEventKind.DmaMapSg:
                return TryDevice(ref e) && TryNamed(ref e) && _ranges.Count > 0;

            case KernelEventKind.DmaUnmapSg:
                return TryDevice(ref e) && TryNamed(ref e);

            default:
                return TryDevice(ref e) && (TryPlainRange(ref e) || TryNamed(ref e)) && _found.HasFlag(Found.Address) && _found.HasFlag(Found.Length);
        }
    }

    /// <summary>Whether an event that is not known names both a device and an address: then it says something about a mapping.</summary>
    public static bool CarriesMapping(ReadOnlySpan<byte> fields)
    {
        bool device = false;
        bool address = false;
        FieldScanner scanner = new(fields);
        while (scanner.Next(out ReadOnlySpan<byte> key, out ReadOnlySpan<byte> value))
        {
            device |= IsDeviceKey(key) || LooksLikePci(value);
            address |= key.EndsWith("iova"u8) || key.EndsWith("dma_addr"u8) || key.SequenceEqual("dev_addr"u8) || key.SequenceEqual("dma_addrs"u8);
        }

        TextCursor first = new(fields);
        return address && (device || LooksLikePci(first.Word()));
    }

    private Found _found;

    [Flags]
    private enum Found
    {
        None = 0,
        Address = 1,
        End = 2,
        Length = 4,
        Value = 8,
        Unmapped = 16,
        Offset = 32,
    }

    // IOMMU: iova=0x… - 0x… paddr=0x… size=…; up to 5.16 iova=0x… paddr=0x… size=…; with dev=… from some vendors.
    private bool TryMapping(ref KernelEvent e)
    {
        if (!TryPlainMapping(ref e, out ulong end) && !TryMappingFields(ref e, out end))
        {
            return false;
        }

        if (_found.HasFlag(Found.Offset))
        {
            ulong last = e.Address + (e.Length - 1);
            e.Address &= ~PageMask;
            e.Length = (last | PageMask) - e.Address + 1;
            e.Value = e.Kind == KernelEventKind.Map ? e.Value & ~PageMask : e.Length;
            _found |= e.Kind == KernelEventKind.Map ? Found.None : Found.Unmapped;
        }

        if (!_found.HasFlag(Found.Address) || !_found.HasFlag(Found.Length) || e.Length == 0)
        {
            return false;
        }

        if (e.Kind == KernelEventKind.Map ? !_found.HasFlag(Found.Value) : !_found.HasFlag(Found.Unmapped))
        {
            if (e.Kind == KernelEventKind.Map)
            {
                return false;
            }

            e.Value = e.Length;
        }

        ulong computed = e.Address + e.Length;
        return (computed > e.Address || computed == 0) && (!_found.HasFlag(Found.End) || end == computed || end == computed - 1);
    }

    private bool TryMappingFields(ref KernelEvent e, out ulong end)
    {
        _found = Found.None;
        end = 0;
        FieldScanner scanner = new(e.Fields);
        while (scanner.Next(out ReadOnlySpan<byte> key, out ReadOnlySpan<byte> value))
        {
            TextCursor number = new(value);
            switch (key.Length)
            {
                case 4 when key.SequenceEqual("iova"u8):
                    if (!TryAddress(ref number, hexadecimal: false, out e.Address))
                    {
                        return false;
                    }

                    _found |= Found.Address;
                    TextCursor after = new(scanner.Rest);
                    if (after.Skip(" - "u8))
                    {
                        if (!after.TryHex(out end))
                        {
                            return false;
                        }

                        _found |= Found.End;
                    }

                    break;

                case 5 when key.SequenceEqual("paddr"u8):
                    if (!TryField(ref number, hexadecimal: false, out e.Value, Found.Value))
                    {
                        return false;
                    }

                    break;

                case 4 when key.SequenceEqual("size"u8):
                    if (!TryField(ref number, hexadecimal: false, out e.Length, Found.Length))
                    {
                        return false;
                    }

                    break;

                case 13 when key.SequenceEqual("unmapped_size"u8):
                    if (!TryField(ref number, hexadecimal: false, out e.Value, Found.Unmapped))
                    {
                        return false;
                    }

                    break;

                case 8 when key.SequenceEqual("dev_addr"u8):
                    // The Intel driver's own events give the address in the page.
                    if (!TryField(ref number, hexadecimal: true, out e.Address, Found.Address | Found.Offset))
                    {
                        return false;
                    }

                    break;

                case 9 when key.SequenceEqual("phys_addr"u8):
                    if (!TryField(ref number, hexadecimal: true, out e.Value, Found.Value))
                    {
                        return false;
                    }

                    break;

                case 6 when key.SequenceEqual("domain"u8):
                    TryAddress(ref number, hexadecimal: true, out e.Domain);
                    break;

                default:
                    if (e.Device.IsEmpty && IsDeviceKey(key))
                    {
                        e.Device = Unquoted(value);
                    }

                    break;
            }
        }

        return true;
    }

    // 0000:00:02.0 dir=… dma_addr=… size=… …, or raw: device=0000:00:02.0 phys_addr=… dma_addr=…
    private static bool TryDevice(ref KernelEvent e)
    {
        TextCursor cursor = new(e.Fields);
        ReadOnlySpan<byte> word = cursor.Word();
        if (word.IsEmpty)
        {
            return false;
        }

        if (word.IndexOf((byte)'=') >= 0)
        {
            return true;
        }

        TextCursor next = cursor;
        next.SkipSpaces();
        if (next.Word().IndexOf((byte)'=') < 0 && TrySkipSymbol(e.Fields, out TextCursor behind))
        {
            cursor = behind;
            word = cursor.Word();
            next = cursor;
            next.SkipSpaces();
            if (word.IndexOf((byte)'=') >= 0)
            {
                return true;
            }

            if (next.Word().IndexOf((byte)'=') < 0)
            {
                return false;
            }
        }

        e.Device = word;
        e.Fields = cursor.Rest;
        return true;
    }

    // perf script -F ip,sym: ffffffff81234567 iommu_map+0x12 ([kernel.kallsyms]) stands before the event's own text, or parts of that.
    private static bool TrySkipSymbol(ReadOnlySpan<byte> fields, out TextCursor behind)
    {
        TextCursor cursor = new(fields);
        TextCursor before = cursor;
        ReadOnlySpan<byte> word = cursor.Word();
        if (word.Length >= 4 && word.IndexOfAnyExcept(s_hexDigits) < 0)
        {
            cursor.SkipSpaces();
            before = cursor;
            word = cursor.Word();
        }

        if (!word.StartsWith("("u8) && !LooksLikePci(word) && word.IndexOf((byte)'=') < 0)
        {
            // The symbol, if there is another word behind it that may be the device.
            TextCursor after = cursor;
            after.SkipSpaces();
            if (after.Word().IndexOf((byte)'=') < 0)
            {
                cursor.SkipSpaces();
                before = cursor;
            }
        }

        behind = before;
        if (behind.Skip("("u8))
        {
            if (!behind.TryUntil((byte)')', out _))
            {
                return false;
            }

            behind.SkipSpaces();
        }

        return true;
    }

    private bool TryNamed(ref KernelEvent e)
    {
        _found = Found.None;
        _ranges.Clear();
        _addresses.Clear();

        // The kernel's own text has DMA addresses without 0x; raw output has decimals.
        bool hexadecimal = !e.Device.IsEmpty;
        FieldScanner scanner = new(e.Fields);
        while (scanner.Next(out ReadOnlySpan<byte> key, out ReadOnlySpan<byte> value))
        {
            TextCursor number = new(value);
            switch (key.Length)
            {
                case 8 when key.SequenceEqual("dma_addr"u8):
                case 4 when key.SequenceEqual("addr"u8):
                    if (!TryField(ref number, hexadecimal, out e.Address, Found.Address))
                    {
                        return false;
                    }

                    break;

                case 4 when key.SequenceEqual("iova"u8):
                    if (!TryField(ref number, hexadecimal: true, out e.Address, Found.Address))
                    {
                        return false;
                    }

                    break;

                case 4 when key.SequenceEqual("size"u8):
                    if (!TryField(ref number, hexadecimal: false, out e.Length, Found.Length))
                    {
                        return false;
                    }

                    break;

                case 6 when key.SequenceEqual("offset"u8):
                    if (!TryField(ref number, hexadecimal: true, out e.Value, Found.Offset))
                    {
                        return false;
                    }

                    break;

                case 9 when key.SequenceEqual("dma_addrs"u8):
                    Numbers(value, _addresses);
                    break;

                case 5 when key.SequenceEqual("sizes"u8):
                    Sizes(value);
                    break;

                case 4 when key.SequenceEqual("ents"u8):
                    // ents=128/130: those that were traced, and all.
                    if (number.TryDecimal(out ulong traced))
                    {
                        e.Entries = (int)Math.Min(number.Skip("/"u8) && number.TryDecimal(out ulong all) ? all : traced, int.MaxValue);
                    }

                    break;

                case 10 when e.Kind == KernelEventKind.DmaUnmapSg && key.SequenceEqual("phys_addrs"u8):
                    e.Entries = 1 + value.Count((byte)',');
                    break;

                case 6 when key.SequenceEqual("domain"u8):
                    TryAddress(ref number, hexadecimal: true, out e.Domain);
                    break;

                case 2 when key.SequenceEqual("sp"u8):
                    TryAddress(ref number, hexadecimal: true, out e.Stack);
                    break;

                case 4 when key.SequenceEqual("type"u8):
                    e.DomainType = number.TryDecimal(out ulong type) && type < 256 ? (int)type : -1;
                    break;

                default:
                    if (e.Device.IsEmpty && IsDeviceKey(key))
                    {
                        e.Device = Unquoted(value);
                    }

                    break;
            }
        }

        e.Ranges = CollectionsMarshal.AsSpan(_ranges);
        e.Entries = Math.Max(e.Entries, _ranges.Count);
        return true;
    }

    private static void Numbers(ReadOnlySpan<byte> value, List<ulong> into)
    {
        TextCursor cursor = new(value);
        cursor.Skip("{"u8);
        while (cursor.TryHex(out ulong number))
        {
            into.Add(number);
            cursor.Skip(","u8);
            cursor.SkipSpaces();
        }
    }

    private void Sizes(ReadOnlySpan<byte> value)
    {
        TextCursor cursor = new(value);
        cursor.Skip("{"u8);
        while (_ranges.Count < _addresses.Count && TryAddress(ref cursor, hexadecimal: true, out ulong size))
        {
            _ranges.Add((_addresses[_ranges.Count], size));
            cursor.Skip(","u8);
            cursor.SkipSpaces();
        }
    }

    private bool TryField(ref TextCursor number, bool hexadecimal, out ulong value, Found found)
    {
        _found |= found;
        return TryAddress(ref number, hexadecimal, out value);
    }

    /// <summary>Reads a number: hexadecimal with <c>0x</c>, without as the field's text has it.</summary>
    private static bool TryAddress(ref TextCursor cursor, bool hexadecimal, out ulong value) =>
        hexadecimal || cursor.Rest.StartsWith("0x"u8) ? cursor.TryHex(out value) : cursor.TryDecimal(out value);

    private static bool IsDeviceKey(ReadOnlySpan<byte> key) => key.SequenceEqual("dev"u8) || key.SequenceEqual("device"u8);

    // A string that a probe could not read prints as (fault).
    private static ReadOnlySpan<byte> Unquoted(ReadOnlySpan<byte> value)
    {
        value = value.Trim((byte)'"');
        return value.SequenceEqual("(fault)"u8) ? default : value;
    }

    private static bool LooksLikePci(ReadOnlySpan<byte> text) =>
        text.Length >= 7 && text.IndexOf((byte)':') >= 2 && text.IndexOf((byte)'.') > text.IndexOf((byte)':');

    /// <summary>Steps through <c>key=value</c> pairs; what is not one is passed over. A value in braces or quotes may hold spaces.</summary>
    private ref struct FieldScanner(ReadOnlySpan<byte> text)
    {
        private ReadOnlySpan<byte> _rest = text;

        public readonly ReadOnlySpan<byte> Rest => _rest;

        public bool Next(out ReadOnlySpan<byte> key, out ReadOnlySpan<byte> value)
        {
            int equals = _rest.IndexOf((byte)'=');
            if (equals < 0)
            {
                key = default;
                value = default;
                return false;
            }

            int start = equals;
            while (start > 0 && _rest[start - 1] is not ((byte)' ' or (byte)'\t' or (byte)',' or (byte)';'))
            {
                start--;
            }

            key = _rest[start..equals];
            ReadOnlySpan<byte> ahead = _rest[(equals + 1)..];
            int length = 0;
            if (!ahead.IsEmpty && ahead[0] is (byte)'{' or (byte)'"')
            {
                length = 1 + ahead[1..].IndexOf(ahead[0] == (byte)'{' ? (byte)'}' : (byte)'"');
                length = length <= 0 ? ahead.Length : length + 1;
            }
            else
            {
                length = ahead.IndexOfAny((byte)' ', (byte)'\t');
                length = length < 0 ? ahead.Length : length;
            }

            _rest = ahead[length..];
            while (length > 0 && ahead[length - 1] is (byte)',' or (byte)';')
            {
                length--;
            }

            value = ahead[..length];
            return true;
        }
    }
}
