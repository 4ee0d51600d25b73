using Ioasis.Client;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <content>PCI devices, and the addresses that firmware would give them.</content>
public sealed partial class EmbeddedPlatform
{
    private readonly IoLock _barLock = new();
    private ulong _nextLowBar = 0x8000_0000;
    private ulong _nextHighBar = 0x40_0000_0000;

    /// <summary>Adds a PCI device. Its DMA faults until a client attaches it and makes it a bus master.</summary>
    /// <param name="device">The device, which is on no platform.</param>
    /// <param name="id">The requester ID, free so far.</param>
    /// <param name="options">Properties that are the platform's.</param>
    /// <exception cref="IommuException">The core or the driver refused.</exception>
    public EmbeddedEndpoint AddDevice(PciDevice device, DeviceId id, EmbeddedEndpointOptions? options = null)
    {
        options ??= new();
        Errno error = AddDeviceErrno(device, id, options, out EmbeddedEndpoint? endpoint);
        return error == Errno.Success
            ? endpoint!
            : throw Refused(id, IommuOf(options), error);
    }

    /// <summary>Adds a PCI device. Its DMA faults until a client attaches it and makes it a bus master.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoSpace"/> if there are no addresses for its registers;
    /// <see cref="Errno.Exists"/> for a name that is taken; or the driver's error.
    /// </returns>
    public Errno AddDeviceErrno(
        PciDevice device, DeviceId id, EmbeddedEndpointOptions options, out EmbeddedEndpoint? endpoint)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        endpoint = null;
        ulong[] bases = new ulong[device.Description.Bars.Count];
        if (!TryAssign(device.Description.Bars, bases))
        {
            return Errno.NoSpace;
        }

        device.Assign(bases);
        EmbeddedEndpointOptions properties = options with
        {
            PasidBits = Math.Max(options.PasidBits, device.Description.PasidBits),
            Ats = options.Ats || device.Description.HasAts,
            PageRequests = options.PageRequests || device.Description.HasPageRequests,
        };
        Errno error = AddErrno(id, properties, device.Backend, out endpoint);
        if (error == Errno.Success)
        {
            device.Connect(endpoint!.Connection);
            if (device.PasidUser is { } user)
            {
                endpoint.Device.PasidDevice = new DevicePasids(user);
            }
        }

        return error;
    }

    private bool TryAssign(IReadOnlyList<PciBar> bars, Span<ulong> bases)
    {
        using (_barLock.Acquire())
        {
            ulong low = _nextLowBar;
            ulong high = _nextHighBar;
            for (int i = 0; i < bars.Count; i++)
            {
                ref ulong next = ref bars[i].Is64Bit ? ref high : ref low;
                ulong size = Math.Max(bars[i].Size, 4096);
                bases[i] = (next + (size - 1)) & ~(size - 1);
                next = bases[i] + size;
            }

            if (low > 1ul << 32)
            {
                return false;
            }

            _nextLowBar = low;
            _nextHighBar = high;
            return true;
        }
    }
}
