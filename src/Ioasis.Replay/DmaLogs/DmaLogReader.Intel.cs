using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

// QEMU's intel-iommu: vtd_*.
internal sealed partial class DmaLogReader
{
    private bool Intel(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("vtd_dmar_translate"u8))
        {
            // dev 00:04.00 iova 0x… -> gpa 0x… mask 0x…
            if (!cursor.Skip("dev "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("iova "u8) || !cursor.TryHex(out ulong iova) || !cursor.Skip(" -> gpa "u8)
                || !cursor.TryHex(out ulong physical) || !cursor.Skip(" mask "u8) || !cursor.TryHex(out ulong mask)
                || !TryDevice(device, out int index))
            {
                return false;
            }

            // The line before it has the whole address and what the page permits.
            bool whole = _page.Pending && _page.Device == index && (_page.Iova & ~mask) == iova;
            _page.Pending = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = whole ? _page.Iova : iova,
                Physical = physical,
                Line = line,
                Device = index,
                Access = whole && _page.Permission == Access.Write ? Access.Write : Access.None,
                SizeLog2 = (byte)Math.Max(12, 64 - System.Numerics.BitOperations.LeadingZeroCount(mask)),
            });
            return true;
        }

        if (name.SequenceEqual("vtd_iotlb_page_hit"u8) || name.SequenceEqual("vtd_iotlb_page_update"u8))
        {
            // IOTLB page hit sid 0x20 iova 0x… slpte 0x… domain 0x6; later versions call it pte
            if (!cursor.SkipPast("sid "u8) || !cursor.TryHex(out ulong source) || !cursor.SkipPast("iova "u8)
                || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("pte "u8) || !cursor.TryHex(out ulong entry) || source > 0xffff)
            {
                return false;
            }

            int device = _log.Devices.Intern(new DeviceId((uint)source));
            if (cursor.SkipPast("domain "u8) && cursor.TryHex(out ulong domain))
            {
                _domains[(uint)domain] = device;
            }

            _page = new()
            {
                Pending = true,
                Device = device,
                Iova = iova,
                Permission = (Access)(entry & 3),
            };
            return true;
        }

        if (name.SequenceEqual("vtd_dmar_fault"u8))
        {
            // sid 0x28 fault 6 addr 0x… write 0
            if (!cursor.Skip("sid "u8) || !cursor.TryHex(out ulong source) || !cursor.SkipPast("addr "u8)
                || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("write "u8) || !cursor.TryDecimal(out ulong write) || source > 0xffff)
            {
                return false;
            }

            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Line = line,
                Device = _log.Devices.Intern(new DeviceId((uint)source)),
                Access = write != 0 ? Access.Write : Access.Read,
                Outcome = DmaOutcome.Faulted,
                SizeLog2 = 12,
            });
            return true;
        }

        if (name.StartsWith("vtd_inv_desc_"u8))
        {
            IntelInvalidation(timeNs, name["vtd_inv_desc_"u8.Length..], cursor);
        }

        return true;
    }

    // iotlb invalidate domain 0x… addr 0x… mask 0x…, iotlb invalidate whole domain 0x…
    private void IntelInvalidation(long timeNs, ReadOnlySpan<byte> kind, TextCursor cursor)
    {
        InvalidationScope scope = InvalidationScope.Other;
        ulong domain = 0;
        ulong address = 0;
        ulong mask = 0;
        if (kind.StartsWith("iotlb"u8) && cursor.SkipPast("domain "u8) && cursor.TryHex(out domain))
        {
            scope = kind.EndsWith("domain"u8) ? InvalidationScope.Domain
                : cursor.SkipPast("addr "u8) && cursor.TryHex(out address) && cursor.SkipPast("mask "u8) && cursor.TryHex(out mask)
                    ? InvalidationScope.Pages : InvalidationScope.Other;
        }

        Invalidation(timeNs, Encoding.ASCII.GetString(kind), scope, (uint)domain, address, (byte)Math.Min(12 + mask, 52));
    }

    private struct PendingPage
    {
        public bool Pending;
        public int Device;
        public ulong Iova;
        public Access Permission;
    }
}
