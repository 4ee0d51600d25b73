namespace Ioasis.AbiSuite;

/// <summary>What a case needs of the kernel under it. A target that lacks it does not run the case.</summary>
[Flags]
public enum CaseNeeds
{
    None = 0,

    /// <summary><c>/dev/vfio/vfio</c> and a group.</summary>
    Container = 1,

    /// <summary>A second group with a device, behind the same IOMMU.</summary>
    SecondGroup = 2,

    /// <summary><c>/dev/iommu</c>.</summary>
    Iommufd = 4,

    /// <summary>A device by its own node.</summary>
    DeviceNode = 8,

    /// <summary>The device is an <c>edu</c>: regions, interrupts, DMA.</summary>
    Edu = 16,

    /// <summary><c>/dev/iommu</c> where a container is wanted.</summary>
    Compatibility = 32,
}

/// <summary>
/// One conversation with a kernel. It knows nothing of what is under the transport: it does calls and notes what came back.
/// What must come back is what Linux 7.2 answered when the case was recorded (Golden/), or a difference with a reason.
/// </summary>
/// <param name="Name">Its name, unique.</param>
/// <param name="Requirement">The requirement that it shows, such as S3.9.</param>
/// <param name="Needs">What it needs.</param>
/// <param name="Body">The conversation.</param>
public sealed record AbiCase(string Name, string Requirement, CaseNeeds Needs, Action<CaseContext> Body)
{
    /// <inheritdoc/>
    public override string ToString() => Name;
}
