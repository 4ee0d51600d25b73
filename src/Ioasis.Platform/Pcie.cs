using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>A PCIe message between a device and the IOMMU about address translation.</summary>
/// <param name="Code">The message code: 1 Invalidation Request, 2 Invalidation Completion, 4 Page Request, 5 Page Request Group Response.</param>
/// <param name="RequesterId">Bus, device and function of the device, 16 bits.</param>
/// <param name="Segment">The segment, if the message names one.</param>
/// <param name="Pasid">The PASID, or <see cref="Primitives.Pasid.Invalid"/> for none.</param>
/// <param name="Payload">Body of the message: bytes 8 to 15.</param>
/// <param name="Tag">Invalidation Request: the ITAG, 0 to 31.</param>
/// <param name="IsPrivileged">"Privileged Mode Requested" of the PASID prefix.</param>
/// <param name="IsExecute">"Execute Requested" of the PASID prefix.</param>
public readonly record struct PcieMessage(
    byte Code,
    ushort RequesterId,
    ushort? Segment,
    Pasid Pasid,
    ulong Payload,
    byte Tag = 0,
    bool IsPrivileged = false,
    bool IsExecute = false)
{
    /// <summary>Whether the message carries a PASID.</summary>
    public bool HasPasid => Pasid.IsValid;

    /// <summary>The requester with its segment, as the IOMMU identifies devices; without a segment it is segment 0.</summary>
    public DeviceId Device => new(((ulong)(Segment ?? 0) << 16) | RequesterId);
}

/// <summary>
/// The seam from the IOMMU to devices: messages of PCIe ATS and PRI. The other direction is <see cref="IPcieAtsPort"/>. Called without any lock of the IOMMU held; must not block.
/// </summary>
public interface IPcieLink
{
    /// <summary>
    /// An Invalidation Request for a device. The device answers, at once or later and from any thread, with an Invalidation
    /// Completion that names the tag; what the driver put behind the invalidation waits for it.
    /// </summary>
    void SendInvalidationRequest(in PcieMessage message);

    /// <summary>A Page Request Group Response for a device.</summary>
    void SendPageRequestGroupResponse(in PcieMessage message);
}

/// <summary>The seam from devices to the IOMMU: messages of PCIe ATS and PRI. Thread-safe.</summary>
public interface IPcieAtsPort
{
    /// <summary>Takes an Invalidation Completion.</summary>
    /// <returns>False for one that the IOMMU does not expect: the tag is not in use, or not for that device.</returns>
    bool HandleInvalidationCompletion(in PcieMessage message);

    /// <summary>Gives up waiting for Invalidation Completions.</summary>
    /// <param name="tags">Bit n for tag n.</param>
    void HandleInvalidationTimeout(uint tags);

    /// <summary>Takes a Page Request, or the "Stop Marker" of a device.</summary>
    void HandlePageRequest(in PcieMessage message);
}
