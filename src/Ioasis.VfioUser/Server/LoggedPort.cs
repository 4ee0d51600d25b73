using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>A way through an IOMMU that logs each page.</summary>
internal sealed class LoggedPort(IDmaPort port, DeviceId iommu, AccessLog log) : PagewisePort(port)
{
    /// <inheritdoc/>
    protected override DmaStatus Look(in DmaRequest page)
    {
        Inner.Translate(page, out DmaTranslation translation);
        log.Access(
            iommu,
            page.Device,
            (page.Flags & DmaFlags.PasidValid) != 0 ? page.Pasid.Value : 0,
            (page.Flags & DmaFlags.Write) != 0,
            page.Address.Value,
            translation.Status == DmaStatus.Success ? translation.Address.Value : null);
        return translation.Status;
    }
}
