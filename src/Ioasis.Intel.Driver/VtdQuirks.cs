namespace Ioasis.Intel.Driver;

/// <summary>
/// What some IOMMUs do other than the specification asks, and what the driver then does about it. No register tells of these:
/// whoever knows the platform says so (docs/conformance.md, "QEMU's VT-d").
/// </summary>
[Flags]
internal enum VtdQuirks
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>
    /// A first stage is taken to be as wide as the address width in its PASID-table entry says, which belongs to the second stage and is
    /// reserved without one (section 9.6, "AW"). The driver then states it.
    /// </summary>
    FirstStageHasWidth = 1,

    /// <summary>
    /// A device that was passed through stays so after the invalidation of its PASID-table entry (section 6.5.3), until its context is
    /// invalidated. The driver then does that too.
    /// </summary>
    PassThroughStays = 2,
}
