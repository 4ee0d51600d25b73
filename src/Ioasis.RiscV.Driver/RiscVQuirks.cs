namespace Ioasis.RiscV.Driver;

/// <summary>
/// What some IOMMUs do other than the specification asks, and what the driver then does about it. No register tells of these:
/// whoever knows the platform says so (docs/conformance.md, "QEMU").
/// </summary>
[Flags]
internal enum RiscVQuirks
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>
    /// A superpage is cached in pieces, and an invalidation of an address drops only the piece that has it, not everything
    /// that was cached of the leaf (section 3.1.1, IOTINVAL.VMA with AV=1). Unmaps of superpages then invalidate the whole
    /// address space.
    /// </summary>
    SuperpagesInPieces = 1,

    /// <summary>
    /// What both stages translated is cached by the address before the first, and an invalidation of the second stage looks
    /// for its guest-physical address there (section 3.1.1, IOTINVAL.GVMA with AV=1). Unmaps of second stages then invalidate
    /// everything of the guest.
    /// </summary>
    GuestAddressesUnknown = 2,
}
