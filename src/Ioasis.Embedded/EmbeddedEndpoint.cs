using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded.Sanitizing;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>A device that does DMA through the platform's IOMMU.</summary>
public sealed class EmbeddedEndpoint
{
    private readonly EmbeddedPlatform _platform;

    internal EmbeddedEndpoint(
        EmbeddedPlatform platform, IommuDevice device, string devicePath, IDmaPort port, EndpointAts? ats = null)
    {
        _platform = platform;
        Device = device;
        RequesterId = device.Id;
        DevicePath = devicePath;
        Port = port;
        Ats = ats;
    }

    /// <summary>The requester ID.</summary>
    public DeviceId Id => Device.Id;

    /// <summary>With which its requests come to the IOMMU: another's where a bridge on the way puts its own in place.</summary>
    public DeviceId RequesterId { get; internal init; }

    /// <summary>What a device model in this place knows of the machine.</summary>
    public DeviceConnection Connection => new(Id, Port)
    {
        RequesterId = RequesterId,
        Ats = Ats,
        HostMemory = _platform.Options.UserMemory is null ? new(ProcessUserMemory.WindowStart) : null,
        Mappings = GetMappings,
    };

    /// <summary>The IOMMU before it.</summary>
    public EmbeddedIommu Iommu { get; internal init; } = null!;

    /// <summary>The device as the core knows it.</summary>
    public IommuDevice Device { get; }

    /// <summary>The character device by which a client opens it.</summary>
    public string DevicePath { get; }

    /// <summary>
    /// Where the device's requests go. Each request names its own requester, as on a bus; interrupts that it causes are
    /// handled before the call returns.
    /// </summary>
    public IDmaPort Port { get; }

    /// <summary>
    /// The device's own cache of translations, with page requests; null without ATS. What it does not use stays unused: the
    /// port remains for untranslated requests.
    /// </summary>
    public EndpointAts? Ats { get; }

    /// <summary>Reads memory as the device.</summary>
    public DmaStatus Read(Iova address, Span<byte> destination) => Port.Read(new DmaRequest(RequesterId, address), destination);

    /// <summary>Writes memory as the device.</summary>
    public DmaStatus Write(Iova address, ReadOnlySpan<byte> source) =>
        Port.Write(new DmaRequest(RequesterId, address, DmaFlags.Write), source);

    /// <summary>
    /// Opens the device for a driver of its own in this process, one that maps buffers without choosing addresses. Its group then
    /// has a default domain (<see cref="EmbeddedPlatformOptions.Dma"/>; strict if a device of it is not trusted), and clients cannot
    /// bind it while the driver has it open. See docs/dma.md.
    /// </summary>
    /// <param name="options">What the device can address; the platform supplies memory for coherent buffers if these do not.</param>
    /// <exception cref="IommuException">A client has the group, or the core refused.</exception>
    public DmaDevice OpenDma(DmaDeviceOptions? options = null)
    {
        Errno error = _platform.OpenDmaErrno(this, options ?? new(), out DmaDevice? device);
        return error == Errno.Success
            ? device!
            : throw new IommuException(error, "open for DMA", Id.ToString());
    }

    // What the domain says; leaves that continue each other are one.
    private List<DeviceMapping> GetMappings()
    {
        List<PageMapping> leaves = [];
        (Device.Group.Domain as PagingDomain)?.AddMappingsTo(leaves);
        List<DeviceMapping> mappings = [];
        foreach (PageMapping leaf in leaves)
        {
            DeviceMapping next = new(new(leaf.Range.Start), leaf.Range.Last - leaf.Range.Start + 1, leaf.Address, leaf.Access);
            if (mappings.Count > 0 && mappings[^1] is var last
                && last.Start.Value + last.Length == next.Start.Value
                && last.Address.Value + last.Length == next.Address.Value
                && last.Access == next.Access)
            {
                mappings[^1] = last with { Length = last.Length + next.Length };
            }
            else
            {
                mappings.Add(next);
            }
        }

        return mappings;
    }

    /// <summary>Translates an address as the device, without accessing memory.</summary>
    public DmaTranslation Translate(Iova address, bool write)
    {
        Port.Translate(new DmaRequest(RequesterId, address, write ? DmaFlags.Write : DmaFlags.None), out DmaTranslation translation);
        return translation;
    }
}

/// <summary>Properties of an endpoint.</summary>
public sealed record EmbeddedEndpointOptions
{
    /// <summary>The name, unique on the platform; null for one made of the requester ID.</summary>
    public string? Name { get; init; }

    /// <summary>The group that it shares, or null for one of its own.</summary>
    public int? GroupId { get; init; }

    /// <summary>Which of the platform's IOMMUs is before it, from 0.</summary>
    public int Iommu { get; init; }

    /// <summary>PASID bits that it can send, 0 to 20.</summary>
    public int PasidBits { get; init; }

    /// <summary>It caches translations itself (PCIe ATS), if the IOMMU answers it.</summary>
    public bool Ats { get; init; }

    /// <summary>It asks for pages that are missing (PCIe PRI); implies <see cref="Ats"/>.</summary>
    public bool PageRequests { get; init; }

    /// <summary>Answers to its page requests carry the PASID.</summary>
    public bool PageResponsesNeedPasid { get; init; }

    /// <summary>Whether it is beyond a port that leads out of the machine, and not trusted.</summary>
    public bool IsUntrusted { get; init; }

    /// <summary>With which its requests come to the IOMMU; null for its own.</summary>
    public DeviceId? RequesterId { get; init; }

    /// <summary>IOVAs that are not free to map.</summary>
    public IReadOnlyList<ReservedRegion> ReservedRegions { get; init; } = [];
}

/// <summary>The IOMMU's port, followed by its interrupts.</summary>
internal sealed class InterruptingPort(IDmaPort port, InterruptController interrupts) : IDmaPort
{
    private DmaWatch? _watch;

    /// <summary>Who looks at the accesses; null for nobody.</summary>
    public DmaWatch? Watch { get => Volatile.Read(ref _watch); set => Volatile.Write(ref _watch, value); }

    /// <inheritdoc/>
    public void Translate(in DmaRequest request, out DmaTranslation translation)
    {
        port.Translate(request, out translation);
        interrupts.Run();
    }

    /// <inheritdoc/>
    public DmaStatus Read(in DmaRequest request, Span<byte> destination)
    {
        DmaStatus status = (Watch ?? port).Read(request, destination);
        interrupts.Run();
        PlatformInstruments.CountDma(status, destination.Length, isWrite: false);
        return status;
    }

    /// <inheritdoc/>
    public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
    {
        DmaStatus status = (Watch ?? port).Write(request, source);
        interrupts.Run();
        PlatformInstruments.CountDma(status, source.Length, isWrite: true);
        return status;
    }
}
