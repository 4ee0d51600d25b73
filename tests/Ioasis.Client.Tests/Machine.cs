using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Client.Tests;

/// <summary>An embedded platform with one device on one <c>/dev/iommu</c> with one address space, and attached to it unless told otherwise.</summary>
internal sealed class Machine : IDisposable
{
    public Machine(EmbeddedPlatformOptions? options = null, EmbeddedEndpointOptions? endpoint = null, bool attach = true)
    {
        Platform = new(options ?? new());
        Endpoint = Platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0), endpoint);
        Iommu = IommuFd.Open(Platform.Kernel);
        Device = VfioDevice.Open(Platform.Kernel, Endpoint.DevicePath);
        _ = Device.Bind(Iommu);
        Space = Iommu.AllocateAddressSpace();
        if (attach)
        {
            _ = Device.Attach(Space);
        }
    }

    public EmbeddedPlatform Platform { get; }

    public EmbeddedEndpoint Endpoint { get; }

    public IommuFd Iommu { get; }

    public VfioDevice Device { get; }

    public IoAddressSpace Space { get; }

    public void Dispose()
    {
        Device.Dispose();
        Space.Dispose();
        Iommu.Dispose();
        Platform.Audit.ShouldBe(default);
        Platform.Dispose();
        Platform.TableBytes.ShouldBe(0);
    }
}
