using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <content>Processes' address spaces as domains.</content>
public sealed partial class RiscVIommuInstance
{
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
