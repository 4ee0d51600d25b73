using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>Why a DMA did not go through, in terms that every IOMMU shares. The driver's own code is in the record too.</summary>
public enum IommuFaultReason
{
    /// <summary>Something else; see <see cref="IommuFault.Cause"/>.</summary>
    Other,

    /// <summary>The address is not mapped, or not for this access.</summary>
    NotMapped,

    /// <summary>The device, or this PASID of it, is attached to nothing.</summary>
    Blocked,

    /// <summary>The kind of transaction is not allowed to the device.</summary>
    NotAllowed,

    /// <summary>A table could not be read, or holds what it must not: a defect of the driver or of memory.</summary>
    BadTable,

    /// <summary>The memory behind the address cannot be accessed.</summary>
    AccessFault,
}

/// <summary>A DMA that an IOMMU refused (S4.16).</summary>
/// <param name="DeviceId">The requester.</param>
/// <param name="Device">The device, if the driver knows one with that ID at this moment.</param>
/// <param name="Pasid">The PASID; <see cref="Pasid.None"/> if the request had none.</param>
/// <param name="Iova">The address in the request.</param>
/// <param name="Access">What it wanted to do.</param>
/// <param name="Reason">Why it was refused, in general.</param>
/// <param name="Cause">The IOMMU's own code (its specification's list of fault reasons).</param>
/// <param name="Detail">The IOMMU's second value, if it has one.</param>
/// <param name="Privileged">The request was made in privileged mode.</param>
public readonly record struct IommuFault(
    DeviceId DeviceId,
    IommuDevice? Device,
    Pasid Pasid,
    Iova Iova,
    Access Access,
    IommuFaultReason Reason,
    int Cause,
    ulong Detail,
    bool Privileged);

/// <summary>Where a driver reports the DMA that its IOMMU refused.</summary>
internal interface IIommuFaultSink
{
    /// <summary>Takes a record. Called from the thread that handles the interrupt, in order; must not block or throw.</summary>
    void OnFault(in IommuFault fault);

    /// <summary>
    /// The IOMMU dropped records because nobody read them in time: the records so far are complete, then some are missing.
    /// </summary>
    void OnFaultsLost();
}
