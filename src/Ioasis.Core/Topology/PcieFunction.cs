using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What a PCI function is, as its PCI Express capability says (PCIe base specification, "Device/Port Type").</summary>
public enum PcieFunctionKind
{
    /// <summary>An endpoint on a link, legacy or not.</summary>
    Endpoint,

    /// <summary>An endpoint that is part of the root complex.</summary>
    IntegratedEndpoint,

    /// <summary>A port of the root complex; its secondary bus is a link.</summary>
    RootPort,

    /// <summary>The port of a switch that faces the root; its secondary bus is inside the switch.</summary>
    UpstreamPort,

    /// <summary>A port of a switch that faces away from the root; its secondary bus is a link.</summary>
    DownstreamPort,

    /// <summary>A bridge from PCI Express to a conventional bus.</summary>
    PciePciBridge,

    /// <summary>A bridge from a conventional bus to PCI Express.</summary>
    PciPcieBridge,

    /// <summary>A function without a PCI Express capability.</summary>
    ConventionalDevice,

    /// <summary>A bridge between conventional buses.</summary>
    ConventionalBridge,
}

/// <summary>
/// What Access Control Services can be told to do with requests between peers (PCIe base specification, section 6.12, and the
/// ACS extended capability). The values are those of the capability and control registers.
/// </summary>
[Flags]
public enum AcsControls
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A port checks that requests from below name a requester that is below.</summary>
    SourceValidation = 1 << 0,

    /// <summary>Requests with untranslated addresses are blocked if they claim to be translated.</summary>
    TranslationBlocking = 1 << 1,

    /// <summary>Requests to a peer go up to the root complex instead.</summary>
    RequestRedirect = 1 << 2,

    /// <summary>Completions to a peer go up to the root complex instead.</summary>
    CompletionRedirect = 1 << 3,

    /// <summary>A port sends on upwards what was redirected below it, though its target is below it.</summary>
    UpstreamForwarding = 1 << 4,

    /// <summary>A vector says to which peers requests may go.</summary>
    EgressControl = 1 << 5,

    /// <summary>Requests with translated addresses may go to a peer directly.</summary>
    DirectTranslated = 1 << 6,

    /// <summary>All that keeps functions apart.</summary>
    Isolation = SourceValidation | RequestRedirect | CompletionRedirect | UpstreamForwarding,
}

/// <summary>One function of a <see cref="PcieTopology"/>.</summary>
public sealed record PcieFunction
{
    /// <summary>Domain, bus, device and function; unique in the topology.</summary>
    public required DeviceId Id { get; init; }

    /// <summary>What it is.</summary>
    public required PcieFunctionKind Kind { get; init; }

    /// <summary>For bridges and ports: the number of the bus behind it; null for others.</summary>
    public int? SecondaryBus { get; init; }

    /// <summary>What its ACS capability can be told; null if it has none.</summary>
    public AcsControls? AcsSupported { get; init; }

    /// <summary>What its ACS capability has been told. A device that is known to isolate without ACS is described as if it had it.</summary>
    public AcsControls AcsEnabled { get; init; }

    /// <summary>
    /// Whether the device says that it has more functions (the header type's multi-function bit). A function number above 0 says so by
    /// itself.
    /// </summary>
    public bool IsMultiFunction { get; init; }

    /// <summary>
    /// Device and function numbers (device × 8 + function) on the same bus with which requests of this function may leave, other than
    /// its own: a known defect of some devices.
    /// </summary>
    public IReadOnlyList<byte> DmaAliases { get; init; } = [];

    /// <summary>Whether a conventional bridge puts its secondary bus into requests, as bridges from PCI Express do.</summary>
    public bool AliasesSecondaryBus { get; init; }

    /// <summary>Whether a port leads out of the machine, so that what is behind it is not trusted.</summary>
    public bool IsExternalFacing { get; init; }

    /// <summary>Whether there is a bus behind it.</summary>
    public bool IsBridge => Kind is PcieFunctionKind.RootPort or PcieFunctionKind.UpstreamPort or PcieFunctionKind.DownstreamPort
        or PcieFunctionKind.PciePciBridge or PcieFunctionKind.PciPcieBridge or PcieFunctionKind.ConventionalBridge;

    /// <summary>Whether the bus behind it is a conventional one, on which everybody hears everybody.</summary>
    public bool HasConventionalBus => Kind is PcieFunctionKind.PciePciBridge or PcieFunctionKind.ConventionalBridge;

    /// <summary>The number of its bus, domain included: unique in the topology.</summary>
    internal ulong BusKey => Id.Value >> 8;

    /// <summary>The number of the bus behind it, domain included.</summary>
    internal ulong? SecondaryBusKey => SecondaryBus is { } bus ? ((ulong)Id.Domain << 8) | (uint)bus : null;
}
