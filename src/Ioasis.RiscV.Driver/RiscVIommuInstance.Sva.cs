using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>Processes' address spaces as domains.</content>
internal sealed partial class RiscVIommuInstance
{
    // Tables of processes, the best first: 256 TiB without a level more than most systems use.
    private static List<PageTableFormat> FormatsOf(Capabilities capabilities)
    {
        List<PageTableFormat> formats = [];
        if (capabilities.Sv48)
        {
            formats.Add(PageTableFormat.Of<Sv48>());
        }

        if (capabilities.Sv39)
        {
            formats.Add(PageTableFormat.Of<Sv39>());
        }

        if (capabilities.Sv57)
        {
            formats.Add(PageTableFormat.Of<Sv57>());
        }

        return formats;
    }

    /// <inheritdoc/>
    public override Errno TryAllocateSvaDomain(IommuDevice device, ProcessAddressSpace addressSpace, out SvaDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(addressSpace);
        domain = null;
        if (Capabilities.PasidBits == 0)
        {
            return Errno.NotSupported;
        }

        Errno error = Platform.Injection.Hit(Platform.InjectionKind.Allocate);
        RiscVSvaDomain? made = null;
        if (error == Errno.Success)
        {
            error = RiscVSvaDomain.TryCreate(this, addressSpace, out made);
        }

        domain = made;
        return error;
    }
}
