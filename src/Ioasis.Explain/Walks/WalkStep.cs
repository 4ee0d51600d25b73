namespace Ioasis.Explain.Walks;

/// <summary>A step of the way of an address through the tables of an IOMMU.</summary>
/// <param name="Name">What is read.</param>
/// <param name="Section">Where it is specified.</param>
/// <param name="Address">Where in memory it is; null for a register, or for what is computed.</param>
/// <param name="Words">Its doublewords as they are.</param>
/// <param name="Fields">These, decoded.</param>
/// <param name="Text">What follows from it.</param>
/// <param name="Fails">Whether the access ends here, with a fault.</param>
internal sealed record WalkStep(
    string Name, string Section, ulong? Address, IReadOnlyList<ulong> Words, IReadOnlyList<FaultField> Fields, string Text, bool Fails);

/// <summary>How a walk ended.</summary>
internal enum WalkEnd
{
    /// <summary>It reached memory.</summary>
    Translated,

    /// <summary>A step fails.</summary>
    Faults,

    /// <summary>The snapshot has not what comes next.</summary>
    Unknown,
}

/// <summary>The whole way of an address.</summary>
/// <param name="Request">What was walked for, in words.</param>
/// <param name="Steps">Step by step; the last one fails, if one does.</param>
/// <param name="End">How it ended.</param>
/// <param name="Physical">Where the address leads; null if nowhere.</param>
/// <param name="Conclusion">In a sentence.</param>
internal sealed record WalkStory(string Request, IReadOnlyList<WalkStep> Steps, WalkEnd End, ulong? Physical, string Conclusion);

/// <summary>What a device asked for.</summary>
/// <param name="Requester">Its requester ID (16 bits and segment) or device ID.</param>
/// <param name="Pasid">The PASID, or null.</param>
/// <param name="Address">The IOVA.</param>
/// <param name="Access">What it tried; unknown counts as a read.</param>
internal readonly record struct WalkRequest(uint Requester, uint? Pasid, ulong Address, FaultAccess Access)
{
    /// <summary>Whether it writes.</summary>
    public bool IsWrite => Access == FaultAccess.Write;
}
