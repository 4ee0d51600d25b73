using System.Text;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

// QEMU's amd-iommu: amdvi_*.
internal sealed partial class DmaLogReader
{
    private bool Amd(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("amdvi_translation_result"u8))
        {
            // devid: 00:04.0 gpa 0x… hpa 0x…
            if (!cursor.Skip("devid: "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("gpa "u8) || !cursor.TryHex(out ulong iova) || !cursor.SkipPast("hpa "u8)
                || !cursor.TryHex(out ulong physical) || !TryDevice(device, out int index))
            {
                return false;
            }

            bool faulted = _amdFault || (physical == 0 && iova > 0xfff);
            _amdFault = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = physical,
                Line = line,
                Device = index,
                Outcome = faulted ? DmaOutcome.Faulted : DmaOutcome.Translated,
                SizeLog2 = DmaAccess.UnknownSize,
            });
            return true;
        }

        if (name.SequenceEqual("amdvi_page_fault"u8))
        {
            _amdFault = true;
        }
        else if (name.EndsWith("_inval"u8) || name.SequenceEqual("amdvi_completion_wait"u8))
        {
            Invalidation(timeNs, Encoding.ASCII.GetString(name["amdvi_"u8.Length..]));
        }

        return true;
    }
}
