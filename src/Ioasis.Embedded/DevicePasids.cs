using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>Tells a device model of the life of PASIDs, as the core tells of that of IOASIDs.</summary>
internal sealed class DevicePasids(IPasidUser user) : IPasidDevice
{
    /// <inheritdoc/>
    public string Name => user.Name;

    /// <inheritdoc/>
    public void Begin(Ioasid ioasid) => user.BeginPasid(ioasid.Pasid);

    /// <inheritdoc/>
    public Errno Stop(Ioasid ioasid) => user.StopPasid(ioasid.Pasid);

    /// <inheritdoc/>
    public bool IsDrained(Ioasid ioasid, out string? holds) => user.IsPasidDrained(ioasid.Pasid, out holds);
}
