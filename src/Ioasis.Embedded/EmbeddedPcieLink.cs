using System.Collections.Concurrent;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Embedded;

/// <summary>The link between the IOMMU and the endpoints that speak ATS. A device that is gone answers nothing.</summary>
internal sealed class EmbeddedPcieLink(InterruptController interrupts) : IPcieLink
{
    private readonly ConcurrentDictionary<DeviceId, EmbeddedAts> _devices = new();

    public RiscVIommu? Iommu { get; set; }

    public void Add(DeviceId id, EmbeddedAts device) => _devices[id] = device;

    public void Remove(DeviceId id) => _devices.TryRemove(id, out _);

    public void SendInvalidationRequest(in PcieMessage message)
    {
        if (_devices.TryGetValue(message.Device, out EmbeddedAts? device))
        {
            device.Invalidate(message);
        }
        else
        {
            HandleInvalidationTimeout(message.Tag);
        }
    }

    public void SendPageRequestGroupResponse(in PcieMessage message)
    {
        if (_devices.TryGetValue(message.Device, out EmbeddedAts? device))
        {
            device.TakeResponse(message);
        }
    }

    public void HandlePageRequest(in PcieMessage message)
    {
        // The device will wait for the answer, and perhaps nobody else runs the handler.
        Iommu!.HandlePageRequest(message);
        interrupts.RunAlways();
    }

    public void HandleInvalidationCompletion(in PcieMessage message) => Iommu!.HandleInvalidationCompletion(message);

    public void HandleInvalidationTimeout(byte tag) => Iommu!.HandleInvalidationTimeout(1u << tag);
}
