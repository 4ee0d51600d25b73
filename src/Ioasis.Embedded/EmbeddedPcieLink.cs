using System.Collections.Concurrent;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>The link between the IOMMU and the endpoints that speak ATS. A device that is gone answers nothing.</summary>
internal sealed class EmbeddedPcieLink(InterruptController interrupts) : IPcieLink, IPcieAtsPort
{
    private readonly ConcurrentDictionary<DeviceId, EndpointAts> _devices = new();
    private volatile ITranslationUse? _observer;

    public IPcieAtsPort? Iommu { get; set; }

    public void Add(DeviceId id, EndpointAts device)
    {
        device.Observer = _observer;
        _devices[id] = device;
    }

    /// <summary>Has somebody look at each access with a translation of a device's own; null for nobody.</summary>
    public void Observe(ITranslationUse? observer)
    {
        _observer = observer;
        foreach (EndpointAts device in _devices.Values)
        {
            device.Observer = observer;
        }
    }

    public void Remove(DeviceId id) => _devices.TryRemove(id, out _);

    public void SendInvalidationRequest(in PcieMessage message)
    {
        if (_devices.TryGetValue(message.Device, out EndpointAts? device))
        {
            device.Invalidate(message);
        }
        else
        {
            HandleInvalidationTimeout(1u << message.Tag);
        }
    }

    public void SendPageRequestGroupResponse(in PcieMessage message)
    {
        if (_devices.TryGetValue(message.Device, out EndpointAts? device))
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

    public bool HandleInvalidationCompletion(in PcieMessage message) => Iommu!.HandleInvalidationCompletion(message);

    public void HandleInvalidationTimeout(uint tags) => Iommu!.HandleInvalidationTimeout(tags);
}
