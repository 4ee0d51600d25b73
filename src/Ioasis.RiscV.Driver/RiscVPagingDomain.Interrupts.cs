using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <content>Interrupt files: in the MSI page table of a second stage, or as ordinary pages.</content>
internal sealed partial class RiscVPagingDomain
{
    private const int FileLog2 = 12;
    private const uint MaxNoticeIdentity = 2047;

    /// <summary>
    /// Lets devices reach an interrupt file (the 4 KiB page that takes MSIs) at an IOVA: in the domain's MSI page table if it
    /// has one and the IOVA is among its addresses, otherwise as an ordinary page.
    /// </summary>
    /// <param name="iova">Aligned to 4 KiB.</param>
    /// <param name="interruptFile">Aligned to 4 KiB.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for alignment; <see cref="Errno.AddressInUse"/> if something is there; others
    /// as <see cref="PagingDomain.Map"/>.
    /// </returns>
    public Errno MapInterruptFile(Iova iova, PhysicalAddress interruptFile)
    {
        if (_msi is null || !_msi.Files.Contains(iova))
        {
            return Map(iova, interruptFile, 1ul << FileLog2, Access.ReadWrite);
        }

        return IsPage(iova.Value) && IsPage(interruptFile.Value) && interruptFile.Value >> _physicalBits == 0
            ? _msi.Map(iova, interruptFile)
            : Errno.InvalidArgument;
    }

    /// <summary>
    /// Lets MSIs to an IOVA be stored in a memory-resident interrupt file, followed by a notice MSI.
    /// </summary>
    /// <param name="iova">Aligned to 4 KiB, among the domain's interrupt-file addresses.</param>
    /// <param name="memory">The file in memory, aligned to 512 bytes.</param>
    /// <param name="notice">Where the notice MSI is stored: the page of an interrupt file, aligned to 4 KiB.</param>
    /// <param name="noticeIdentity">What is stored there, 0 to 2047.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the domain cannot; <see cref="Errno.InvalidArgument"/>;
    /// <see cref="Errno.AddressInUse"/> if something is there; <see cref="Errno.IoError"/>.
    /// </returns>
    public Errno MapResidentInterruptFile(
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

    /// <summary>
    /// Undoes <see cref="MapInterruptFile"/> or <see cref="MapResidentInterruptFile"/>. When it returns success, no MSI reaches
    /// the file any more.
    /// </summary>
    /// <returns>Success, also if nothing was there; or the errors of <see cref="PagingDomain.Sync"/>.</returns>
    /// <remarks>MSI entries are invalidated as the second stage is, by guest-physical address (section 3.1.1).</remarks>
    public Errno UnmapInterruptFile(Iova iova)
    {
        if (_msi is null || !_msi.Files.Contains(iova))
        {
            InvalidationGather page = default;
            Errno unmapped = Unmap(iova, 1ul << FileLog2, ref page, out _);
            return unmapped == Errno.Success ? Sync(ref page) : unmapped;
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
