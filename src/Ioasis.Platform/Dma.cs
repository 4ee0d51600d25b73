using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>What kind of inbound transaction a device makes (PCIe "AT" field).</summary>
public enum DmaKind : byte
{
    /// <summary>An ordinary access with an address still to be translated.</summary>
    Untranslated = 0,

    /// <summary>A PCIe ATS translation request.</summary>
    TranslationRequest = 1,

    /// <summary>An access with an address that the device translated by ATS before.</summary>
    Translated = 2,
}

/// <summary>Attributes of a DMA beyond its address.</summary>
[Flags]
public enum DmaFlags : byte
{
    /// <summary>A read.</summary>
    None = 0,

    /// <summary>The access writes; atomics count as writes.</summary>
    Write = 1,

    /// <summary>Execute is requested (PASID prefix); with an untranslated read: a read for execute.</summary>
    Execute = 2,

    /// <summary>Privileged mode is requested (PASID prefix).</summary>
    Privileged = 4,

    /// <summary>The "no write" flag of an ATS translation request.</summary>
    NoWrite = 8,

    /// <summary>The requester is a CXL type 1 or 2 device.</summary>
    Cxl = 16,

    /// <summary>The request carries a PASID (which may then be 0).</summary>
    PasidValid = 32,
}

/// <summary>One request of a device to the IOMMU. It does not cross a 4 KiB page boundary.</summary>
/// <param name="Device">The requester.</param>
/// <param name="Address">The address in the request, of any alignment.</param>
/// <param name="Flags">Attributes.</param>
/// <param name="Kind">Kind of transaction.</param>
/// <param name="Pasid">The process ID; counts only with <see cref="DmaFlags.PasidValid"/>.</param>
public readonly record struct DmaRequest(
    DeviceId Device,
    Iova Address,
    DmaFlags Flags = DmaFlags.None,
    DmaKind Kind = DmaKind.Untranslated,
    Pasid Pasid = default)
{
    /// <summary>Whether the request carries a PASID.</summary>
    public bool HasPasid => (Flags & DmaFlags.PasidValid) != 0;
}

/// <summary>How a DMA ended, as the PCIe completion status names it.</summary>
public enum DmaStatus : byte
{
    /// <summary>Successful completion.</summary>
    Success = 0,

    /// <summary>Unsupported request: the IOMMU refused it.</summary>
    UnsupportedRequest = 1,

    /// <summary>Completer abort: hardware failure or misconfiguration.</summary>
    CompleterAbort = 4,
}

/// <summary>Properties of a translation.</summary>
[Flags]
public enum DmaTranslationFlags : ushort
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>ATS: reads are permitted.</summary>
    Read = 1,

    /// <summary>ATS: writes are permitted.</summary>
    Write = 2,

    /// <summary>ATS: execution is permitted.</summary>
    Execute = 4,

    /// <summary>ATS: the permissions are those of privileged mode.</summary>
    Privileged = 8,

    /// <summary>ATS: the translation is global.</summary>
    Global = 16,

    /// <summary>ATS: untranslated access only.</summary>
    UntranslatedOnly = 32,

    /// <summary>ATS: non-snooped access.</summary>
    NoSnoop = 64,

    /// <summary>ATS: CXL.io only.</summary>
    CxlIo = 128,

    /// <summary>
    /// The address takes interrupt messages and was translated as such, not by the page tables; see
    /// <see cref="DmaTranslation.Interrupt"/>.
    /// </summary>
    Interrupt = 256,
}

/// <summary>The completion of a request. Three words, so that it costs little to hand over.</summary>
public readonly record struct DmaTranslation
{
    // SizeLog2 in 7:0, Status in 11:8, MemoryType in 15:12, Flags in 31:16.
    private readonly uint _properties;

    /// <summary>Makes a completion.</summary>
    /// <param name="address">The translated byte address, page offset included.</param>
    /// <param name="status">How it ended; nothing else counts unless it is a success.</param>
    /// <param name="sizeLog2">log2 of the bytes around <paramref name="address"/> that translate alike.</param>
    /// <param name="memoryType">Memory type, by a number of the IOMMU's own; 0 as the memory itself is.</param>
    /// <param name="flags">Properties.</param>
    /// <param name="interrupt">With <see cref="DmaTranslationFlags.Interrupt"/>: what becomes of the message.</param>
    public DmaTranslation(
        PhysicalAddress address,
        DmaStatus status,
        byte sizeLog2 = 12,
        byte memoryType = 0,
        DmaTranslationFlags flags = DmaTranslationFlags.None,
        DmaInterrupt? interrupt = null)
    {
        Address = address;
        _properties = sizeLog2 | ((uint)status << 8) | ((uint)memoryType << 12) | ((uint)flags << 16);
        Interrupt = interrupt;
    }

    /// <summary>The translated byte address, page offset included.</summary>
    public PhysicalAddress Address { get; }

    /// <summary>
    /// With <see cref="DmaTranslationFlags.Interrupt"/>: what becomes of the message; null if it is stored at
    /// <see cref="Address"/> like any other data.
    /// </summary>
    public DmaInterrupt? Interrupt { get; }

    /// <summary>How it ended; nothing else counts unless it is a success.</summary>
    public DmaStatus Status => (DmaStatus)((_properties >> 8) & 0xf);

    /// <summary>log2 of the bytes around <see cref="Address"/> that translate alike.</summary>
    public byte SizeLog2 => (byte)_properties;

    /// <summary>Memory type, by a number of the IOMMU's own; 0 as the memory itself is.</summary>
    public byte MemoryType => (byte)((_properties >> 12) & 0xf);

    /// <summary>Properties.</summary>
    public DmaTranslationFlags Flags => (DmaTranslationFlags)(_properties >> 16);
}

/// <summary>
/// What an IOMMU does with an interrupt message of a device, other than storing it. Each kind of IOMMU has its own, derived from
/// this one.
/// </summary>
public abstract record DmaInterrupt;

/// <summary>
/// The seam between a device and the IOMMU in front of it. Thread-safe; translations take no lock, do not allocate and do not
/// throw (invariant 5). An access is finished with its translation when the call returns: a fence that the driver
/// awaits waits for accesses that began before it (invariant 1).
/// </summary>
public interface IDmaPort
{
    /// <summary>Translates without accessing memory.</summary>
    void Translate(in DmaRequest request, out DmaTranslation translation);

    /// <summary>Reads memory as the device. Ranges may cross pages; each page is translated by itself.</summary>
    /// <returns>Success, or how the first page that failed ended.</returns>
    DmaStatus Read(in DmaRequest request, Span<byte> destination);

    /// <summary>Writes memory as the device; <see cref="DmaFlags.Write"/> is implied.</summary>
    DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source);
}
