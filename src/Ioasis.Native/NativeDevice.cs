using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>A device of a machine as the library's caller holds it.</summary>
internal sealed class NativeDevice(NativePlatform platform, PciDevice? function, Action? end) : IPlatformMember
{
    private Action? _end = end;

    /// <summary>Where it is.</summary>
    public NativePlatform Platform => platform;

    /// <summary>As the machine knows it; set before anybody finds the handle.</summary>
    public EmbeddedEndpoint Endpoint { get; set; } = null!;

    /// <summary>Its registers and interrupts; null for a device that only does DMA.</summary>
    public PciDevice? Function => function;

    /// <summary>Its handle.</summary>
    public nint Handle { get; set; }

    /// <summary>Makes a request of it.</summary>
    public DmaRequest MakeRequest(uint pasid, ulong iova, RequestFlags request)
    {
        DmaFlags flags = (request & RequestFlags.Write) != 0 ? DmaFlags.Write : DmaFlags.None;
        flags |= (request & RequestFlags.Execute) != 0 ? DmaFlags.Execute : DmaFlags.None;
        flags |= (request & RequestFlags.Privileged) != 0 ? DmaFlags.Privileged : DmaFlags.None;
        DmaKind kind = (request & RequestFlags.Ats) != 0 ? DmaKind.TranslationRequest : DmaKind.Untranslated;
        return pasid == Exports.NoPasid
            ? new(Endpoint.RequesterId, new(iova), flags, kind)
            : new(Endpoint.RequesterId, new(iova), flags | DmaFlags.PasidValid, kind, new(pasid));
    }

    /// <summary>Nobody uses it any more.</summary>
    public void End() => Interlocked.Exchange(ref _end, null)?.Invoke();
}
