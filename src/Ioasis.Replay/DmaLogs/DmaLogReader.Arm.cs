using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

// QEMU's Arm SMMUv3: smmuv3_*.
internal sealed partial class DmaLogReader
{
    private bool Smmu(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("smmuv3_translate_success"u8))
        {
            // region sid=0x30 iova=0x… translated=0x… perm=0x3 stage=1: what the page permits, not what was asked for
            if (!TrySid(ref cursor, out int device) || !cursor.SkipPast("iova=0x"u8) || !cursor.TryHex(out ulong iova)
                || !cursor.SkipPast("translated=0x"u8) || !cursor.TryHex(out ulong physical))
            {
                return false;
            }

            ulong permission = cursor.SkipPast("perm=0x"u8) && cursor.TryHex(out ulong perm) ? perm : 3;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = physical,
                Line = line,
                Device = device,
                Access = permission == 2 ? Access.Write : Access.None,
                SizeLog2 = 12,
            });
            return true;
        }

        if (name.SequenceEqual("smmuv3_translate_abort"u8))
        {
            // region sid=0x30 abort on iova:0x… is_write=0
            return TrySid(ref cursor, out int device) && cursor.SkipPast("iova:0x"u8) && cursor.TryHex(out ulong iova)
                && AddFault(device, iova, cursor.SkipPast("is_write="u8) && cursor.Rest.StartsWith("1"u8) ? Access.Write : Access.Read, timeNs, line);
        }

        if (name.SequenceEqual("smmuv3_record_event"u8))
        {
            // F_TRANSLATION sid=0x30: the address, if at all, is in the message that comes with it.
            _eventDevice = TrySid(ref cursor, out int device) ? device : -1;
            return true;
        }

        if (name.SequenceEqual("smmuv3_range_inval"u8))
        {
            // vmid=0 asid=2 addr=0x… tg=0 num_pages=0x1 ttl=0 leaf=1 stage=1; older: vmid =0 asid =2
            if (TryNumber(ref cursor, "asid"u8, out ulong asid) && TryNumber(ref cursor, "addr"u8, out ulong address))
            {
                TryNumber(ref cursor, "tg"u8, out ulong granule);
                ulong pages = TryNumber(ref cursor, "num_pages"u8, out ulong count) ? Math.Clamp(count, 1, 1 << 20) : 1;

                // Granules by their code: none and 1 are 4 KiB, 2 is 16 KiB, 3 is 64 KiB (SMMUv3, CMD_TLBI_NH_VA.TG).
                int log2 = 12 + (granule == 2 ? 2 : granule == 3 ? 4 : 0) + System.Numerics.BitOperations.Log2((pages << 1) - 1);
                Invalidation(timeNs, "TLBI_NH_VA", InvalidationScope.Pages, (uint)asid, address, (byte)Math.Min(log2, 52));
            }

            return true;
        }

        if (name.SequenceEqual("smmuv3_cmdq_tlbi_nh_asid"u8))
        {
            if (TryNumber(ref cursor, "asid"u8, out ulong asid))
            {
                Invalidation(timeNs, "TLBI_NH_ASID", InvalidationScope.Domain, (uint)asid);
            }
        }
        else if (name.SequenceEqual("smmuv3_cmdq_tlbi_nh_va"u8))
        {
            if (TryNumber(ref cursor, "asid"u8, out ulong asid) && TryNumber(ref cursor, "addr"u8, out ulong address))
            {
                Invalidation(timeNs, "TLBI_NH_VA", InvalidationScope.Pages, (uint)asid, address);
            }
        }
        else if (name.StartsWith("smmuv3_cmdq_tlbi_"u8) || name.StartsWith("smmuv3_cmdq_cfgi_"u8))
        {
            Invalidation(timeNs, Encoding.ASCII.GetString(name["smmuv3_cmdq_".Length..]).ToUpperInvariant());
        }

        return true;
    }

    // QEMU says the address of a fault in a message: smmuv3-iommu-memory-region-24-4 translation failed for iova=0x… (F_TRANSLATION)
    private bool TryMessage(ReadOnlySpan<byte> text, long timeNs, int line)
    {
        TextCursor cursor = new(text);
        if (!text.StartsWith("smmuv3-iommu-memory-region-"u8) || !cursor.SkipPast(" translation failed for iova=0x"u8)
            || !cursor.TryHex(out ulong iova))
        {
            return false;
        }

        // The region's name ends in the function's number; the events before it have the whole stream ID.
        int device = _eventDevice;
        TextCursor region = new(text["smmuv3-iommu-memory-region-".Length..]);
        if (device < 0 && region.TryDecimal(out ulong function) && function < 256)
        {
            device = _log.Devices.Intern(new DeviceId((uint)function));
        }

        _eventDevice = -1;
        return device >= 0 && AddFault(device, iova, Access.None, timeNs, line);
    }

    private bool TrySid(ref TextCursor cursor, out int device)
    {
        device = -1;
        if (!TryNumber(ref cursor, "sid"u8, out ulong source) || source > 0xff_ffff)
        {
            return false;
        }

        device = _log.Devices.Intern(new DeviceId((uint)source));
        return true;
    }

    /// <summary>Reads <c>name=value</c> or <c>name =value</c>; decimal, or hexadecimal with <c>0x</c>.</summary>
    private static bool TryNumber(ref TextCursor cursor, ReadOnlySpan<byte> name, out ulong value)
    {
        value = 0;
        TextCursor ahead = cursor;
        if (!ahead.SkipPast(name))
        {
            return false;
        }

        ahead.SkipSpaces();
        if (!ahead.Skip("="u8))
        {
            return false;
        }

        ahead.SkipSpaces();
        if (!(ahead.Rest.StartsWith("0x"u8) ? ahead.TryHex(out value) : ahead.TryDecimal(out value)))
        {
            return false;
        }

        cursor = ahead;
        return true;
    }

    private bool AddFault(int device, ulong iova, Access access, long timeNs, int line)
    {
        Add(new()
        {
            TimeNs = timeNs,
            Iova = iova,
            Line = line,
            Device = device,
            Access = access,
            Outcome = DmaOutcome.Faulted,
            SizeLog2 = 12,
        });
        return true;
    }
}
