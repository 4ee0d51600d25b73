using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>
/// Accesses through <see cref="Read"/> and <see cref="Write"/> to a memory-resident interrupt file (section 2.3.3; Advanced Interrupt
/// Architecture, "MSI PTE, MRIF mode"). An embedder who makes accesses of its own does this itself, from <see cref="DmaTranslation.Interrupt"/>.
/// </content>
public sealed partial class RiscVIommu
{
    // Identities 0 to 2047, 64 to a pair of doublewords: those that are pending, and those that are enabled.
    private const uint ResidentIdentities = 2048;
    private const int ResidentPairSize = 16;

    private static MrifTarget MakeTarget(in Outcome outcome) =>
        new(new(outcome.MrifAddress), new(outcome.NoticeAddress), outcome.NoticeId);

    // An access that is not of one aligned word is aborted. A word that is read is 0.
    private static DmaStatus ReadResident(in Request request, Span<byte> destination)
    {
        if (!IsAlignedWord(request, destination.Length))
        {
            return DmaStatus.UnsupportedRequest;
        }

        destination.Clear();
        return DmaStatus.Success;
    }

    // A word is the identity of an interrupt: little-endian at offset 0 of the page, big-endian at 4. What is none is accepted and discarded.
    private DmaStatus WriteResident(ref Request request, MrifTarget file, ReadOnlySpan<byte> source, out bool notify)
    {
        notify = false;
        if (!IsAlignedWord(request, source.Length))
        {
            return DmaStatus.UnsupportedRequest;
        }

        ulong offset = request.Iova & ((1ul << PageShift) - 1);
        uint identity = offset == 0 ? BinaryPrimitives.ReadUInt32LittleEndian(source) : BinaryPrimitives.ReadUInt32BigEndian(source);
        if (offset > sizeof(uint) || identity >= ResidentIdentities)
        {
            return DmaStatus.Success;
        }

        MemoryStatus status = SetPending(file.Address.Value + (identity / 64 * ResidentPairSize), 1ul << (int)(identity % 64));
        if (status != MemoryStatus.Success)
        {
            request.Cause = status == MemoryStatus.DataCorruption ? FaultCause.MrifDataCorruption : FaultCause.MrifAccessFault;
            return DmaStatus.UnsupportedRequest;
        }

        notify = true;
        return DmaStatus.Success;
    }

    private static bool IsAlignedWord(in Request request, int length) => length == sizeof(uint) && (request.Iova & 3) == 0;

    // AMOOR of a little-endian doubleword.
    private MemoryStatus SetPending(ulong address, ulong bit)
    {
        MemoryStatus status = ReadDoubleword(address, bigEndian: false, out ulong value);
        for (int retries = 0; status == MemoryStatus.Success; retries++)
        {
            _ = Injection.Hit(InjectionKind.MemoryWrite, address);
            status = _memory.CompareExchange64(new(address), value, value | bit, out ulong observed);
            if (observed == value)
            {
                return status;
            }

            if (retries == MaxRetries)
            {
                return MemoryStatus.AccessFault;
            }

            value = observed;
        }

        return status;
    }

    // Called outside of the access: the notice is sent when the pending bit is visible. One that reaches nothing is lost: fault 273 is for msi_cfg_tbl.
    private DmaStatus EndResident(in Request request, DmaStatus status, MrifTarget? noticeOf)
    {
        RaiseOverflow();
        if (request.Cause != 0)
        {
            ReportTranslationFault(request);
        }

        if (noticeOf is not null)
        {
            using (_lock.Acquire())
            {
                Depart(new(DepartureKind.Notice, noticeOf.NoticeAddress.Value, noticeOf.NoticeId));
            }

            Deliver();
        }

        return status;
    }
}
