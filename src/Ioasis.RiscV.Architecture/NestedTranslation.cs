namespace Ioasis.RiscV.Architecture;

/// <summary>
/// How a guest's first stage and its invalidations are told to the host (docs/abi.md): no part of the specification, but made of
/// its structures. All little-endian.
/// </summary>
internal static class NestedTranslation
{
    /// <summary>The number of all these layouts.</summary>
    public const uint Type = 0x8000_0001;

    /// <summary>Bytes of the description of a guest's first stage.</summary>
    public const int DataSize = 32;

    /// <summary>The guest's bits of <c>tc</c> (section 2.1.2.1).</summary>
    public const int ControlOffset = 0;

    /// <summary>The guest's bits of <c>ta</c> (section 2.1.2.3): the PSCID.</summary>
    public const int AttributesOffset = 8;

    /// <summary><c>fsc</c> (section 2.1.2.4); its address is guest-physical.</summary>
    public const int FirstStageOffset = 16;

    /// <summary>0.</summary>
    public const int ReservedOffset = 24;

    /// <summary>Bytes of an invalidation: a command as the guest wrote it to its queue (section 3.1).</summary>
    public const int InvalidationSize = QueueBase.CommandSize;

    /// <summary>Bytes of the description of the hardware.</summary>
    public const int HardwareSize = 16;

    /// <summary>The <c>capabilities</c> register (section 5.3) as far as a guest may use it.</summary>
    public const int HardwareCapabilitiesOffset = 0;

    /// <summary>The <c>fctl</c> register (section 5.4), 4 bytes; 4 bytes of 0 follow.</summary>
    public const int HardwareFeaturesOffset = 8;
}
