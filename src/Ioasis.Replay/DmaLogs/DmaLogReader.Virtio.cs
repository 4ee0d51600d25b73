using System.Numerics;
using Ioasis.Primitives;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

// QEMU's virtio-iommu: virtio_iommu_*.
internal sealed partial class DmaLogReader
{
    private bool Virtio(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("virtio_iommu_translate"u8))
        {
            // mr=region rid=16 addr=0x… flag=1: the result, if any, is the next line
            _virtioWrite = TryNumber(ref cursor, "flag"u8, out ulong flag) && flag == 2;
            return true;
        }

        if (name.SequenceEqual("virtio_iommu_translate_out"u8))
        {
            // 0x… -> 0x… for sid=16
            if (!cursor.TryHex(out ulong iova) || !cursor.Skip(" -> "u8) || !cursor.TryHex(out ulong physical)
                || !TrySid(ref cursor, out int device))
            {
                return false;
            }

            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = physical,
                Line = line,
                Device = device,
                Access = _virtioWrite ? Access.Write : Access.Read,
                SizeLog2 = 12,
            });
            return true;
        }

        if (name.SequenceEqual("virtio_iommu_report_fault"u8))
        {
            // FAULT reason=2 flags=257 endpoint=16 address =0x…: bit 0 a read, bit 1 a write (virtio 1.2, section 5.13.6.9)
            return TryNumber(ref cursor, "flags"u8, out ulong flags) && TryEndpoint(ref cursor, out int device)
                && TryNumber(ref cursor, "address"u8, out ulong iova)
                && AddFault(device, iova, (flags & 2) != 0 ? Access.Write : Access.Read, timeNs, line);
        }

        if (name.SequenceEqual("virtio_iommu_attach"u8))
        {
            if (TryNumber(ref cursor, "domain"u8, out ulong domain) && TryEndpoint(ref cursor, out int device))
            {
                _domains[(uint)domain] = device;
            }
        }
        else if (name.SequenceEqual("virtio_iommu_unmap"u8))
        {
            if (TryNumber(ref cursor, "domain"u8, out ulong domain) && TryNumber(ref cursor, "virt_start"u8, out ulong start)
                && TryNumber(ref cursor, "virt_end"u8, out ulong last) && last >= start)
            {
                int log2 = 64 - BitOperations.LeadingZeroCount(last - start);
                Invalidation(timeNs, "UNMAP", InvalidationScope.Pages, (uint)domain, start, (byte)Math.Clamp(log2, 12, 52));
            }
        }
        else if (name.SequenceEqual("virtio_iommu_detach"u8))
        {
            Invalidation(timeNs, "DETACH");
        }

        return true;
    }

    private bool TryEndpoint(ref TextCursor cursor, out int device)
    {
        device = -1;
        if (!TryNumber(ref cursor, "endpoint"u8, out ulong endpoint) || endpoint > 0xff_ffff)
        {
            return false;
        }

        device = _log.Devices.Intern(new DeviceId((uint)endpoint));
        return true;
    }
}
