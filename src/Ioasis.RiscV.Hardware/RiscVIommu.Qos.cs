using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Quality-of-service identifiers of device requests (sections 2.1.3.3, 5.27, 8.1).</content>
public sealed partial class RiscVIommu
{
    /// <summary>
    /// Gives the identifiers that the IO bridge attaches to a request that was translated: those of the device context, or of
    /// <c>iommu_qosid</c> while the IOMMU is Bare. Nothing is counted or reported.
    /// </summary>
    /// <param name="request">A request; only its device counts.</param>
    /// <param name="resourceControlId">RCID, 12 bits.</param>
    /// <param name="monitoringCounterId">MCID, 12 bits.</param>
    /// <returns>False without <c>capabilities.QOSID</c>, while the IOMMU is Off, or if the device has no valid context; both are then 0.</returns>
    public bool TryGetQosIds(in DmaRequest request, out uint resourceControlId, out uint monitoringCounterId)
    {
        resourceControlId = monitoringCounterId = 0;
        Configuration configuration = Volatile.Read(ref _configuration);
        if (!_capabilities.QosId || configuration.Mode == IommuMode.Off)
        {
            return false;
        }

        if (configuration.Mode == IommuMode.Bare)
        {
            uint register = Volatile.Read(ref _qosId);
            resourceControlId = register & QosId.RcidMask;
            monitoringCounterId = (register & QosId.McidMask) >> QosId.McidShift;
            return true;
        }

        Request inner = MakeRequest(request);
        inner.FillSequence = Volatile.Read(ref _invalidationSequence);
        EnterAccess(out ReaderSlot? slot);
        DeviceContextData device = default;
        bool found = !IsTooWide(configuration, inner.DeviceId) && LocateDevice(configuration, ref inner, out _, out device);
        ExitAccess(slot);
        if (found)
        {
            ulong attributes = device.TranslationAttributes;
            resourceControlId = (uint)((attributes >> DeviceTranslationAttributes.RcidShift) & DeviceTranslationAttributes.QosMask);
            monitoringCounterId = (uint)((attributes >> DeviceTranslationAttributes.McidShift) & DeviceTranslationAttributes.QosMask);
        }

        return found;
    }
}
