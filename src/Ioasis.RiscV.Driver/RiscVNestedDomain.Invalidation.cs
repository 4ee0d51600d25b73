using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <content>What the guest has its IOMMU forget.</content>
internal sealed partial class RiscVNestedDomain
{
    /// <inheritdoc/>
    /// <remarks>
    /// IOTINVAL.VMA with GV=0; IODIR.INVAL_DDT and IODIR.INVAL_PDT, whose device ID is ignored: they go to every device that is
    /// attached to the domain; ATS.INVAL likewise. Everything else is refused, also fences: what was carried out is complete.
    /// </remarks>
    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count) =>
        GuestCommands.Invalidate(
            _parent.Bonds, Volatile.Read(ref _devices), dataType, entries, entryLength, ref count);
}
