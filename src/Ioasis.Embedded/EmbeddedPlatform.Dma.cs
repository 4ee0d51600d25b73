using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <content>Devices whose driver is in this process (docs/dma.md).</content>
public sealed partial class EmbeddedPlatform
{
    private readonly Lock _dmaLock = new();
    private readonly List<DmaDomain> _dmaDomains = [];

    /// <summary>Memory for drivers' buffers, from <see cref="EmbeddedPlatformOptions.DmaMemory"/>.</summary>
    public IPageAllocator DmaPages { get; }

    internal Errno OpenDmaErrno(EmbeddedEndpoint endpoint, DmaDeviceOptions options, out DmaDevice? device)
    {
        device = null;
        Errno error = Errno.Success;
        lock (_dmaLock)
        {
            if (endpoint.Device.Group.DefaultDomain.Kind == DomainKind.Blocked)
            {
                error = SetDmaDomainErrno(endpoint.Device, Options.Dma.Mode);
            }
        }

        return error != Errno.Success
            ? error
            : DmaDevice.TryOpen(
                endpoint.Device,
                options with { Pages = options.Pages ?? DmaPages, Memory = options.Memory ?? PhysicalMemory },
                out device);
    }

    // Gives the group of a device a domain for drivers. Devices that are not trusted are strict, whatever is wanted.
    private Errno SetDmaDomainErrno(IommuDevice device, DmaMode mode)
    {
        bool isUntrusted = device.Group.Devices.Any(static member => member.IsUntrusted);
        DmaDomainOptions options = Options.Dma with
        {
            Mode = isUntrusted ? DmaMode.Strict : mode,
            TimeProvider = Options.TimeProvider,
        };
        Errno error = DmaDomain.TryCreate(device, options, out DmaDomain? domain);
        if (error == Errno.Success)
        {
            error = device.Group.SetDefaultDomain(domain!);
            if (error == Errno.Success)
            {
                _dmaDomains.Add(domain!);
            }
            else
            {
                domain!.Dispose();
            }
        }

        return error;
    }

    private void PollDmaDomains()
    {
        lock (_dmaLock)
        {
            foreach (DmaDomain domain in _dmaDomains)
            {
                _ = domain.Poll();
            }
        }
    }

    // The driver of the IOMMU is still there for a last flush; the tables go with the memory.
    private void DisposeDmaDomains()
    {
        lock (_dmaLock)
        {
            _dmaDomains.ForEach(static domain => domain.Dispose());
            _dmaDomains.Clear();
        }
    }
}
