using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>Which way the data of a DMA mapping goes: it decides what the device may do there.</summary>
public enum DmaDirection
{
    /// <summary>Both ways: the device may read and write.</summary>
    Bidirectional,

    /// <summary>From memory to the device: it may only read.</summary>
    ToDevice,

    /// <summary>
    /// From the device to memory: it may write. Some formats have no leaf that can be written and not read, so that it
    /// may read as well there (privileged specification, the reserved encodings of R, W and X).
    /// </summary>
    FromDevice,
}

/// <summary>Wishes for one mapping or one unmap.</summary>
[Flags]
public enum DmaAttributes
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>
    /// For an unmap: when it returns success the device reaches the memory no more, also where the domain is lazy. For memory
    /// that goes to somebody less trusted next.
    /// </summary>
    Strict = 1,

    /// <summary>For a map: no IOVA above 4 GiB, whatever the mask of the device permits.</summary>
    Below4G = 2,
}

/// <summary>When an unmap of a driver's DMA (<see cref="DmaDevice"/>) invalidates.</summary>
public enum DmaMode
{
    /// <summary>Before it returns: the device can reach the memory no more.</summary>
    Strict,

    /// <summary>
    /// Later, many at once: until then the device may still reach the memory, which the driver may already have given to
    /// somebody else. Only the IOVAs wait for the flush (invariant 2). Not for devices that are not trusted.
    /// </summary>
    Lazy,
}

/// <summary>A piece of physical memory.</summary>
/// <param name="Address">First byte, of any alignment.</param>
/// <param name="Length">Bytes, not 0.</param>
public readonly record struct DmaSegment(PhysicalAddress Address, ulong Length);

/// <summary>A piece of the device's address space that leads to a buffer.</summary>
/// <param name="Address">First byte, as the device is told.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct DmaMappedSegment(Iova Address, ulong Length);
