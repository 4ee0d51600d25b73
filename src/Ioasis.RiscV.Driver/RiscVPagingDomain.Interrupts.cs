using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <content>Interrupt files: in the MSI page table of a second stage, or as ordinary pages.</content>
public sealed partial class RiscVPagingDomain
{
    private const int FileLog2 = 12;
    private const uint MaxNoticeIdentity = 2047;

    /// <inheritdoc/>
    public override Errno MapInterruptFile(Iova iova, PhysicalAddress interruptFile)
    {
        if (_msi is null || !_msi.Files.Contains(iova))
        {
            return base.MapInterruptFile(iova, interruptFile);
        }

        return IsPage(iova.Value) && IsPage(interruptFile.Value) && interruptFile.Value >> _physicalBits == 0
            ? _msi.Map(iova, interruptFile)
            : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public override Errno MapResidentInterruptFile(
        Iova iova, PhysicalAddress memory, PhysicalAddress notice, uint noticeIdentity)
    {
        if (_msi is not { AllowsResidentFiles: true })
        {
            return Errno.NotSupported;
        }

        bool isValid = _msi.Files.Contains(iova) && IsPage(iova.Value) && (memory.Value & 511) == 0
            && memory.Value >> _physicalBits == 0 && IsPage(notice.Value) && notice.Value >> _physicalBits == 0
            && noticeIdentity <= MaxNoticeIdentity;
        return isValid ? _msi.MapResident(iova, memory, notice, noticeIdentity) : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    /// <remarks>MSI entries are invalidated as the second stage is, by guest-physical address (section 3.1.1).</remarks>
    public override Errno UnmapInterruptFile(Iova iova)
    {
        if (_msi is null || !_msi.Files.Contains(iova))
        {
            return base.UnmapInterruptFile(iova);
        }

        if (!IsPage(iova.Value))
        {
            return Errno.InvalidArgument;
        }

        Errno error = _msi.Clear(iova, out ulong entry);
        if (error != Errno.Success || entry == 0)
        {
            return error;
        }

        InvalidationGather gather = default;
        gather.AddLeaves(iova.Value, iova.Value + (1ul << FileLog2) - 1, FileLog2);
        error = Bonds.Invalidate(gather);
        gather.Clear();
        if (error != Errno.Success)
        {
            _msi.Restore(iova, entry);
        }

        return error;
    }

    private static bool IsPage(ulong address) => (address & ((1ul << FileLog2) - 1)) == 0;
}
