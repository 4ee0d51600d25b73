using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;
using PageResponseCode = Ioasis.Core.PageResponseCode;

namespace Ioasis.RiscV.Driver;

/// <content>Page requests (section 2.7): between the queue and the core's router.</content>
internal sealed partial class RiscVIommuInstance
{
    /// <inheritdoc/>
    protected internal override Errno SendPageResponse(PageRequestGroup group, PageResponseCode code)
    {
        ArgumentNullException.ThrowIfNull(group);
        return _pageRequests?.Respond(group, code) ?? Errno.NoDevice;
    }

    /// <inheritdoc/>
    protected internal override void ReadPageRequests() => _pageRequests?.Drain();

    /// <inheritdoc/>
    /// <remarks>
    /// The device saw that the page is missing in a translation that had no permission, which is no fault for the IOMMU
    /// (section 3.2). The record is the one that the access itself would have made.
    /// </remarks>
    protected internal override void ReportPageRequest(PageRequestGroup group, PageResponseCode code)
    {
        ArgumentNullException.ThrowIfNull(group);
        PageRequest first = group.Requests[0];
        FaultCause cause = (first.Access & Access.Write) != 0 ? FaultCause.WritePageFault : FaultCause.ReadPageFault;
        IommuFaultReason reason = group.Domain is BlockedDomain ? IommuFaultReason.Blocked : IommuFaultReason.NotMapped;
        IommuFault fault = new(
            group.Device.Id, group.Device, group.Pasid, first.Address, first.Access, reason, (int)cause, (ulong)code, first.IsPrivileged);
        _options.Logger.LogDebug(
            "{Name}: page request of {Device} PASID {Pasid} at {Address} not served: {Code}",
            Name, group.Device.Name, group.Pasid, first.Address, code);
        _options.FaultSink?.OnFault(fault);
    }
}
